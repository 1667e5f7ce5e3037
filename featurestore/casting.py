"""Arrow columns to the declared kinds, without loss: what does not fit is null, and told.

The table of :mod:`featurestore.carriers`, over whole columns; where text is all that there is (``from_text``), it is
parsed to any kind. Naive time is UTC (S1), nanoseconds are cut to microseconds, and nothing lies outside int64 or the
years 1 to 9999.
"""

import enum
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import times
from featurestore.values import ARROW_TYPES, CODES, Kind

_MISFITS = (pa.ArrowException, TypeError, ValueError, OverflowError)


@dataclass(frozen=True, slots=True, eq=False)
class Cast:
    """A column as a kind, all arrays of one length.

    ``typed`` is null where a value does not fit. ``known`` is the column as it came, NaN as null (S7).
    """

    typed: pa.Array
    known: pa.Array

    @property
    def misfits(self) -> pa.Array:
        """True where there is a value that does not fit."""
        return pc.and_(pc.is_null(self.typed), pc.is_valid(self.known))


def whole(column: pa.ChunkedArray | pa.Array, *, codes: bool = False) -> pa.Array:
    """Return the column as one array, without extension type and string view.

    It has no dictionary either, but for texts that come as ``codes`` and may stay so.
    """
    array = column.unify_dictionaries().combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if codes and array.type == CODES and not array.dictionary.null_count:
        return array
    if isinstance(array.type, pa.BaseExtensionType):
        array = array.storage
    if pa.types.is_dictionary(array.type):
        return pa.DictionaryArray.from_arrays(array.indices, whole(array.dictionary)).dictionary_decode()
    return array.cast(pa.string()) if array.type == pa.string_view() else array  # Arrow can neither take nor filter it


def family(kind: pa.DataType) -> str:
    """Return what the Arrow types of like values are called together; any other type by its own name."""
    return next((name for name, is_one in _FAMILIES if is_one(kind)), str(kind))


def without_nan(array: pa.Array) -> pa.Array:
    """Return the array with NaN as null (S7)."""
    return pc.if_else(pc.is_nan(array), None, array) if pa.types.is_floating(array.type) else array


def cast(array: pa.Array, kind: Kind, *, from_text: bool = False) -> Cast:
    """Array of any type as a kind; ``from_text`` parses numbers, ``true`` and ``false``, and ISO 8601 instants."""
    known = without_nan(array)
    if known.type == CODES and kind == "str":
        return Cast(known, known)
    group = family(known.type)
    if group in _CASTS[kind]:
        return Cast(_CASTS[kind][group](known), known)
    if group == "str" and from_text:
        return Cast(_parsed(known, kind), known)
    return Cast(pa.nulls(len(known), ARROW_TYPES[kind]), known)


