"""Where ``evaluate`` runs over a spine: on this machine, or on a cluster."""

from collections.abc import Mapping
from typing import Protocol

from featurestore.evaluate import Spine
from featurestore.log import EventLog
from featurestore.plan import ServicePlan
from featurestore.values import Values


class Engine(Protocol):
    """Runs a service over a spine and the events in the log."""

    def run(
        self, plan: ServicePlan, spine: Spine, log: EventLog, position: int, not_finite: dict[str, int]
    ) -> Mapping[str, Values]:
        """Features of each row, seeing the log up to ``position``; counts what :func:`evaluate` made null."""
        ...
