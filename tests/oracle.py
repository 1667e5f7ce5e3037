"""What every feature must give, computed the slow and obvious way, straight from the S-rules.

Plain Python alone: integers, floats, fractions, lists, dictionaries; nothing of the product but
:mod:`featurestore.testing.oracle`, which is no more than that itself: which events a row sees (S2 to S6, S10, S15) is
told there, and what they are worth here. A feature is described once as a tree of nodes; :func:`value` says its value.
"""

import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

from featurestore.testing.oracle import Event, Rules, Value, plain

INT64 = range(-(2**63), 2**63)
SECOND = 1_000_000


# S7, S13: reductions of a list of values, nulls among them


def present(values: Sequence[Value]) -> list[Any]:
    """Values that are not null."""
    return [entry for entry in values if entry is not None]


def exact_sum(values: Sequence[Any]) -> Fraction:
    """Sum without any rounding."""
    return sum((Fraction(entry) for entry in values), Fraction(0))


def nearest(exact: Fraction) -> float:
    """The double nearest to a fraction, ties to even; infinite past the largest."""
    try:
        return exact.numerator / exact.denominator
    except OverflowError:
        return math.inf if exact > 0 else -math.inf


def total(values: Sequence[Value], kind: str = "float") -> Value:
    """Sum: correctly rounded for floats, exact for integers (past int64: an error), the number of true for booleans."""
    there = present(values)
    if kind == "float":
        return plain(nearest(exact_sum(there)))
    return in_int64(sum(int(entry) for entry in there))


def in_int64(number: int) -> int:
    """Return the integer itself; past int64 is an error (S13)."""
    if number not in INT64:
        raise OverflowError(f"{number} is past int64")
    return number


def mean(values: Sequence[Value], kind: str = "float") -> Value:
    """That sum, divided by the count."""
    there = present(values)
    if not there:
        return None
    if kind == "float":
        return plain(nearest(exact_sum(there)) / len(there))
    return sum(int(entry) for entry in there) / len(there)


def variance(values: Sequence[Value], kind: str = "float") -> Value:  # noqa: ARG001  # one signature for all reductions
    """Sample variance, the nearest double to the exact one; null for fewer than two values."""
    there = present(values)
    if len(there) < 2:
        return None
    squares = exact_sum([Fraction(entry) ** 2 for entry in there])
    return plain(nearest((squares - exact_sum(there) ** 2 / len(there)) / (len(there) - 1)))


def deviation(values: Sequence[Value], kind: str = "float") -> Value:
    """Square root of the sample variance."""
    spread = variance(values, kind)
    return None if spread is None else math.sqrt(float(spread))


def pick(values: Sequence[Value], place: int, *, skip_null: bool = False) -> Value:
    """Return the value of the event at that place (negative: from the end), null included unless ``skip_null`` (S7)."""
    row = present(values) if skip_null else list(values)
    return row[place] if -len(row) <= place < len(row) else None


def smallest(values: Sequence[Value]) -> Value:
    """Minimum; null without values."""
    return min(present(values), default=None)


def largest(values: Sequence[Value]) -> Value:
    """Maximum; null without values."""
    return max(present(values), default=None)


def distinct(values: Sequence[Value]) -> int:
    """Count the different values that are not null."""
    return len(set(present(values)))


def most_frequent(values: Sequence[Value]) -> Value:
    """Value that comes most often, the smallest of those that tie; nulls are skipped; null without values."""
    there = present(values)
    best = None
    for entry in sorted(there):
        if best is None or there.count(entry) > there.count(best):
            best = entry
    return best


def changes(values: Sequence[Value], unit: str) -> list[Value]:
    """Each value less the one before it; the first has none. Datetimes in ``seconds``."""
    steps = [apply("-", after, before) for before, after in pairwise(values)]
    return steps if unit == "units" else [None if step is None else int(step) / 1e6 for step in steps]


def any_true(values: Sequence[Value]) -> Value:
    """Whether one is true; nulls are skipped; null without values."""
    there = present(values)
    return any(there) if there else None


def all_true(values: Sequence[Value]) -> Value:
    """Whether none is false; nulls are skipped; null without values."""
    there = present(values)
    return all(there) if there else None


