"""In service: what was served, and what came of it."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from featurestore import (
    provenance,
    times,
)
from featurestore.definition import FeatureService
from featurestore.errors import (
    RequestError,
)
from featurestore.monitoring.outcomes import Outcomes, Taken
from featurestore.monitoring.recorder import Recorder
from featurestore.monitoring.served import ServiceOrigin
from featurestore.monitoring.served_log import Served, Wanted
from featurestore.plan import ServicePlan
from featurestore.store.home import named
from featurestore.store.learning import Learning


class Service(Learning):
    """In service: what was served, and what came of it."""

    def served(
        self,
        service: str | FeatureService | None = None,
        since: Any = None,
        until: Any = None,
        model: str | None = None,
        *,
        request_id: str | None = None,
        last: int | None = None,
    ) -> Served:
        """Vectors that servers have given, in order of time.

        Parameters
        ----------
        service, model, request_id
            Only of these; ``model`` is ``name`` or ``name@version``.
        since, until
            First instant, and the one after the last.
        last
            So many of the newest.
        """
        of = None if service is None else named(service)
        begin, end = (None if one is None else times.to_micros(one) for one in (since, until))
        return self.served_log.read(Wanted(of, begin, end, model, request_id), last=last)

    def add_outcomes(self, model: str, outcomes: Sequence[Mapping[str, Any]], *, sender: str | None = None) -> Taken:
        """Take what came of a model's predictions: all of them or none, durable when it returns.

        Parameters
        ----------
        model
            Name of the model, whichever version predicted.
        outcomes
            ``request_id`` and ``outcome`` (one of the champion's classes, or a number); if need be ``row``, the place
            in a batch, and ``event_time``, when it turned out.
        sender
            Who says so.

        Raises
        ------
        InvalidRows
            If one is no such outcome.
        ConflictingRows
            If a prediction has another outcome already. The same again is fine.
        """
        if "@" in model:
            raise RequestError(f"Outcomes are of a model, not of a version: give {model.partition('@')[0]!r}.")
        classes = self.saved_models.get(model).manifest["label"]["classes"]
        return self._outcomes.add(model, classes, outcomes, now=self.now(), sender=sender)

    def outcomes(self, model: str) -> pa.Table:
        """Outcomes of a model, each with its prediction, in the order in which they came.

        Columns ``request_id``, ``row``, ``outcome``, ``event_time``, ``received_at``, then what the served log has of
        the prediction, null where it has none (sampled out, or thrown away since).
        """
        self.saved_models.shelf.versions(model)
        return self._outcomes.table(model, self.served(model=model).to_arrow())

    @functools.cached_property
    def _outcomes(self) -> Outcomes:
        return Outcomes(self.home / "outcomes.sqlite")

    def recorder(self, **told: Any) -> Recorder:
        """Begin to write down what this process serves; for servers, who call its ``record`` and ``close``."""
        services = {name: self._origin(name, plan) for name, plan in self._plans.items()}
        return Recorder(
            self.served_log.folder, self._keeping, provenance.environment(), services, clock=self.now, **told
        )

    def _origin(self, service: str, plan: ServicePlan) -> ServiceOrigin:
        inputs = {column.name: column.kind for column in plan.columns}
        kinds = {name: plan.kinds[name][0] for name in plan.outputs}
        prints = {name: self.registry.fingerprints[name] for name in plan.outputs}
        return ServiceOrigin(self.registry.service_fingerprints[service], inputs, kinds, prints)
