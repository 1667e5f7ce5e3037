"""The packed form of one entity's events: what the online store keeps and a lookup reads.

A blob describes itself. All numbers are little-endian; ``n`` is the number of events::

    version u8 | 0 u8 | length of the column list u16 | n u32
    column list, padded to 8 bytes: "amount:f?,merchant:s?,event_time:T"
    event_time int64[n], known_at int64[n]
    columns of 8 bytes an event, then of 4, then of 1, then a validity byte an event for each nullable column
    per string column the length of its categories' text u32, then the texts: a NUL before each name, or a JSON array

A string column whose values hardly repeat (``u``) has no codes but a text for each event, an empty one for null.
Every array starts at ``base + n * stride`` of constants that the column list fixes: columns are found without reading
others, aligned without padding, and decoded when asked for. Events lie in the order of S5. A column equal to event_time
or known_at (``T``, ``K``) takes no room.
"""

import json
import struct
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.events import Events, IntArray
from featurestore.schema import Schema
from featurestore.values import DTYPES, Kind, Values

FORMAT = 1
BLOCK = 1024
"""Most events of one blob: longer histories are split by time, so that a short window reads little."""

HEADER = struct.Struct("<BBHI")
_KIND_OF: dict[str, Kind] = {
    "b": "bool",
    "i": "int",
    "f": "float",
    "s": "str",
    "u": "str",
    "d": "datetime",
    "T": "datetime",
    "K": "datetime",
}
_LETTER: dict[Kind, str] = {kind: letter for letter, kind in _KIND_OF.items() if letter not in "TKu"}
_CHUNK = 1 << 16  # events whose strings are recoded together: block, code and place then share one int64 sort key
_Item = tuple[int, int, bytes]
NONE_DISTINCT: Mapping[str, pa.ChunkedArray] = {}
Stored = tuple[bytes, int | None]
"""(blob, stamp): none of its events was known before the stamp; ``None``: their own known_at says it all."""


@dataclass(frozen=True, slots=True)
class Slot:
    """Where a column lies: its data at ``base + n * stride``, its validity at ``base + n * known``.

    Strings without codes have a ``width`` of 0.
    """

    kind: Kind
    dtype: np.dtype[Any]
    width: int
    stride: int
    known: int | None
    text: int


@dataclass(frozen=True, slots=True)
class Layout:
    """What a column list fixes. Strings begin at ``base + n * total``."""

    listing: bytes
    base: int
    total: int
    texts: struct.Struct
    slots: Mapping[str, Slot]


def layout_of(listing: bytes) -> Layout:
    """Lay out a column list."""
    base = HEADER.size + len(listing)
    columns = [item.rpartition(":") for item in listing.decode().strip().split(",") if ":" in item]
    stride = 16
    place = {}
    for width in (8, 4, 1):
        for name, _, code in columns:
            if code[0] not in "TKu" and np.dtype(DTYPES[_KIND_OF[code[0]]]).itemsize == width:
                place[name] = stride
                stride += width
    slots = {}
    texts = 0
    for name, _, code in columns:
        kind = _KIND_OF[code[0]]
        dtype = np.dtype(DTYPES[kind])
        known, stride = (stride, stride + 1) if code.endswith("?") else (None, stride)
        at = {"T": 0, "K": 8}.get(code[0], place.get(name, 0))
        slots[name] = Slot(kind, dtype, 0 if code[0] == "u" else dtype.itemsize, at, known, texts)
        texts += kind == "str"
    return Layout(listing, base, stride, struct.Struct(f"<{texts}I"), slots)