def quantile(values: Sequence[Value], q: float) -> float | None:
    """Value at place ``q * (n - 1)`` of the sorted values, on the line between two; half way the exact midpoint."""
    ordered_values = sorted(present(values))
    if not ordered_values:
        return None
    place = q * (len(ordered_values) - 1)
    below = math.floor(place)
    share = place - below
    lower = ordered_values[below]
    if share == 0:
        return float(lower)
    upper = ordered_values[below + 1]
    if share == 0.5:
        return nearest((Fraction(lower) + Fraction(upper)) / 2)
    start, end = float(lower), float(upper)
    if math.isinf(end - start):
        return 2.0 * _on_line(start / 2.0, end / 2.0, share)
    return _on_line(start, end, share)


def _on_line(start: float, end: float, share: float) -> float:
    """From the nearer end."""
    return start + (end - start) * share if share < 0.5 else end - (end - start) * (1.0 - share)


def skewness(values: Sequence[Value]) -> float | None:
    """Bias-corrected; null for fewer than three values, and for equal ones. A root of the nearest double."""
    n, powers = _central(present(values))
    if n < 3 or powers[2] == 0:
        return None
    root = math.sqrt(nearest(Fraction(n * n * (n - 1), (n - 2) ** 2) * powers[3] ** 2 / powers[2] ** 3))
    return -root if powers[3] < 0 else root


def kurtosis(values: Sequence[Value]) -> float | None:
    """Excess, bias-corrected; null for fewer than four values, and for equal ones; the nearest double."""
    n, powers = _central(present(values))
    if n < 4 or powers[2] == 0:
        return None
    peak = Fraction(n * (n + 1) * (n - 1), (n - 2) * (n - 3)) * powers[4] / powers[2] ** 2
    return nearest(peak - Fraction(3 * (n - 1) ** 2, (n - 2) * (n - 3)))


def _central(there: Sequence[Any]) -> tuple[int, list[Fraction]]:
    """Count, and sums of the powers of the distances from the exact mean."""
    middle = exact_sum(there) / max(len(there), 1)
    return len(there), [exact_sum([(Fraction(entry) - middle) ** power for entry in there]) for power in range(5)]


def entropy(values: Sequence[Value]) -> float | None:
    """Bits: each different value's count times what its share tells; null without values."""
    there = present(values)
    counts = [sum(entry == other for other in there) for entry in set(there)]
    told = [count * (math.log2(len(there)) - math.log2(count)) for count in counts]
    return nearest(exact_sum(told)) / len(there) if there else None


def slope(values: Sequence[Value], instants: Sequence[int], per: int) -> float | None:
    """Least squares against the instants, per ``per`` microseconds; null unless two instants have values."""
    pairs = [(entry, instant) for entry, instant in zip(values, instants, strict=True) if entry is not None]
    if len({instant for _, instant in pairs}) < 2:
        return None
    level = exact_sum([entry for entry, _ in pairs]) / len(pairs)
    moment = exact_sum([instant for _, instant in pairs]) / len(pairs)
    above = exact_sum([(Fraction(entry) - level) * (instant - moment) for entry, instant in pairs])
    return nearest(per * above / exact_sum([(instant - moment) ** 2 for _, instant in pairs]))


def decayed_sum(values: Sequence[Value], instants: Sequence[int], as_of: int, half_life: int) -> float:
    """Sum of each value times ``2**-(age / half_life)``, those terms rounded and their sum rounded once."""
    told = [
        float(entry) * math.exp2(-(abs(as_of - instant) / half_life))
        for entry, instant in zip(values, instants, strict=True)
        if entry is not None
    ]
    return nearest(exact_sum(told))


def rate(count: int, length: int | None, per: int) -> float | None:
    """Events per ``per`` microseconds of a window of that length; null without a length above zero."""
    return count / (length / per) if length else None


def seconds_since(instants: Sequence[int], as_of: int) -> float | None:
    """Seconds from the last event to ``as_of``; null without events."""
    return (as_of - instants[-1]) / 1e6 if instants else None


# S7: element by element


def _truth_and(left: Value, right: Value) -> Value:
    if left is False or right is False:
        return False
    return None if left is None or right is None else True


