"""A typed, nullable, contiguous array: what every column of events and every feature value is made of.

Kinds are closed: ``bool``, ``int`` (int64), ``float`` (float64), ``str`` (codes into sorted categories) and
``datetime`` (int64 microseconds UTC). A feature may also be a map from text to one of them, ``map[float]`` and the
like: a row's entries are in the order of their keys, and it is never null but empty. ``valid`` is ``None`` where the
type has no nulls: that is a matter of the type, never of the rows at hand, so one row and a million rows have the same
shape. Data under a null is zero. No value is NaN, infinite or -0.0 (S7).
"""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore import parallel, times

Kind = Literal[
    "bool", "int", "float", "str", "datetime", "map[bool]", "map[int]", "map[float]", "map[str]", "map[datetime]"
]
DTYPES: dict[Kind, type[np.generic]] = {
    "bool": np.bool_,
    "int": np.int64,
    "float": np.float64,
    "str": np.int32,
    "datetime": np.int64,
}
ARROW_TYPES: dict[Kind, pa.DataType] = {
    "bool": pa.bool_(),
    "int": pa.int64(),
    "float": pa.float64(),
    "str": pa.string(),
    "datetime": pa.timestamp("us", tz="UTC"),
}
CODES = pa.dictionary(pa.int32(), pa.string())
"""Type of texts in Arrow where they are codes."""
MAPS: dict[Kind, Kind] = {
    "bool": "map[bool]",
    "int": "map[int]",
    "float": "map[float]",
    "str": "map[str]",
    "datetime": "map[datetime]",
}
"""Kind of a map by the kind of its values."""
_INNER: dict[Kind, Kind] = {whole: kind for kind, whole in MAPS.items()}
DTYPES |= dict.fromkeys(MAPS.values(), np.int64)
ARROW_TYPES |= {whole: pa.map_(pa.string(), ARROW_TYPES[kind]) for kind, whole in MAPS.items()}
FEW = 64
"""So many values are kept as Python scalars until arrays are asked for."""
Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any] | None, np.ndarray[Any, Any] | None]
KINDS: dict[type, Kind] = {bool: "bool", int: "int", float: "float", str: "str", datetime: "datetime"}


class Values:
    """A column of one kind: arrays of shape ``(n,)``; strings index ``categories``, which are sorted and unique.

    Of a map ``data`` has shape ``(n, 2)``: a row's keys and values are ``entries[lo:hi]``.

    Few values may have been given as Python scalars (:func:`scalars`): of one row's values arrays cost more than all
    else, so they are made when they are asked for.
    """

    __slots__ = ("_arrays", "_items", "entries", "kind")

    def __init__(
        self,
        kind: Kind,
        data: np.ndarray[Any, Any] | None,
        valid: np.ndarray[Any, Any] | None = None,
        categories: np.ndarray[Any, Any] | None = None,
        entries: "tuple[Values, Values] | None" = None,
        *,
        items: tuple[list[Any], bool] | None = None,
    ) -> None:
        self.kind = kind
        self.entries = entries
        self._arrays: Arrays | None = None if data is None else (data, valid, categories)
        self._items = items

    @property
    def data(self) -> np.ndarray[Any, Any]:
        """Numbers, booleans, codes of strings, microseconds UTC, or where a map's entries lie."""
        return (self._arrays or self._made())[0]

    @property
    def valid(self) -> np.ndarray[Any, Any] | None:
        """True where there is a value; ``None`` where the type has no nulls."""
        return (self._arrays or self._made())[1]

    @property
    def categories(self) -> np.ndarray[Any, Any] | None:
        """Texts that a string column's codes stand for."""
        return (self._arrays or self._made())[2]

    def __len__(self) -> int:
        """Rows."""
        return len(self.data) if self._items is None else len(self._items[0])

    @property
    def mask(self) -> np.ndarray[Any, Any]:
        """True where there is a value, shape ``(n,)``."""
        return np.ones(len(self.data), np.bool_) if self.valid is None else self.valid

    def take(self, index: np.ndarray[Any, Any] | slice) -> "Values":
        """Rows at ``index``, contiguous."""
        if isinstance(index, slice) and index.step is None:
            if self._items is not None:
                return scalars(self.kind, self._items[0][index], nullable=self._items[1])
            valid = None if self.valid is None else self.valid[index]
            return Values(self.kind, self.data[index], valid, self.categories, self.entries)
        valid = None if self.valid is None else np.ascontiguousarray(self.valid[index])
        return Values(self.kind, np.ascontiguousarray(self.data[index]), valid, self.categories, self.entries)

    def to_list(self) -> list[Any]:
        """Python scalars, null as ``None``, datetimes aware in UTC; a map as a dict. The list may not be changed."""
        if self._items is not None:
            return self._items[0]
        if self.entries is not None:
            edges, keys, held = self._own_entries(self.entries)
            pairs = list(zip(keys.to_list(), held.to_list(), strict=True))
            return [dict(pairs[lo:hi]) for lo, hi in pairwise(edges.tolist())]
        if self.kind == "str":
            names = [] if self.categories is None else self.categories.tolist()
            items = [names[code] if names else None for code in self.data.tolist()]
        elif self.kind == "datetime":
            items = [times.to_datetime(micros) for micros in self.data.tolist()]
        else:
            items = self.data.tolist()
        for place in [] if self.valid is None else np.flatnonzero(~self.valid).tolist():
            items[place] = None
        return items

    def to_arrow(self) -> pa.Array:
        """Arrow array of the kind's Arrow type, null as null."""
        mask = None if self.valid is None else ~self.valid
        if self.entries is not None:
            edges, keys, held = self._own_entries(self.entries)
            return pa.MapArray.from_arrays(pa.array(edges, pa.int32()), keys.to_arrow(), held.to_arrow())
        if self.kind == "str":
            names = pa.array([] if self.categories is None else self.categories.tolist(), pa.string())
            if not len(names):
                return pa.nulls(len(self), pa.string())
            return pa.DictionaryArray.from_arrays(pa.array(self.data, mask=mask), names).dictionary_decode()
        return pa.array(self.data, mask=mask).cast(ARROW_TYPES[self.kind])

    def _made(self) -> "Arrays":
        items, nullable = self._items or ([], False)
        made = _of_items(self.kind, items, nullable=nullable)
        self._arrays = (made.data, made.valid, made.categories)
        return self._arrays

    def _own_entries(self, entries: tuple["Values", "Values"]) -> tuple[np.ndarray[Any, Any], "Values", "Values"]:
        """Where each row's entries begin and the last end, and the keys and values of all rows, one after another."""
        lengths = self.data[:, 1] - self.data[:, 0]
        edges = np.concatenate([[0], np.cumsum(lengths)])
        index = np.arange(edges[-1]) + np.repeat(self.data[:, 0] - edges[:-1], lengths)
        return edges, entries[0].take(index), entries[1].take(index)


