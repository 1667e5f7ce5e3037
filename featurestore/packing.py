"""Packing events into blobs of :mod:`featurestore.layout`: one entity's, or those of many entities at once."""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from featurestore.events import Events, IntArray
from featurestore.layout import LETTER, Layout, header, layout_of
from featurestore.schema import Schema
from featurestore.values import Values

BLOCK = 1024
"""Most events of one blob: longer histories are split by time, so that a short window reads little."""

NONE_DISTINCT: Mapping[str, pa.ChunkedArray] = {}
_CHUNK = 1 << 16  # events whose strings are recoded together: block, code and place then share one int64 sort key
_TIME = 8  # stride of known_at: event_time and it come first
_Item = tuple[int, int, bytes]


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
        return b"".join((header(layout, 0), layout.listing, bytes(layout.texts.size)))
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
        letter = LETTER[values.kind]
        if values.kind == "datetime" and values.valid is None:
            letter = "K" if np.array_equal(values.data, events.known_at) else letter
            letter = "T" if np.array_equal(values.data, events.event_time) else letter
        items.append(f"{field.name}:{letter}{'' if values.valid is None else '?'}")
    listing = ",".join(items).encode()
    return listing + b" " * (-len(listing) % 8)


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
    frame = _Frame(layout, bounds)
    frame.put(events.event_time[rows], 0)
    frame.put(events.known_at[rows], _TIME)
    texts: list[list[bytes]] = []
    for name, slot in layout.slots.items():
        if not slot.width:
            column = names[name].slice(rows.start, rows.stop - rows.start)
            texts.append(_each(column, bounds))
            valid = column.is_valid().to_numpy() if slot.known is not None else None
        else:
            values = events.columns[name]
            data, valid = values.data[rows], None if values.valid is None else values.valid[rows]
            if slot.kind == "str":
                data, own = _local(data, valid, names[name], bounds)
                texts.append(own)
            if slot.stride > _TIME:
                frame.put(np.ascontiguousarray(data, slot.dtype), slot.stride)
        if slot.known is not None and valid is not None:
            frame.put(valid, slot.known)
    last = events.event_time[rows][bounds[1:] - 1].tolist()
    lengths = [[len(text) for text in own] for own in texts]
    for owner, newest, fixed, names_of, sizes in zip(
        entity.tolist(), last, frame.parts(), _turned(texts, len(last)), _turned(lengths, len(last)), strict=True
    ):
        yield owner, newest, b"".join((fixed, layout.texts.pack(*sizes), *names_of))


def _turned(columns: Sequence[Sequence[Any]], rows: int) -> Iterable[tuple[Any, ...]]:
    return zip(*columns, strict=True) if columns else [()] * rows


class _Frame:
    """All that lies before the texts of many blobs, laid out at once: each blob begins at a multiple of eight bytes."""

    def __init__(self, layout: Layout, bounds: IntArray) -> None:
        self._layout, self._bounds, self._n = layout, bounds, np.diff(bounds)
        size = layout.base + self._n * layout.total
        self._ends = np.cumsum(-(-size // 8) * 8)
        self._starts = self._ends - -(-size // 8) * 8
        self._stops = self._starts + size
        self._whole = np.zeros(int(self._ends[-1]) if len(size) else 0, np.uint8)
        self._row = np.arange(bounds[-1])
        heads = np.frombuffer(header(layout, 0) + layout.listing, np.int64)
        place = self._starts[:, None] // 8 + np.arange(len(heads))
        self._whole.view(np.int64)[place] = heads
        self._whole.view(np.uint32)[self._starts // 4 + 1] = self._n

    def put(self, data: np.ndarray[Any, Any], stride: int) -> None:
        """Lay an array of all rows at a stride of each blob."""
        width = data.dtype.itemsize
        first = (self._starts + self._layout.base + self._n * stride) // width
        self._whole.view(data.dtype)[np.repeat(first - self._bounds[:-1], self._n) + self._row] = data

    def parts(self) -> list[bytes]:
        """Bytes of each blob."""
        whole = self._whole.tobytes()
        return [whole[low:high] for low, high in zip(self._starts.tolist(), self._stops.tolist(), strict=True)]


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
