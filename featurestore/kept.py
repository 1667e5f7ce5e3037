"""Hot entities that lookups keep between them."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from threading import Lock
from typing import Any

from featurestore import hot
from featurestore.definition import Reduction
from featurestore.events import Events
from featurestore.hot import FOLDS, MOST_EVENTS, Hot
from featurestore.online import Snapshot
from featurestore.plan import ServicePlan, WindowStep


class HotEntities:
    """Hot entities that a service was asked for: the newest that together have at most :data:`MOST_EVENTS` events."""

    def __init__(self, plan: ServicePlan) -> None:
        steps = [step for step in plan.steps if isinstance(step, WindowStep)]
        functions: dict[str, list[Any]] = {}
        for step in steps:
            functions.setdefault(step.keyed.view.name, []).append(step.feature.function)
        self._reductions: dict[str, list[Reduction]] = {
            view: given
            for view, given in functions.items()
            if all(type(one) is Reduction and one.reduction in FOLDS for one in given)
        }
        self._entities: OrderedDict[tuple[str, ...], Hot] = OrderedDict()
        self._changing = Lock()

    def of(self, wants: Mapping[str, Collection[str]], since: Mapping[str, int | None]) -> dict[str, Hot]:
        """Views whose one wanted entity is kept, with all events since an instant."""
        if not self._entities:
            return {}
        kept = {view: self._entities.get((view, key)) for view, keys in wants.items() for key in keys if len(keys) == 1}
        return {view: one for view, one in kept.items() if one is not None and one.reaches(since[view])}

    def keep(
        self,
        wants: Mapping[str, Collection[str]],
        events: Mapping[str, Events],
        known: Mapping[str, Hot],
        snapshot: Snapshot,
        since: Mapping[str, int | None],
    ) -> dict[str, Hot]:
        """Keep what was read of each view's one entity, and give those that are hot.

        One of the ``known`` entities is not among them where it has to be read anew.
        """
        found: dict[str, Hot] = {}
        for view, reductions in self._reductions.items():
            if len(wants[view]) != 1 or (view not in known and len(events[view]) < hot.MANY_EVENTS):
                continue
            name = (view, *wants[view])
            if view in known and view in snapshot.later:
                one = known[view].with_later(events[view], snapshot.position)
            else:
                one = Hot.of(events[view], reductions, since[view], snapshot.generation, snapshot.position)
            if one is not None or view in known:
                self._keep(name, one)
            if one is not None:
                found[view] = one
        return found

    def _keep(self, name: tuple[str, ...], found: Hot | None) -> None:
        with self._changing:
            self._entities.pop(name, None)
            if found is not None:
                self._entities[name] = found
            while sum(len(one) for one in self._entities.values()) > MOST_EVENTS:
                self._entities.popitem(last=False)
