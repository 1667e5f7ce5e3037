"""The one path: (feature service, spine rows, events) to feature columns.

The training-set builder calls :func:`evaluate` with a million rows, a lookup with one. Nothing else computes a feature.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from featurestore import times
from featurestore.alone import OneRow
from featurestore.definition import AS_OF, Feature, Label, RowFeature, WindowFeature, located
from featurestore.errors import DefinitionError, FeatureStoreError, IntegerOverflow, row_number
from featurestore.events import Events
from featurestore.hot import HotRow, Part
from featurestore.made import Made
from featurestore.plan import Keyed, LabelStep, RowStep, ServicePlan, WindowStep
from featurestore.values import KINDS, Kind, Values, from_list
from featurestore.visibility import Viewpoint, windows_ahead, windows_of
from featurestore.window import Window

IntArray = np.ndarray[Any, np.dtype[np.int64]]
_INT64 = (-(2**63), 2**63 - 1)
_NONE_HOT: Mapping[str, Sequence[Part]] = {}


@dataclass(eq=False)
class Spine:
    """Rows that ask: ``as_of`` in microseconds UTC, shape ``(n,)``, and the plan's key and request columns.

    ``position`` per row is set where rows ask as of different positions; the events then carry theirs.
    """

    as_of: IntArray
    columns: Mapping[str, Values]
    position: IntArray | None = None

    def __len__(self) -> int:
        """Rows."""
        return len(self.as_of)

    def take(self, rows: IntArray) -> "Spine":
        """Rows at an index."""
        position = None if self.position is None else self.position[rows]
        return Spine(self.as_of[rows], {name: one.take(rows) for name, one in self.columns.items()}, position)


def evaluate(
    plan: ServicePlan,
    spine: Spine,
    events: Mapping[str, Events],
    entities: Mapping[Keyed, IntArray],
    not_finite: dict[str, int] | None = None,
    hot: Mapping[str, Sequence[Part]] = _NONE_HOT,
) -> Made:
    """Value of each feature of the service for each row, in declared order; then of each label.

    Parameters
    ----------
    plan
        The service, resolved.
    spine
        Rows that ask.
    events
        Sorted events of each view the plan reads, by view name.
    entities
        For each keyed view, the index of each row's entity among those events, shape ``(n,)``; -1 where there is none.
    not_finite
        Counts by feature the NaN and infinities that it computed, and that are null (S7).
    hot
        In place of events, of views that the only row asks for one entity and only for plain reductions: their parts.
    """
    counts: dict[str, int] = {} if not_finite is None else not_finite
    looking = _Looking(spine, events, entities, hot)
    one = len(spine) == 1 and spine.position is None
    alone = {keyed: looking.alone(keyed) for keyed in plan.keyed} if one else {}
    made = Made({**spine.columns, AS_OF: Values("datetime", spine.as_of)}, plan.outputs)
    for step in plan.steps:
        if isinstance(step, WindowStep):
            values = alone[step.keyed].reduced(step.feature) if alone else None
            if values is None:
                values = _reduced(step.feature, looking.windows(step), counts)  # one call for all of the family
            made.add(step.outputs, values)
        else:
            made.add((step.output,), _row_step(step, made, len(spine), counts))
    for ahead in plan.labels:
        made.add((ahead.label.name,), _reduced(ahead.label, looking.ahead(ahead), counts))
    return made


class _Looking:
    """Rows that look at events; features that look through the same windows share them, and what their folds share."""

    def __init__(
        self,
        spine: Spine,
        events: Mapping[str, Events],
        entities: Mapping[Keyed, IntArray],
        hot: Mapping[str, Sequence[Part]],
    ) -> None:
        self._spine, self._events, self._entities, self._hot = spine, events, entities, hot
        self._viewpoints: dict[str, Viewpoint] = {}
        self._windows: dict[Any, Window] = {}

    def alone(self, keyed: Keyed) -> OneRow | HotRow:
        """The only row, asking a view."""
        as_of, entity = int(self._spine.as_of[0]), int(self._entities[keyed][0])
        parts = self._hot.get(keyed.view.name)
        return OneRow(as_of, entity, self._viewpoint(keyed)) if parts is None else HotRow(as_of, entity, parts)

    def windows(self, step: WindowStep) -> Window:
        """Windows that the rows look back through."""
        look = (step.keyed, step.feature.windows, step.feature.offset)
        if look not in self._windows:
            viewpoint = self._viewpoint(step.keyed)
            self._windows[look] = _windows(step, self._spine, viewpoint, self._entities[step.keyed])
        return self._windows[look]

    def ahead(self, step: LabelStep) -> Window:
        """Windows that the rows look forward through."""
        return _ahead(step.label, self._spine, self._viewpoint(step.keyed), self._entities[step.keyed])

    def _viewpoint(self, keyed: Keyed) -> Viewpoint:
        found = self._viewpoints.get(keyed.view.name)
        if found is None:
            found = self._viewpoints[keyed.view.name] = Viewpoint(self._events[keyed.view.name])
        return found


def _windows(step: WindowStep, spine: Spine, viewpoint: Viewpoint, entity: IntArray) -> Window:
    return windows_of(
        viewpoint,
        entity,
        spine.as_of,
        windows=step.feature.windows,
        offset=step.feature.offset,
        inclusive=step.feature.view.source.inclusive,
        position=spine.position,
    )


def _ahead(label: Label, spine: Spine, viewpoint: Viewpoint, entity: IntArray) -> Window:
    return windows_ahead(
        viewpoint,
        entity,
        spine.as_of,
        horizon=label.horizon,
        offset=label.offset,
        inclusive=label.view.source.inclusive,
        position=spine.position,
    )


def _reduced(declared: WindowFeature | Label, window: Window, counts: dict[str, int]) -> Values:
    """One value of each window."""
    before = window.not_finite
    try:
        values = window.result(declared.function(window))
    except Exception as error:
        raise _blamed(declared, error) from error
    if window.not_finite > before:
        counts[declared.name] = counts.get(declared.name, 0) + window.not_finite - before
    if values.kind != declared.kind:
        raise DefinitionError(
            f"{located(declared.function)}: {declared.what} {declared.name!r} gave {values.kind} here and "
            f"{declared.kind} on an empty window: its type must not depend on the rows."
        )
    return values


def _row_step(step: RowStep, made: Mapping[str, Values], rows: int, counts: dict[str, int]) -> Values:
    inputs = [made[name] for name in step.inputs]
    feature = step.feature
    try:
        if feature.on_arrays:
            results = _array_result(feature, feature.function(*map(_as_array, inputs)), rows)
        elif inputs:
            results = list(map(feature.function, *map(_as_scalars, inputs)))
        else:
            results = [feature.function() for _ in range(rows)]
    except Exception as error:
        raise _blamed(feature, error) from error
    return _checked(feature, results, counts)


def _blamed(declared: Feature | Label, error: Exception) -> Exception:
    """What a user's function raises names what it declares, file and line."""
    if isinstance(error, FeatureStoreError):
        return error
    return DefinitionError(
        f"{located(declared.function)}: {declared.what} {declared.name!r} raised {type(error).__name__}: {error}"
    )


