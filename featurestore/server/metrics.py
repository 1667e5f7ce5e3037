"""Counts and times for Prometheus. Labels are routes, never what a caller sends: their number is bounded."""

import os

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"
"""Folder in which the workers of one server count together; prometheus-client reads it when it is imported."""

_METHODS = frozenset({"GET", "POST", "HEAD", "OPTIONS", "PUT", "DELETE", "PATCH"})
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0)


class Metrics:
    """What one process counts."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._counted: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}  # to find one by its labels is slow
        self._rows_of: dict[str, Counter] = {}
        self._requests = Counter(
            "featurestore_requests", "Requests answered.", ("route", "method", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "featurestore_request_seconds", "Time to answer.", ("route",), buckets=_BUCKETS, registry=self._registry
        )
        self._rows = Counter(
            "featurestore_rows",
            "Vectors given, predictions made, events accepted.",
            ("route",),
            registry=self._registry,
        )

        self._served = Counter(
            "featurestore_served_log_rows",
            "Served vectors: written to the served log, or dropped because it did not keep up.",
            ("outcome",),
            registry=self._registry,
        )

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count an answer."""
        counted = self._counted.get((route, method, status))
        if counted is None:
            named = method if method in _METHODS else "other"
            counted = self._requests.labels(route, named, str(status)), self._seconds.labels(route)
            if named == method:
                self._counted[route, method, status] = counted
        counted[0].inc()
        counted[1].observe(seconds)

    def rows(self, route: str, count: int) -> None:
        """Count rows of an answer."""
        counted = self._rows_of.get(route)
        if counted is None:
            counted = self._rows_of[route] = self._rows.labels(route)
        counted.inc(count)

    def logged(self, outcome: str, count: int) -> None:
        """Count rows of the served log."""
        self._served.labels(outcome).inc(count)

    def text(self) -> bytes:
        """Everything, of all workers, in Prometheus' text format."""
        if MULTIPROCESS not in os.environ:
            return generate_latest(self._registry)
        together = CollectorRegistry()
        MultiProcessCollector(together)  # type: ignore[no-untyped-call]
        return generate_latest(together)
