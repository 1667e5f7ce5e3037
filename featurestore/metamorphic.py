"""Whether features are functions of their row alone (S14): the same rows asked in other ways must give the same bits.

Whole, again, in two halves, in another order, one by one, each twice, beside rows of nulls, over events in another
order: all of it through ``evaluate``, which training sets and lookups call. It finds what no look at the code can: a
mean over the batch, state that is kept, a result that depends on a set's order.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import times
from featurestore.definition import located
from featurestore.engine import local
from featurestore.errors import FeatureStoreError
from featurestore.evaluate import Spine
from featurestore.plan import RowStep, ServicePlan, WindowStep
from featurestore.values import Values

IntArray = np.ndarray[Any, np.dtype[np.int64]]
_SINGLE = 24  # rows that are asked one by one
_BATCH = "What is computed over a whole array, such as x.mean(), is of the rows that happen to be asked together."
_STATE = "It keeps something from one call to the next, or is random."
_ORDER = "It depends on the order in which rows are asked."
_EVENTS = "It depends on the order in which events lie in their files."
_FRESH = "It depends on the order of a set, on hash(), or on what that process is."


@dataclass(frozen=True, eq=False)
class Trial:
    """A service tried on some events and rows: ``tables`` by source, with ``__known_at``; ``spine`` as asked.

    The rows from ``asked`` on are those of nulls, that only stand beside the others.
    """

    plan: ServicePlan
    tables: Mapping[str, pa.Table]
    spine: Spine
    asked: int
    origin: str

    @property
    def whole(self) -> ServicePlan:
        """The plan, with what its steps make for each other given too."""
        return replace(self.plan, outputs=tuple(self.outputs))

    @property
    def outputs(self) -> Mapping[str, WindowStep | RowStep]:
        """The step of each output, every input before what is made of it."""
        steps = self.plan.steps
        return {out: one for one in steps for out in (one.outputs if isinstance(one, WindowStep) else (one.output,))}

    def part(self, rows: IntArray) -> Spine:
        """Spine of some of the rows, in this order."""
        return Spine(self.spine.as_of[rows], {name: one.take(rows) for name, one in self.spine.columns.items()})


@dataclass
class Blame:
    """What was found of which feature: the first difference of each, and none that another one's explains."""

    problems: dict[str, str] = field(default_factory=dict)
    outputs: set[str] = field(default_factory=set)
    asked: int = 0

    def compare(
        self, trial: Trial, whole: Mapping[str, Values], other: Mapping[str, Values], rows: IntArray, way: str, why: str
    ) -> None:
        """Compare what ``rows`` gave another way with what they gave in the whole, bit by bit."""
        self.asked += len(rows)
        for output, step in trial.outputs.items():
            if len(other[output]) != len(rows):
                where = located(step.feature.function)
                self.problems.setdefault(way, f"{where}: asked {way}, it is other rows that raise. {why}")
                return
            if output in self.outputs or (isinstance(step, RowStep) and self.outputs.intersection(step.inputs)):
                self.outputs.add(output)
                continue
            kept = np.flatnonzero(rows < trial.asked)
            one, base = other[output].take(kept), whole[output].take(rows[kept])
            place = difference(one, base)
            if place is None:
                continue
            self.outputs.add(output)
            row = int(rows[kept[place]])
            self.problems.setdefault(
                step.feature.name,
                f"{located(step.feature.function)}: feature {step.feature.name!r} is no function of its row alone: "
                f"asked {way}, {_row(trial, row)} gives {_shown(one, place)} for {output!r}, and {_shown(base, place)} "
                f"in the whole of {trial.asked} rows ({trial.origin}). {why}",
            )


def tried(trial: Trial, blame: Blame) -> None:
    """Ask the rows of a trial in all ways that this process can.

    What a feature raises counts as a problem too: rows for which it does are left out of the rest.
    """
    trial, whole = _answered(trial, blame)
    if whole is None:
        return
    turned = {name: table.take(np.arange(len(table))[::-1]) for name, table in trial.tables.items()}
    every = np.arange(trial.asked)
    for way, why, parts in _ways(trial):
        _compared(trial, whole, blame, parts, way, why)
    _compared(replace(trial, tables=turned), whole, blame, [every], "over the same events in another order", _EVENTS)


def elsewhere(trial: Trial, answers: Mapping[str, Values], blame: Blame) -> None:
    """Compare with what another process answered."""
    trial, whole = _answered(trial, Blame())
    if whole is not None and answers:
        blame.compare(trial, whole, answers, np.arange(trial.asked), "in another process", _FRESH)