def pack(events: Events, schema: Schema, entity: int = 0) -> bytes:
    """One blob of one entity's events, however many.

    Parameters
    ----------
    events
        Sorted events whose columns are the schema's.
    schema
        Columns to pack, and their order.
    entity
        Number of the entity in ``events``.
    """
    rows = slice(int(events.starts[entity]), int(events.starts[entity + 1]))
    n = rows.stop - rows.start
    columns = {name: _slim(events.columns[name].take(rows)) for name in schema.names}
    one = Events(np.array([0, n]), events.event_time[rows], events.known_at[rows], columns)
    if not n:
        layout = layout_of(_listing(one, schema, NONE_DISTINCT))
        return b"".join((_header(layout, 0), layout.listing, bytes(layout.texts.size)))
    return next(pack_many(one, schema, block=n))[2]


def pack_many(
    events: Events, schema: Schema, *, block: int = BLOCK, distinct: Mapping[str, pa.ChunkedArray] = NONE_DISTINCT
) -> Iterator[_Item]:
    """Pack every entity's events, in blobs of at most ``block`` events by time.

    Parameters
    ----------
    distinct
        String columns whose values hardly repeat, in the order of the events: these are packed without codes, and not
        asked of ``events``.

    Yields
    ------
    (entity, last_event_time, blob)
        The entity's number, the newest event_time in the blob (microseconds UTC), the blob. Entities ascend, blobs of
        one entity ascend in time; an entity without events yields nothing.
    """
    if not len(events):
        return
    layout = layout_of(_listing(events, schema, distinct))
    names = {
        name: distinct[name] if name in distinct else _marked(events.columns[name])
        for name, slot in layout.slots.items()
        if slot.kind == "str"
    }
    entity, bounds = _blocks(events.starts, block)
    cuts = np.unique(np.searchsorted(bounds, np.arange(0, bounds[-1] + _CHUNK, _CHUNK), side="right") - 1)
    for first, last in pairwise([*cuts[cuts < len(entity)].tolist(), len(entity)]):
        yield from _pack_chunk(events, layout, names, entity[first:last], bounds[first : last + 1])


def _listing(events: Events, schema: Schema, distinct: Collection[str]) -> bytes:
    items = []
    for field in schema.fields:
        if field.name in distinct:
            items.append(f"{field.name}:u{'?' if field.nullable else ''}")
            continue
        values = events.columns[field.name]
        letter = _LETTER[values.kind]
        if values.kind == "datetime" and values.valid is None:
            letter = "K" if np.array_equal(values.data, events.known_at) else letter
            letter = "T" if np.array_equal(values.data, events.event_time) else letter
        items.append(f"{field.name}:{letter}{'' if values.valid is None else '?'}")
    listing = ",".join(items).encode()
    return listing + b" " * (-len(listing) % 8)


def _header(layout: Layout, n: int) -> bytes:
    return HEADER.pack(FORMAT, 0, len(layout.listing), n)


