"""Plain reductions for one row over one entity's few events: most of what lookups ask, where arrays cost most of all.

What is seen and how it is folded is decided where it is for many rows: in :mod:`featurestore.visibility` and by the
folds themselves. Whatever is not as plain goes the way of many rows.
"""

from collections.abc import Callable, Mapping
from typing import Any

from featurestore import extremes, fold
from featurestore.arithmetic import NUMBERS
from featurestore.definition import Reduction, WindowFeature
from featurestore.spans import Spans
from featurestore.values import Values
from featurestore.visibility import Viewpoint, ranges_of_one

FEW_EVENTS = 1 << 12

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

_UNSEEN = object()


class OneRow:
    """A row that asks as of one instant (microseconds UTC) for the one entity of a view, or with -1 for none."""

    def __init__(self, as_of: int, entity: int, viewpoint: Viewpoint) -> None:
        self._clocks = viewpoint.clocks if len(viewpoint.events) <= FEW_EVENTS else None
        self._as_of, self._entity, self._columns = as_of, entity, viewpoint.events.columns
        self._spans: dict[Any, Any] = {}

    def reduced(self, feature: WindowFeature) -> Values | None:
        """Value of each of a feature's windows; ``None`` if it is not that plain."""
        function = feature.function
        if type(function) is not Reduction or function.reduction not in FOLDS:
            return None
        spans = self._spans.get((function.column, feature.windows, feature.offset), _UNSEEN)
        if spans is _UNSEEN:
            spans = self._look(function.column, feature)
        return None if spans is None else FOLDS[function.reduction](spans)

    def _look(self, column: str, feature: WindowFeature) -> Spans | None:
        values, found = self._columns[column], None
        known = values.valid is None or b"\0" not in values.valid.tobytes()
        if self._clocks is not None and known and values.kind in NUMBERS:
            inclusive = feature.view.source.inclusive
            pairs = ranges_of_one(
                self._clocks, self._entity, self._as_of, feature.windows, feature.offset, inclusive=inclusive
            )
            if pairs is not None:
                found = Spans(values, None, None, {"items": values.data.tolist()}, len(pairs), pairs)
        self._spans[column, feature.windows, feature.offset] = found
        return found
