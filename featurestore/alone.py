"""Plain reductions for one row over one entity's few events: most of what lookups ask, where arrays cost most of all.

What is seen and how it is folded is decided where it is for many rows: in :mod:`featurestore.visibility` and by the
folds themselves. Whatever is not as plain goes the way of many rows.
"""

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import Any

from featurestore import extremes, fold
from featurestore.arithmetic import NUMBERS
from featurestore.definition import Reduction, WindowFeature
from featurestore.events import Events
from featurestore.plan import ServicePlan, WindowStep
from featurestore.spans import Spans
from featurestore.values import Values
from featurestore.visibility import Clocks, clocks_of, ranges_of_one

FEW_EVENTS = 1 << 12
Fold = Callable[[Spans], Values]

FOLDS: Mapping[str, Fold] = {
    "count": fold.count,
    "sum": fold.total,
    "mean": fold.mean,
    "min": extremes.minimum,
    "max": extremes.maximum,
    "std": fold.deviation,
    "var": fold.variance,
    "nunique": fold.distinct,
}


class OneRow:
    """A row that asks as of one instant (microseconds UTC) for the one entity of a view, or with -1 for none."""

    def __init__(self, as_of: int, entity: int, events: Events, clocks: Clocks | None) -> None:
        self._clocks = clocks if len(events) <= FEW_EVENTS else None
        self._as_of, self._entity, self._columns = as_of, entity, events.columns
        self._spans: dict[Any, Spans | None] = {}

    def reduced(self, feature: WindowFeature) -> Values | None:
        """Value of each of a feature's windows; ``None`` if it is not that plain."""
        function = feature.function
        if type(function) is not Reduction or function.reduction not in FOLDS:
            return None
        look = (function.column, feature.windows, feature.offset)
        if look not in self._spans:
            self._spans[look] = self.look(function.column, feature)
        spans = self._spans[look]
        return None if spans is None else FOLDS[function.reduction](spans)

    def look(self, column: str, feature: WindowFeature) -> Spans | None:
        """Ranges of a column's values in each of a feature's windows; ``None`` if these are not that plain."""
        if self._clocks is None:
            return None
        values = self._columns[column]
        if values.kind not in NUMBERS or (values.valid is not None and b"\0" in values.valid.tobytes()):
            return None
        inclusive = feature.view.source.inclusive
        pairs = ranges_of_one(
            self._clocks, self._entity, self._as_of, feature.windows, feature.offset, inclusive=inclusive
        )
        if pairs is None:
            return None
        return Spans(values, None, None, {"items": values.data.tolist()}, len(pairs), pairs)


class PlainService:
    """A service of nothing but plain reductions of one view, asked by a key of one column: prepared for one row."""

    def __init__(self, plan: ServicePlan, steps: Iterable[WindowStep]) -> None:
        looks: dict[Any, tuple[str, WindowFeature, list[Fold]]] = {}
        names: dict[Any, list[str]] = {}
        for step in steps:
            function: Any = step.feature.function
            look = (function.column, step.feature.windows, step.feature.offset)
            looks.setdefault(look, (function.column, step.feature, []))[2].append(FOLDS[function.reduction])
            names.setdefault(look, []).extend(step.outputs)
        made = {name: place for place, name in enumerate(chain.from_iterable(names.values()))}
        self._looks = tuple(looks.values())
        self._places = [(name, made[name]) for name in plan.outputs]

    def row(self, events: Events, as_of: int) -> dict[str, Any] | None:
        """Value of each feature as of an instant (microseconds UTC), given its entity's events.

        ``None`` if these are not that plain.
        """
        made: list[Any] = []
        asking = OneRow(as_of, 0, events, clocks_of(events))
        for column, feature, folds in self._looks:
            spans = asking.look(column, feature)
            if spans is None:
                return None
            for reduce in folds:
                made += reduce(spans).to_list()
        return {name: made[place] for name, place in self._places}


def plain_service(plan: ServicePlan) -> PlainService | None:
    """Prepare a service; ``None`` if it is not that plain."""
    steps = [step for step in plan.steps if isinstance(step, WindowStep)]
    functions: list[Any] = [step.feature.function for step in steps]
    plain = all(type(one) is Reduction and one.reduction in FOLDS for one in functions)
    if not plain or len(plan.keyed) != 1 or len(plan.columns) != 1 or len(steps) != len(plan.steps):
        return None
    return PlainService(plan, steps)