def moments(stamps: pa.Array) -> pa.Array:
    """Timestamps of any unit, or dates at midnight, to microseconds UTC; null outside the years 1 to 9999."""
    if pa.types.is_date(stamps.type):
        stamps = stamps.cast(pa.timestamp("s"))
    counts = stamps.cast(pa.int64())
    unit = stamps.type.unit
    per_second = {"s": 1, "ms": 1_000, "us": 1_000_000, "ns": 1_000_000_000}[unit]
    if unit == "ns":  # int64 nanoseconds end in 2262
        floored = pa.array(counts.fill_null(0).to_numpy() // 1_000)
        return pc.if_else(pc.is_valid(counts), floored, None).cast(ARROW_TYPES["datetime"])
    low, high = (bound * per_second // 1_000_000 for bound in (_FIRST, _LAST))
    counts = pc.if_else(pc.and_(pc.greater_equal(counts, low), pc.less_equal(counts, high)), counts, None)
    return pc.multiply(counts, 1_000_000 // per_second).cast(ARROW_TYPES["datetime"])


def from_python(items: Sequence[Any], kind: Kind) -> tuple[pa.Array, list[int]]:
    """Arrow array of Python scalars, and the places of those that are not of the kind (null there)."""
    if any(issubclass(each, enum.Enum) for each in set(map(type, items))):
        items = [item.value if isinstance(item, enum.Enum) else item for item in items]
    try:
        made = pa.array(items, ARROW_TYPES[kind])
    except _MISFITS:
        made = pa.array([item if _holds(item, kind) else None for item in items], ARROW_TYPES[kind])
    if kind == "datetime":
        made = moments(made)
    empty = np.flatnonzero(made.is_null().to_numpy(zero_copy_only=False)).tolist() if made.null_count else []
    return made, [place for place in empty if items[place] is not None]


def to_python(column: pa.Array) -> list[Any]:
    """Python scalars of an array, null as ``None``."""
    if column.type == ARROW_TYPES["datetime"]:  # many times faster than Arrow's own way through a time zone
        counts = column.cast(pa.int64()).to_pylist()
        return [None if count is None else times.EPOCH + timedelta(microseconds=count) for count in counts]
    try:
        return list(column.to_pylist())
    except (OverflowError, ValueError):  # an instant that Python has no datetime for
        return list(column.cast(pa.int64()).to_pylist())


def _holds(item: Any, kind: Kind) -> bool:
    try:
        pa.array([item], ARROW_TYPES[kind])
    except _MISFITS:
        return False
    return True


_FAMILIES: tuple[tuple[str, Callable[[pa.DataType], bool]], ...] = (
    ("bool", pa.types.is_boolean),
    ("int", pa.types.is_integer),
    ("float", pa.types.is_floating),
    ("decimal", pa.types.is_decimal),
    ("str", pa.types.is_string),
    ("str", pa.types.is_large_string),
    ("datetime", pa.types.is_timestamp),
    ("datetime", pa.types.is_date),
)


def _to_bool(numbers: pa.Array) -> pa.Array:
    one, zero = (pa.scalar(number).cast(numbers.type) for number in (1, 0))  # uint64 beside int64 is an error to Arrow
    return pc.if_else(pc.equal(numbers, one), True, pc.if_else(pc.equal(numbers, zero), False, None))


def _int_from_int(numbers: pa.Array) -> pa.Array:
    if numbers.type == pa.uint64():
        numbers = pc.if_else(pc.less_equal(numbers, pa.scalar(2**63 - 1, pa.uint64())), numbers, None)
    return numbers.cast(pa.int64())


def _int_from_float(numbers: pa.Array) -> pa.Array:
    numbers = numbers.cast(pa.float64())
    inside = pc.and_(pc.greater_equal(numbers, -(2.0**63)), pc.less(numbers, 2.0**63))
    integral = pc.if_else(pc.and_(inside, pc.equal(pc.floor(numbers), numbers)), numbers, None)
    return integral.cast(pa.int64(), safe=False)


def _float_from_int(numbers: pa.Array) -> pa.Array:
    floats = numbers.cast(pa.float64(), safe=False)
    if numbers.type.bit_width < 64:  # noqa: PLR2004 a double holds any of them
        return floats
    inside = pc.less(floats, 2.0**64 if numbers.type == pa.uint64() else 2.0**63)
    back = pc.if_else(inside, floats, 0.0).cast(numbers.type, safe=False)
    return pc.if_else(pc.and_(inside, pc.equal(back, numbers)), floats, None)


_FIRST, _LAST = times.to_micros(datetime.min), times.to_micros(datetime.max)  # noqa: DTZ901 naive is UTC (S1)
_CASTS: dict[Kind, dict[str, Callable[[pa.Array], pa.Array]]] = {
    "bool": {"bool": lambda column: column, "int": _to_bool, "float": _to_bool},
    "int": {
        "int": _int_from_int,
        "float": _int_from_float,
        "decimal": lambda column: _parsed(column.cast(pa.string()), "int"),
    },
    "float": {
        "float": lambda column: column.cast(pa.float64()),
        "int": _float_from_int,
        "decimal": lambda column: _parsed(column.cast(pa.string()), "float"),
    },
    "str": {"str": lambda column: column.cast(pa.string())},
    "datetime": {"datetime": moments, "str": lambda column: _parsed(column, "datetime")},
}
_TEXTS: dict[Kind, str] = {
    "bool": r"^(?i:true|t|yes|y|on|1|false|f|no|n|off|0)$",
    "int": r"^[+-]?[0-9]+(\.0*)?$",
    "float": r"^(?i:[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|nan|[+-]?inf(inity)?)$",
    "datetime": f"^{times.ISO_8601}$",
}


def _parsed(texts: pa.Array, kind: Kind) -> pa.Array:
    """Values of texts, null where a text is none."""
    texts = pc.utf8_trim_whitespace(texts)
    if kind == "datetime":
        texts = pc.ascii_upper(texts)
    texts = pc.if_else(pc.match_substring_regex(texts, _TEXTS[kind]), texts, None)
    try:
        return _PARSERS[kind](texts)
    except pa.ArrowInvalid:  # one text among many is out of range, or names no day: find which
        return from_python([_parsed_one(text, kind) for text in texts.to_pylist()], kind)[0]


def _parsed_one(text: str | None, kind: Kind) -> float | datetime | None:
    try:
        if text is None or kind == "float":
            return None if text is None else float(text)
        if kind == "datetime":
            return times.to_datetime(times.to_micros(text))
        number = int(text.partition(".")[0])
    except ValueError:
        return None
    return number if -(2**63) <= number < 2**63 else None


def _bools(texts: pa.Array) -> pa.Array:
    return pc.match_substring_regex(texts, "^(?i:true|t|yes|y|on|1)$")


def _ints(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, r"^\+|\..*", "").cast(pa.int64())


def _floats(texts: pa.Array) -> pa.Array:
    return pc.replace_substring_regex(texts, r"^\+", "").cast(pa.float64())


def _instants(texts: pa.Array) -> pa.Array:
    texts = pc.replace_substring_regex(texts, r"(\.[0-9]{6})[0-9]+", r"\1")
    zoned = pc.match_substring_regex(texts, r"(Z|[T ].*[+-][0-9:]+)$")
    naive = moments(pc.if_else(zoned, None, texts).cast(pa.timestamp("us")))
    aware = moments(pc.if_else(zoned, texts, None).cast(pa.timestamp("us", "UTC")))
    return pc.coalesce(naive, aware)


_PARSERS = {"bool": _bools, "int": _ints, "float": _floats, "datetime": _instants}