def _truth_or(left: Value, right: Value) -> Value:
    if left is True or right is True:
        return True
    return None if left is None or right is None else False


def _divide(left: Any, right: Any) -> float:
    return float(left) / float(right)


STRICT: dict[str, Callable[..., Any]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": _divide,
    "//": operator.floordiv,
    "%": operator.mod,
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "~": operator.not_,
    "neg": operator.neg,
    "abs": abs,
    "lower": str.lower,
    "upper": str.upper,
    "strip": str.strip,
    "endswith": str.endswith,
    "startswith": str.startswith,
    "contains": operator.contains,
    "length": len,
    "minute": lambda instant: _moment(instant).minute,
    "is_weekend": lambda instant: _moment(instant).weekday() in (5, 6),
    "date": lambda instant: instant - (_moment(instant) - _moment(instant).replace(**_MIDNIGHT)) // timedelta(0, 0, 1),
    "quarter": lambda instant: (1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4)[_moment(instant).month - 1],
    "hour": lambda instant: _moment(instant).hour,
    "weekday": lambda instant: _moment(instant).weekday(),
    "day": lambda instant: _moment(instant).day,
    "month": lambda instant: _moment(instant).month,
    "year": lambda instant: _moment(instant).year,
}


_MIDNIGHT: dict[str, Any] = {"hour": 0, "minute": 0, "second": 0, "microsecond": 0}


def _moment(instant: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=instant)


def apply(symbol: str, *operands: Value) -> Value:
    """One operator on single values: ``&`` and ``|`` are Kleene, else null with null.

    What is not finite is null, and so is an integer past int64: only a sum past int64 is an error.
    """
    if symbol in _OF_NULL:
        return _OF_NULL[symbol](*operands)
    if any(operand is None for operand in operands):
        return None
    try:
        result = STRICT[symbol](*operands)
    except ZeroDivisionError:
        return None
    return None if type(result) is int and result not in INT64 else plain(result)


_OF_NULL: dict[str, Callable[..., Value]] = {
    "&": _truth_and,
    "|": _truth_or,
    "is_null": lambda entry: entry is None,
    "fill_null": lambda entry, instead: instead if entry is None else entry,
    "where": lambda condition, left, right: None if condition is None else left if condition else right,
}


# Features as trees


@dataclass(frozen=True)
class Col:
    """A column of the window."""

    name: str


@dataclass(frozen=True)
class Lit:
    """A constant; ``as_datetime`` marks microseconds that a user would write as a datetime."""

    value: Value
    as_datetime: bool = False


@dataclass(frozen=True)
class AsOf:
    """The instant that the row is asked as of."""


@dataclass(frozen=True)
class Op:
    """An operator on nodes: over columns event by event, over reductions once per row."""

    symbol: str
    operands: tuple["Node", ...]


@dataclass(frozen=True)
class Reduce:
    """A reduction of a column expression, or of the window itself (``of=None``: count, since_last).

    ``kind`` is the expression's type; ``where`` keeps the events for which it is true, then ``rows`` the first
    (positive) or last (negative) that many. ``change`` takes each value less the one before, in ``units`` or
    ``seconds``; ``ends`` then takes the first or last that many values, nulls left out before with ``skip_null``.
    ``number`` is what the reduction takes: a share, or microseconds.
    """

    name: str
    of: "Node | None" = None
    kind: str = "float"
    where: "Node | None" = None
    rows: int | None = None
    change: str | None = None
    ends: int | None = None
    place: int = 0
    skip_null: bool = False
    function: Callable[[list[Any]], Value] | None = None
    number: float = 0


@dataclass(frozen=True)
class ByKey:
    """A feature of each group of events that share the text of a column expression: a map, or a fold of its values.

    ``kind`` is that of ``by``; events for which it is null are in no group.
    """

    by: "Node"
    of: "Node"
    kind: str = "str"
    fold: str | None = None


Node = Col | Lit | AsOf | Op | Reduce | ByKey


@dataclass(frozen=True)
class Scope:
    """One row's window: its visible events in S5 order, and the instant."""

    events: Sequence[Event]
    rules: Rules
    as_of: int
    window: int | None = None
    offset: int = 0


