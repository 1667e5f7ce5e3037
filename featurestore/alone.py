"""Plain reductions for one row over one entity's few events: most of what lookups ask, where arrays cost most of all.

What is seen and how it is folded is decided where it is for many rows: in :mod:`featurestore.visibility` and by the
folds themselves. Whatever is not as plain goes the way of many rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

from featurestore import extremes, fold
from featurestore.arithmetic import NUMBERS
from featurestore.definition import Reduction, WindowFeature
from featurestore.events import Events
from featurestore.spans import Spans
from featurestore.values import Values
from featurestore.visibility import few_ranges, in_order

FOLDS: Mapping[str, Callable[[Spans], Values]] = {
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
    """A row that asks as of one instant (microseconds UTC) for the entity ``entity`` of one view's events, or -1."""

    def __init__(self, as_of: int, entity: int, events: Events) -> None:
        self._times = in_order(events)
        self._as_of, self._entity, self._events = as_of, entity, events
        self._spans: dict[Any, Spans | None] = {}

    def reduced(self, feature: WindowFeature) -> Values | None:
        """Value of each of a feature's windows; ``None`` if it is not that plain."""
        function = feature.function
        if type(function) is not Reduction or function.reduction not in FOLDS:
            return None
        look = (function.column, feature.windows, feature.offset)
        spans = self._spans[look] if look in self._spans else self._look(function.column, feature)
        return None if spans is None else FOLDS[function.reduction](spans)

    def _look(self, column: str, feature: WindowFeature) -> Spans | None:
        times, values, found = self._times, self._events.columns[column], None
        known = values.valid is None or b"\0" not in values.valid.tobytes()
        if times is not None and known and values.kind in NUMBERS:
            inclusive = feature.view.source.inclusive
            pairs = few_ranges(times, self._entity, self._as_of, feature.windows, feature.offset, inclusive=inclusive)
            found = Spans(values, None, None, {"items": values.data.tolist()}, len(pairs), pairs)
        self._spans[column, feature.windows, feature.offset] = found
        return found