def scalars(kind: Kind, items: list[Any], *, nullable: bool = True) -> Values:
    """Values of a few Python scalars as they are: of the kind (no maps), null as ``None``, and clean (S7)."""
    return Values(kind, None, items=(items, nullable))


def mapped(edges: np.ndarray[Any, Any], keys: Values, items: Values) -> Values:
    """Maps whose row ``i`` has the entries ``[edges[i, 0], edges[i, 1])`` of keys and values."""
    return Values(MAPS[items.kind], edges, entries=(keys, items))


def masked(
    kind: Kind,
    data: np.ndarray[Any, Any],
    valid: np.ndarray[Any, Any],
    categories: np.ndarray[Any, Any] | None = None,
) -> Values:
    """Values where they are valid, null elsewhere."""
    return Values(kind, np.where(valid, data, np.zeros(1, data.dtype)), valid, categories)


def nulls(kind: Kind, rows: int) -> Values:
    """``rows`` nulls."""
    return Values(kind, np.zeros(rows, DTYPES[kind]), np.zeros(rows, np.bool_))


def encode(strings: Sequence[str | None]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Codes, validity and sorted categories of Python strings."""
    names = sorted({text for text in strings if text is not None})
    code: dict[str | None, int] = {text: number for number, text in enumerate(names)}
    code[None] = 0
    codes = np.array([code[text] for text in strings], np.int32)
    return codes, np.array([text is not None for text in strings], np.bool_), _objects(names)


def from_list(kind: Kind, items: Sequence[Any], *, nullable: bool = True) -> Values:
    """Values of Python scalars that are already of the kind (datetimes also as microseconds), of dicts for maps."""
    if len(items) <= FEW:
        return listed(kind, items, nullable=nullable)
    return _of_items(kind, items, nullable=nullable)


def listed(kind: Kind, items: Sequence[Any], *, nullable: bool = True) -> Values:
    """Values as of :func:`from_list`, kept as a list however many: of what is asked for as scalars again."""
    plain = _PLAIN.get(kind)
    if plain is None:
        return _of_items(kind, items, nullable=nullable)
    return scalars(kind, [None if item is None else plain(item) for item in items], nullable=nullable)


def _of_items(kind: Kind, items: Sequence[Any], *, nullable: bool) -> Values:
    if (inner := _INNER.get(kind)) is not None:
        ends = np.cumsum([0, *(len(item) for item in items)])
        keys = from_list("str", [key for item in items for key in item], nullable=False)
        return mapped(_edges(ends), keys, from_list(inner, [one for item in items for one in item.values()]))
    if kind == "float":
        return clean(kind, np.array([math.nan if item is None else item for item in items], np.float64), None)
    if kind == "str":
        codes, valid, categories = encode(items)
        return Values(kind, codes, valid if nullable else None, categories)
    filled = [0 if item is None else item for item in items]
    if kind == "datetime":
        filled = [times.to_micros(item) for item in filled]
    known = np.array([item is not None for item in items], np.bool_) if nullable else None
    return Values(kind, np.array(filled, DTYPES[kind]), known)


def from_arrow(array: pa.Array | pa.ChunkedArray, kind: Kind, *, nullable: bool = True) -> Values:
    """Values of an Arrow array of any type that casts to the kind without loss; NaN becomes null."""
    if isinstance(array, pa.ChunkedArray) and kind != "str" and array.num_chunks > 1:  # each stays in the cache
        return concatenate(parallel.each(lambda one: from_arrow(one, kind, nullable=nullable), array.chunks))
    whole = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    if kind == "str":
        return _from_arrow_strings(whole, nullable=nullable)
    if (inner := _INNER.get(kind)) is not None:
        keys, edges = from_arrow(whole.keys, "str", nullable=False), _edges(whole.offsets.to_numpy().astype(np.int64))
        return mapped(edges, keys, from_arrow(whole.items, inner))
    typed = whole.cast(ARROW_TYPES[kind])
    valid = None if not nullable and kind != "float" else pc.is_valid(typed).to_numpy(zero_copy_only=False)
    if kind == "datetime":
        typed = typed.cast(pa.int64())
    filled = typed.fill_null(False if kind == "bool" else 0) if typed.null_count else typed
    return clean(kind, filled.to_numpy(zero_copy_only=False), valid)


def _finite(item: Any) -> float | None:
    """S7: NaN is null, -0.0 is 0.0."""
    return None if item != item else float(item) + 0.0  # noqa: PLR0124 NaN


_PLAIN: dict[Kind, Callable[[Any], Any]] = {"bool": bool, "int": int, "float": _finite, "str": str.__str__}


def clean(kind: Kind, data: np.ndarray[Any, Any], valid: np.ndarray[Any, Any] | None) -> Values:
    """S7 at load: NaN is null (so a float column may always hold null), -0.0 is 0.0, under a null lies zero."""
    if kind == "float":
        data = data + 0.0
        known = ~np.isnan(data)
        valid = known if valid is None else valid & known
        data[~valid] = 0.0
    return Values(kind, np.ascontiguousarray(data, DTYPES[kind]), valid)


def concatenate(parts: Sequence[Values]) -> Values:
    """Rows of all parts, in order; all are of one kind and at least one is given."""
    if len(parts) == 1:
        return parts[0]
    kind = parts[0].kind
    if kind in _INNER:
        keys, items = ([one.entries[side] for one in parts if one.entries is not None] for side in (0, 1))
        starts = np.cumsum([0, *(len(one) for one in keys[:-1])])
        edges = np.concatenate([one.data + start for one, start in zip(parts, starts, strict=True)])
        return mapped(edges, concatenate(keys), concatenate(items))
    valid = None if all(part.valid is None for part in parts) else np.concatenate([part.mask for part in parts])
    if kind != "str":
        return Values(kind, np.concatenate([part.data for part in parts]), valid)
    held = [part.categories for part in parts if part.categories is not None]
    if len(held) == len(parts) and all(np.array_equal(one, held[0]) for one in held):
        return Values(kind, np.concatenate([part.data for part in parts]), valid, held[0])
    names = _objects(sorted({name for part in parts for name in _names(part)}))
    codes = [recode(part, names) for part in parts]
    return Values(kind, np.concatenate(codes), valid, names)


def compacted(values: Values) -> Values:
    """The same values; texts with no more categories than they use."""
    if values.kind != "str" or values.categories is None or not len(values.categories):
        return values
    used = np.zeros(len(values.categories), np.bool_)
    used[values.data if values.valid is None else values.data[values.valid]] = True
    code = np.maximum(np.cumsum(used, dtype=np.int32) - 1, 0)
    return Values("str", np.asarray(code[values.data], np.int32), values.valid, values.categories[used])


def sorted_names(texts: Sequence[str]) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Categories of texts, and the code of each."""
    codes, _, names = encode(texts)
    return names, codes


def recode(values: Values, categories: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Codes of a string column in another sorted set of categories that holds all of its own."""
    names = _names(values)
    if not names:
        return values.data
    place = np.searchsorted(categories, _objects(names)).astype(np.int32)
    return np.asarray(place[values.data], np.int32)


def _from_arrow_strings(array: pa.Array, *, nullable: bool) -> Values:
    if not pa.types.is_dictionary(array.type):
        array = array.cast(pa.string()).dictionary_encode()
    valid = None if not nullable else pc.is_valid(array).to_numpy(zero_copy_only=False)
    names = array.dictionary.cast(pa.string())
    order = pc.sort_indices(names).to_numpy()
    rank = np.empty(len(order), np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    codes = array.indices.fill_null(0).to_numpy(zero_copy_only=False)
    data = rank[codes] if len(rank) else np.zeros(len(codes), np.int32)
    if valid is not None:
        data[~valid] = 0
    return Values("str", data, valid, _objects(names.take(pa.array(order)).to_pylist()))


def _edges(offsets: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return np.stack([offsets[:-1], offsets[1:]], axis=1)


def _names(values: Values) -> list[str]:
    return [] if values.categories is None else values.categories.tolist()


def _objects(items: Sequence[str]) -> np.ndarray[Any, Any]:
    array = np.empty(len(items), object)
    array[:] = items
    return array