def value(node: Node, scope: Scope, event: Event | None = None) -> Value:
    """Give the value of a feature for one row; or, given an event, of a column expression for that event."""
    match node:
        case Col(name):
            assert event is not None, f"{name} is not reduced"
            cell: Value = event[name]
            return cell
        case Lit(constant):
            return constant
        case AsOf():
            return scope.as_of
        case Op(symbol, operands):
            return apply(symbol, *(value(operand, scope, event) for operand in operands))
        case Reduce():
            return plain(_reduced(node, scope))
        case ByKey():
            found = _grouped(node, scope)
            return found if node.fold is None else plain(_FOLDS[node.fold](list(found.values())))


def _grouped(node: ByKey, scope: Scope) -> Any:
    groups: dict[str, list[Event]] = {}
    for event in scope.events:
        key = value(node.by, scope, event)
        if key is not None:
            groups.setdefault(_text(key, node.kind), []).append(event)
    return {key: value(node.of, replace(scope, events=groups[key])) for key in sorted(groups)}


def _text(key: Value, kind: str) -> str:
    if kind == "datetime":
        return _moment(int(key or 0)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    if isinstance(key, bool):
        return "true" if key else "false"
    return str(key)


def _reduced(node: Reduce, scope: Scope) -> Value:
    where = node.where
    kept = [event for event in scope.events if where is None or value(where, scope, event) is True]
    kept = _end(kept, node.rows)
    if node.name == "since_last":
        return seconds_since([int(event[scope.rules.event_time]) for event in kept], scope.as_of)
    instants = [int(event[scope.rules.event_time]) for event in kept]
    if node.name == "rate":
        since_first = scope.as_of - scope.offset - instants[0] if instants else None
        return rate(len(kept), since_first if scope.window is None else scope.window, int(node.number))
    if node.of is None:
        return len(kept)
    values = [value(node.of, scope, event) for event in kept]
    if node.change is not None:
        values, instants = changes(values, node.change), instants[1:]
    if node.ends is not None:
        there = [(one, at) for one, at in zip(values, instants, strict=True) if one is not None or not node.skip_null]
        values, instants = ([pair[side] for pair in _end(there, node.ends)] for side in (0, 1))
        node = replace(node, skip_null=False)
    if node.name == "slope":
        return slope(values, instants, int(node.number))
    if node.name == "decayed_sum":
        return decayed_sum(values, instants, scope.as_of, int(node.number))
    return quantile(values, node.number) if node.name == "quantile" else _folded(node, values)


def _end(items: list[Any], count: int | None) -> list[Any]:
    if count is None:
        return items
    return items[:count] if count > 0 else items[count:]


def _folded(node: Reduce, values: list[Value]) -> Value:
    if node.name in _PLACES:
        place = node.place if node.name == "nth" else _PLACES[node.name]
        return pick(values, place, skip_null=node.skip_null)
    if node.name in _SUMS:
        return _SUMS[node.name](values, node.kind)
    if node.name == "apply":
        assert node.function is not None
        return node.function(present(values)) if present(values) else None
    return _FOLDS[node.name](values)


_PLACES = {"first": 0, "last": -1, "nth": 0}
_SUMS: dict[str, Callable[[list[Value], str], Value]] = {"sum": total, "mean": mean, "var": variance, "std": deviation}
_FOLDS: dict[str, Callable[[list[Value]], Value]] = {
    "count": lambda values: len(present(values)),
    "min": smallest,
    "max": largest,
    "nunique": distinct,
    "mode": most_frequent,
    "any": any_true,
    "all": all_true,
    "median": lambda values: quantile(values, 0.5),
    "skew": skewness,
    "kurtosis": kurtosis,
    "entropy": entropy,
}


def row_value(function: Callable[..., Any], arguments: Mapping[str, tuple[str, Value]]) -> Value:
    """Row feature (S8) of ``{name: (kind, value)}``: a missing float is nan, any other missing value None."""
    scalars = {
        name: math.nan if kind == "float" and entry is None else entry for name, (kind, entry) in arguments.items()
    }
    return plain(function(**scalars))