def _compared(
    trial: Trial, whole: Mapping[str, Values], blame: Blame, parts: Sequence[IntArray], way: str, why: str
) -> None:
    try:
        for rows in parts:
            blame.compare(trial, whole, local.over(trial.whole, trial.part(rows), trial.tables), rows, way, why)
    except FeatureStoreError as error:
        _note(blame, trial, error, f"asked {way}, though not in the whole")


def answers_of(trial: Trial) -> Mapping[str, Values]:
    """What the whole gives, without rows for which a feature raises: nothing if none is left."""
    return _answered(trial, Blame())[1] or {}


def _answer(trial: Trial) -> Mapping[str, Values]:
    return local.over(trial.whole, trial.part(np.arange(trial.asked)), trial.tables)


def difference(one: Values, other: Values) -> int | None:
    """First row in which two columns differ by a bit; ``None`` if none does."""
    if one.entries is not None or other.entries is not None:  # a float's repr tells all its bits
        different = np.array(
            [repr(a) != repr(b) for a, b in zip(one.to_list(), other.to_list(), strict=True)], np.bool_
        )
    elif one.kind == "str":
        different = np.array([a != b for a, b in zip(one.to_list(), other.to_list(), strict=True)], np.bool_)
    else:
        left, right = (each.data.view(np.int64) if each.kind == "float" else each.data for each in (one, other))
        different = (one.mask != other.mask) | (one.mask & (left != right))
    rows = np.flatnonzero(different)
    return int(rows[0]) if len(rows) else None


def _ways(trial: Trial) -> Iterator[tuple[str, str, list[IntArray]]]:
    """Ways to ask: words, what it means if one differs, and the rows of each call."""
    asked, nulls = trial.asked, np.arange(trial.asked, len(trial.spine))
    every = np.arange(asked)
    shuffled = np.random.default_rng(asked).permutation(asked)
    yield "again", _STATE, [every]
    yield "in two halves", _BATCH, [every[: asked // 2], every[asked // 2 :]]
    yield "in another order", _ORDER, [shuffled]
    yield "one row at a time", _BATCH, [every[row : row + 1] for row in shuffled[:_SINGLE]]
    yield "twice in one batch", _BATCH, [np.repeat(every, 2)]
    yield "beside rows of nulls", _BATCH, [np.concatenate([nulls[::2], every, nulls[1::2]])]


def _answered(trial: Trial, blame: Blame) -> tuple[Trial, Mapping[str, Values] | None]:
    """Answers of the whole, without rows for which a feature raises."""
    try:
        return trial, _answer(trial)
    except FeatureStoreError as error:
        first = error
    sound = []
    for row in range(len(trial.spine)):
        try:
            local.over(trial.whole, trial.part(np.arange(row, row + 1)), trial.tables)
        except FeatureStoreError as error:
            if row < trial.asked:
                _note(blame, trial, error, f"asked for {_row(trial, row)}")
        else:
            sound.append(row)
    rows = np.array(sound, np.int64)
    left = replace(trial, spine=trial.part(rows), asked=int((rows < trial.asked).sum()))
    if len(rows) == len(trial.spine) or not left.asked:
        _note(blame, trial, first, f"asked for {trial.asked} rows at once")
        return left, None
    try:
        return left, _answer(left)
    except FeatureStoreError as error:
        _note(blame, left, error, f"asked for {left.asked} rows at once, though not one by one")
        return left, None


def _note(blame: Blame, trial: Trial, error: FeatureStoreError, when: str) -> None:
    """Keep the first error of each feature; of an error that names no feature the first of its kind."""
    text = str(error)
    steps = trial.outputs.values()
    name = next((step.feature.name for step in steps if f"feature {step.feature.name!r}" in text), type(error).__name__)
    blame.problems.setdefault(name, f"{text} ({when}; {trial.origin})")


def _row(trial: Trial, row: int) -> str:
    """Words for a row: its keys and request fields, and the instant."""
    columns = {name: one.take(np.arange(row, row + 1)).to_list()[0] for name, one in trial.spine.columns.items()}
    told = "".join(f"{name}={one!r}, " for name, one in columns.items())
    return f"row {row} ({told}as_of={times.isoformat(int(trial.spine.as_of[row]))})"


def _shown(values: Values, place: int) -> str:
    return repr(values.take(np.arange(place, place + 1)).to_list()[0])