def _as_scalars(values: Values) -> list[Any]:
    """Python scalars; a missing float is nan, any other missing value is None (S8), in a map too."""
    if values.kind == "map[float]":
        return [{key: np.nan if one is None else one for key, one in row.items()} for row in values.to_list()]
    items = values.to_list()
    return [np.nan if one is None else one for one in items] if values.kind == "float" else items


def _as_array(values: Values) -> np.ndarray[Any, Any]:
    """Contiguous array: float64 with nan, int64 or bool where the type has no null, else objects with None (S8)."""
    if values.kind == "float":
        return np.array(_as_scalars(values), np.float64)
    if values.kind in ("int", "bool") and values.valid is None:
        return values.data.copy()
    if values.kind == "datetime":
        return np.where(values.mask, values.data, np.iinfo(np.int64).min).view("datetime64[us]")
    array = np.empty(len(values), object)
    array[:] = _as_scalars(values)
    return array


def _array_result(feature: RowFeature, result: Any, rows: int) -> list[Any]:
    array = np.asarray(result)
    if array.shape != (rows,):
        raise DefinitionError(
            f"{located(feature.function)}: feature {feature.name!r} gave an array of shape {array.shape} for {rows} "
            "rows: return one value per row."
        )
    if array.dtype.kind == "M":
        micros = array.astype("datetime64[us]")
        return [
            None if missing else times.to_datetime(at)
            for at, missing in zip(micros.view(np.int64).tolist(), np.isnat(micros).tolist(), strict=True)
        ]
    if array.dtype.kind == "f" and array.dtype != np.float64:
        array = array.astype(np.float64)
    return list(array.tolist())


def _checked(feature: RowFeature, results: list[Any], counts: dict[str, int]) -> Values:
    """Typed values: None, NaN and infinities are null (S7), anything of another type is an error."""
    convert = _CONVERT[feature.kind]
    clean = [None if one is None else convert(one) for one in results]
    for row, one in enumerate(clean):
        if one is _TOO_LARGE:
            raise IntegerOverflow(
                f"{located(feature.function)}: feature {feature.name!r} gave {results[row]}, past int64, for row "
                f"{row_number(row)}. Bound what it is made of, or return it as a float."
            )
        if one is _WRONG:
            raise DefinitionError(
                f"{located(feature.function)}: feature {feature.name!r} is declared {feature.kind} and gave "
                f"{results[row]!r}, a {type(results[row]).__name__}, for row {row_number(row)}."
            )
        if one is None and not feature.nullable:
            raise DefinitionError(
                f"{located(feature.function)}: feature {feature.name!r} gave no value for row {row_number(row)}: "
                f"annotate `-> {feature.kind} | None`."
            )
    lost = sum(one is None and given is not None for one, given in zip(clean, results, strict=True))
    if lost:
        counts[feature.name] = counts.get(feature.name, 0) + lost
    return from_list(feature.kind, clean, nullable=feature.nullable)


_WRONG, _TOO_LARGE = object(), object()


def _float(one: Any) -> Any:
    if isinstance(one, (bool, np.bool_)) or not isinstance(one, (int, float, np.integer, np.floating)):
        return _WRONG
    try:
        value = float(one)
    except OverflowError:
        return None
    return value if -np.inf < value < np.inf else None


def _int(one: Any) -> Any:
    if isinstance(one, (bool, np.bool_)) or not isinstance(one, (int, np.integer)):
        return _WRONG
    return int(one) if _INT64[0] <= one <= _INT64[1] else _TOO_LARGE


def _bool(one: Any) -> Any:
    return bool(one) if isinstance(one, (bool, np.bool_)) else _WRONG


def _str(one: Any) -> Any:
    return str(one) if isinstance(one, str) else _WRONG


def _datetime(one: Any) -> Any:
    return one if isinstance(one, datetime) else _WRONG


_CONVERT: dict[Kind, Callable[[Any], Any]] = {
    KINDS[float]: _float,
    KINDS[int]: _int,
    KINDS[bool]: _bool,
    KINDS[str]: _str,
    KINDS[datetime]: _datetime,
}