def _blocks(starts: IntArray, block: int) -> tuple[IntArray, IntArray]:
    """Entity of every block, and the rows at which blocks begin and end."""
    counts = np.diff(starts)
    blocks = -(-counts // block)
    entity = np.repeat(np.arange(len(counts)), blocks)
    within = np.arange(len(entity)) - np.repeat(np.cumsum(blocks) - blocks, blocks)
    return entity, np.append(starts[entity] + within * block, starts[-1])


def _pack_chunk(
    events: Events, layout: Layout, names: Mapping[str, pa.Array], entity: IntArray, bounds: IntArray
) -> Iterator[_Item]:
    rows = slice(int(bounds[0]), int(bounds[-1]))
    bounds = bounds - bounds[0]
    arrays: dict[int, tuple[bytes, int]] = {
        0: (events.event_time[rows].tobytes(), 8),
        8: (events.known_at[rows].tobytes(), 8),
    }
    texts: list[list[bytes]] = []
    for name, slot in layout.slots.items():
        if not slot.width:
            column = names[name].slice(rows.start, rows.stop - rows.start)
            texts.append(_each(column, bounds))
            if slot.known is not None:
                arrays[slot.known] = (column.is_valid().to_numpy().tobytes(), 1)
            continue
        values = events.columns[name]
        valid = None if values.valid is None else values.valid[rows]
        data = values.data[rows]
        if slot.kind == "str":
            data, own = _local(data, valid, names[name], bounds)
            texts.append(own)
        arrays.setdefault(slot.stride, (np.ascontiguousarray(data, slot.dtype).tobytes(), slot.width))
        if slot.known is not None and valid is not None:
            arrays[slot.known] = (np.ascontiguousarray(valid).tobytes(), 1)
    laid = [arrays[stride] for stride in sorted(arrays)]
    last = events.event_time[rows][bounds[1:] - 1].tolist()
    for number, (low, high) in enumerate(pairwise(bounds.tolist())):
        own = [text[number] for text in texts]
        yield (
            int(entity[number]),
            last[number],
            b"".join(
                (
                    _header(layout, high - low),
                    layout.listing,
                    *[array[low * width : high * width] for array, width in laid],
                    layout.texts.pack(*map(len, own)),
                    *own,
                )
            ),
        )


def _local(codes: Any, valid: Any, categories: pa.Array, bounds: IntArray) -> tuple[Any, list[bytes]]:
    """Codes and categories of each block for itself: one sort of (block, code, row) for all blocks of a chunk."""
    blocks, places = len(bounds) - 1, len(codes).bit_length()
    shift = len(categories).bit_length()
    block = np.repeat(np.arange(blocks), np.diff(bounds))
    keys = (((block << shift) | codes) << places) | np.arange(len(codes))
    keys = np.sort(keys if valid is None else keys[valid])
    pairs = keys >> places
    new = np.append(True, pairs[1:] != pairs[:-1])[: len(pairs)]
    distinct = pairs[new]
    ends = np.searchsorted(distinct >> shift, np.arange(blocks + 1))
    local = np.zeros(len(codes), np.int32)
    local[keys & ((1 << places) - 1)] = np.cumsum(new) - 1 - ends[pairs >> shift]
    return local, _texts(categories.take(pa.array(distinct & ((1 << shift) - 1))), ends)


def _slim(values: Values) -> Values:
    """Drop categories that no row has: one entity of many has few of them."""
    if values.kind != "str" or values.categories is None or len(values.categories) <= len(values):
        return values
    used, codes = np.unique(values.data, return_inverse=True)
    return Values("str", codes.astype(np.int32), values.valid, values.categories[used])


def _each(column: pa.ChunkedArray, bounds: IntArray) -> list[bytes]:
    """Texts of each block, one an event."""
    filled = pc.fill_null(column.combine_chunks().cast(pa.large_binary()), b"")
    before, mark = pa.scalar(b"", pa.large_binary()), pa.scalar(b"\0", pa.large_binary())
    marked = pc.binary_join_element_wise(before, filled, mark)
    return _texts(marked, bounds)


def _marked(values: Values) -> pa.Array:
    """Categories as UTF-8, a NUL before each."""
    names = [] if values.categories is None else values.categories.tolist()
    return pa.array([f"\0{name}".encode(errors="surrogatepass") for name in names], pa.large_binary())


def _texts(marked: pa.Array, ends: IntArray) -> list[bytes]:
    """Names of each block, each after a NUL; a JSON array where one of them holds another."""
    _, offsets, data = marked.buffers()
    whole = b"" if data is None else data.to_pybytes()
    at = np.frombuffer(offsets, np.int64)[ends].tolist()
    texts = [whole[low:high] for low, high in pairwise(at)]
    if whole.count(b"\0") == len(marked):
        return texts
    each = [marked.slice(low, high - low).to_pylist() for low, high in pairwise(ends.tolist())]
    return [
        text if text.count(b"\0") == len(names) else json.dumps([_name(name) for name in names]).encode()
        for text, names in zip(texts, each, strict=True)
    ]


def _name(marked: bytes) -> str:
    return marked[1:].decode(errors="surrogatepass")
