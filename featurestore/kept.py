"""Hot entities that lookups keep between them."""

from collections import OrderedDict
from collections.abc import Collection, Mapping
from threading import Lock
from typing import Any

from featurestore import hot
from featurestore.definition import Reduction
from featurestore.events import Events
from featurestore.hot import MOST_EVENTS, REDUCTIONS, Hot
from featurestore.online import OnlineStore
from featurestore.plan import ServicePlan, WindowStep
from featurestore.unpacking import Unpacker


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
            if all(type(one) is Reduction and one.reduction in REDUCTIONS for one in given)
        }
        self._entities: OrderedDict[tuple[str, str], Hot] = OrderedDict()
        self._unfit: dict[tuple[str, str], int] = {}
        self._changing = Lock()

    def of(self, wants: Mapping[str, Collection[str]], since: Mapping[str, int | None]) -> dict[str, Hot]:
        """Views whose one wanted entity is kept, with all events since an instant."""
        if not self._entities:
            return {}
        kept = {view: self._entities.get((view, key)) for view, keys in wants.items() for key in keys if len(keys) == 1}
        return {view: one for view, one in kept.items() if one is not None and one.reaches(since[view])}

    def may_keep(self, events: Events) -> bool:
        """Whether these are so many that their entity may be worth it."""
        return len(events) >= hot.MANY_EVENTS

    def learn(
        self,
        online: OnlineStore,
        wants: Mapping[str, Collection[str]],
        events: Mapping[str, Events],
        since: Mapping[str, int | None],
        unpackers: Mapping[str, Unpacker],
        generation: int,
    ) -> None:
        """Keep the one entity of each view that turns out to be hot; none is tried twice in a generation."""
        for view, reductions in self._reductions.items():
            if view not in events or not self.may_keep(events[view]) or len(wants[view]) != 1:
                continue
            (key,) = wants[view]
            name = view, key
            if self._unfit.get(name) == generation:
                continue
            read = online.read_runs(*name, since[view])
            found = Hot(unpackers[view].events(read.blobs[view]), reductions, since[view], read.generation)
            if found.fit:
                self._keep(name, found)
            else:
                self._unfit[name] = read.generation

    def _keep(self, name: tuple[str, str], found: Hot) -> None:
        with self._changing:
            self._entities.pop(name, None)
            self._entities[name] = found
            while sum(len(one) for one in self._entities.values()) > MOST_EVENTS:
                self._entities.popitem(last=False)
