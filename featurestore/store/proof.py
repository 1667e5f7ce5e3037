"""Proof that served and trained values are the same bytes."""

from typing import Any

import numpy as np

from featurestore import (
    provenance,
    times,
)
from featurestore.definition import FeatureService
from featurestore.errors import (
    RequestError,
)
from featurestore.monitoring.served_log import Wanted
from featurestore.store.home import named
from featurestore.store.service import Service
from featurestore.verify import Late, Verification, asking, late, trained
from featurestore.verify import served as verify_served
from featurestore.verify.causes import Present


class Proof(Service):
    """Proof that served and trained values are the same bytes."""

    def verify_training_set(
        self, name: str, *, sample: int | None = None, seed: int = 0, url: str | None = None, key: str | None = None
    ) -> Verification:
        """Serve a training set's rows again through the online path, and compare every bit.

        Parameters
        ----------
        name
            Of the training set.
        sample
            So many rows, drawn by ``seed``; by default all.
        url, key
            Ask a server there with this API key, rather than this store.

        Raises
        ------
        UnknownService
            If there is no such training set, or its service is not declared any more.
        RequestError, OperationError
            If the training set has a position per row, or the server refuses or does not answer.
        """
        training = self.load_training_set(name)
        service = training.manifest["service"]
        present = self._present(service)
        ask = asking.here(present.service, self.lookup_many)
        if url is not None:
            ask = asking.over_http(url, service, key=key)
        return trained.verify(training, present, ask, sample=sample, seed=seed)

    def verify_served(
        self, service: str | FeatureService | None = None, since: Any = None, until: Any = None
    ) -> Verification:
        """Compute again from the log what servers have answered, and compare every bit.

        Each vector as of its own instant and position; ``since`` is the first instant, ``until`` one after the last.
        """
        return verify_served.verify(
            self.served_log.rows(_wanted(service, since, until)), self._present_if, _in_words("served", since, until)
        )

    def verify_late(
        self,
        name: str | None = None,
        *,
        service: str | FeatureService | None = None,
        since: Any = None,
        until: Any = None,
    ) -> Late:
        """Compare values that rows had with what they are by all that is known today.

        The rows are those of the training set ``name``; without one, those that servers answered for a service.

        Raises
        ------
        RequestError
            If it is not clear which service's rows are meant.
        """
        if name is not None:
            training = self.load_training_set(name)
            present = self._present(training.manifest["service"])
            table = training.to_arrow()
            rows, as_of = trained.asked(present.service.plan, table, training.manifest["time"])
            return late.late(
                f"training set {name}", present, rows, as_of, trained.features_of(table, training.manifest)
            )
        chosen = service or (next(iter(self._plans)) if len(self._plans) == 1 else None)
        if chosen is None:
            raise RequestError(f"Say whose rows: a training set, or a service of {', '.join(self._plans)}.")
        found = list(self.served_log.rows(_wanted(chosen, since, until)))
        present = self._present(named(chosen))
        then = {feature: [row.features.get(feature) for row in found] for feature in present.service.plan.outputs}
        at = np.array([times.to_micros(row.as_of) for row in found], np.int64)
        return late.late(_in_words("served", since, until), present, [row.inputs for row in found], at, then)

    def _present(self, service: str) -> Present:
        plan = self._plan(service)
        self._take_over("verify", [view.source for view in plan.views])
        return Present(
            self._prepare(service),
            {name: self.registry.fingerprints[name] for name in plan.outputs},
            provenance.environment(),
            self.log,
            self.online,
            self.now(),
            self._untouched,
            lambda at: self._forgotten.erased_since({view.source.name for view in plan.views}, at),
        )

    def _present_if(self, service: str) -> Present | None:
        return self._present(service) if service in self._plans else None


def _wanted(service: str | FeatureService | None, since: Any, until: Any) -> Wanted:
    begin, end = (None if one is None else times.to_micros(one) for one in (since, until))
    return Wanted(None if service is None else named(service), begin, end)


def _in_words(what: str, since: Any, until: Any) -> str:
    edges = [
        f"{word} {times.isoformat(times.to_micros(one))}"
        for word, one in (("since", since), ("until", until))
        if one is not None
    ]
    return " ".join([what, *edges])
