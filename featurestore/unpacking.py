"""Reading the blobs of :mod:`featurestore.layout` as :class:`Events`, each column decoded when it is asked for."""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from typing import Any

import numpy as np

from featurestore.errors import NewerFormat, SchemaChanged, StoreDamaged
from featurestore.events import Events, IntArray, order
from featurestore.layout import FORMAT, HEADER, Layout, Slot, Stored, layout_of
from featurestore.schema import Field, Schema
from featurestore.values import DTYPES, Values, encode

_HOLDS = "The online store holds"
_MEND = "Rebuild the online store from the event log."


class Unpacker:
    """Reads blobs as :class:`Events` of one schema; hold one per view, it remembers the layouts it has met.

    Parameters
    ----------
    schema
        The columns to give. A nullable column that a blob was packed without is null.
    ties
        Columns that order events of equal event_time and known_at (S5), in schema order.
    """

    def __init__(self, schema: Schema, ties: Sequence[str]) -> None:
        self._fields = {field.name: field for field in schema.fields}
        self.ties = tuple(ties)
        self._layouts: dict[bytes, Layout] = {}
        self._unordered: set[bytes] = set()

    def events(self, entities: Sequence[Sequence[Stored]]) -> Events:
        """Sorted events of entities, each given as its blobs in any order; columns are decoded when first asked for.

        Never-seen entities, given as no blobs, have no events. No event of a blob is known before the blob's stamp.

        Raises
        ------
        SchemaChanged
            If a blob's columns no longer fit the schema.
        NewerFormat, StoreDamaged
            If a blob is of a later version, or no blob.
        """
        if len(entities) == 1 and len(entities[0]) == 1 and entities[0][0][1] is None:
            return self._one(entities[0][0][0])
        stored = list(chain.from_iterable(entities))
        if not stored:
            none = np.zeros(0, np.int64)
            return Events(np.zeros(len(entities) + 1, np.int64), none, none, _ManyColumns(self._fields, [], []))
        blobs = [blob for blob, _ in stored]
        parts = [self._part(blob) for blob in blobs]
        sizes = np.array([n for _, n in parts], np.int64)
        ends = np.concatenate([[0], np.cumsum(sizes)])
        starts = ends[np.concatenate([[0], np.cumsum([len(of) for of in entities], dtype=np.int64)])]
        columns = _ManyColumns(self._fields, blobs, parts)
        event_time, known_at = columns.times(0), columns.times(8)
        lifted = _lifted(known_at, [stamp for _, stamp in stored], sizes)
        place = None
        sorted_ = not self._unordered or all(layout.listing not in self._unordered for layout, _ in parts)
        one_each = max(map(len, entities)) == 1  # a blob is sorted in itself
        if lifted is not None or not sorted_ or not (one_each or _follow(starts, ends, event_time, known_at)):
            known_at = known_at if lifted is None else lifted
            entity = np.repeat(np.arange(len(entities)), np.diff(starts))
            place = order(entity, event_time, known_at, [columns[name] for name in self.ties])
        if place is None:
            return Events(starts, event_time, known_at, columns)
        return Events(starts, event_time[place], known_at[place], _Permuted(columns, place))

    def _one(self, blob: bytes) -> Events:
        layout, n = self._part(blob)
        columns = _OneBlob(self._fields, blob, layout, n)
        event_time = np.frombuffer(blob, np.int64, n, layout.base)
        known_at = np.frombuffer(blob, np.int64, n, layout.base + 8 * n)
        starts = np.array((0, n), np.int64)
        if layout.listing in self._unordered:
            place = order(np.zeros(n, np.int64), event_time, known_at, [columns[name] for name in self.ties])
            if place is not None:
                return Events(starts, event_time[place], known_at[place], _Permuted(columns, place))
        return Events(starts, event_time, known_at, columns)

    def _part(self, blob: bytes) -> tuple[Layout, int]:
        try:
            version, _, length, n = HEADER.unpack_from(blob)
        except struct.error as error:
            raise StoreDamaged(f"{_HOLDS} {len(blob)} bytes where a blob should be. {_MEND}") from error
        if version != FORMAT:
            raise NewerFormat(
                f"{_HOLDS} events in format {version}; this version reads format {FORMAT}. "
                "Upgrade the package, or rebuild the store."
            )
        listing = blob[8 : 8 + length]
        layout = self._layouts.get(listing) or self._meet(listing)
        if len(blob) < layout.base + n * layout.total + layout.texts.size:
            raise StoreDamaged(f"{_HOLDS} a blob of {n} events that is cut short at {len(blob)} bytes. {_MEND}")
        return layout, n

    def _meet(self, listing: bytes) -> Layout:
        """Check a column list against the schema, once."""
        try:
            layout = layout_of(listing)
        except (KeyError, IndexError, UnicodeDecodeError) as error:
            raise StoreDamaged(
                f"{_HOLDS} a blob whose column list cannot be read: {listing[:80]!r}. {_MEND}"
            ) from error
        for field in self._fields.values():
            _check(field, layout.slots.get(field.name))
        shared = [name for name in self._fields if name in layout.slots]
        if list(layout.slots)[: len(shared)] != shared:  # a column that is no more, or elsewhere, decided ties (S5)
            self._unordered.add(listing)
        self._layouts[listing] = layout
        return layout


def _follow(starts: IntArray, ends: IntArray, event_time: IntArray, known_at: IntArray) -> bool:
    """Whether blobs, each sorted in itself, follow one another in time within each entity."""
    seams = np.setdiff1d(ends, starts)  # where one blob of an entity meets the next
    before, after = event_time[seams - 1], event_time[seams]
    return bool(((before < after) | ((before == after) & (known_at[seams - 1] < known_at[seams]))).all())


def events_of(entities: Sequence[Sequence[Stored]], schema: Schema, ties: Sequence[str]) -> Events:
    """Events of blobs, as :meth:`Unpacker.events` gives them."""
    return Unpacker(schema, ties).events(entities)


def _lifted(known_at: IntArray, stamps: Sequence[int | None], sizes: IntArray) -> IntArray | None:
    """Give known_at, not before each blob's stamp; ``None`` if no blob has one."""
    if not any(stamp is not None for stamp in stamps):
        return None
    earliest = np.array([np.iinfo(np.int64).min if stamp is None else stamp for stamp in stamps], np.int64)
    return np.asarray(np.maximum(known_at, np.repeat(earliest, sizes)), np.int64)


class _Lazy(Mapping[str, Values]):
    """Columns of a schema, decoded when asked for and then kept."""

    __slots__ = ("_decoded", "fields")

    def __init__(self, fields: Mapping[str, Field]) -> None:
        self.fields = fields
        self._decoded: dict[str, Values] = {}

    def __getitem__(self, name: str) -> Values:
        """Values of the column."""
        found = self._decoded.get(name)
        if found is None:
            found = self._decoded[name] = self._decode(name)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        """Columns."""
        return len(self.fields)

    def _decode(self, name: str) -> Values:
        raise NotImplementedError


class _OneBlob(_Lazy):
    """The columns of one blob: views of its bytes."""

    __slots__ = ("_blob", "_layout", "_n")

    def __init__(self, fields: Mapping[str, Field], blob: bytes, layout: Layout, n: int) -> None:
        super().__init__(fields)
        self._blob, self._layout, self._n = blob, layout, n

    def _decode(self, name: str) -> Values:
        slot = self._layout.slots.get(name)
        if slot is None or (slot.known is None and _nullable(self.fields[name])):  # packed by an older schema
            return _ManyColumns(self.fields, [self._blob], [(self._layout, self._n)])[name]
        base, n = self._layout.base, self._n
        valid = None if slot.known is None else np.frombuffer(self._blob, np.bool_, n, base + n * slot.known)
        if not slot.width:
            return _coded(_names(_text(self._blob, self._layout, n, slot)), valid)
        data = np.frombuffer(self._blob, slot.dtype, n, base + n * slot.stride)
        if slot.kind != "str":
            return Values(slot.kind, data, valid)
        return Values("str", data, valid, _objects(_names(_text(self._blob, self._layout, n, slot))))


class _ManyColumns(_Lazy):
    """The columns of several blobs, end to end; what a blob lacks is null."""

    __slots__ = ("_blobs", "_parts")

    def __init__(
        self, fields: Mapping[str, Field], blobs: Sequence[bytes], parts: Sequence[tuple[Layout, int]]
    ) -> None:
        super().__init__(fields)
        self._blobs, self._parts = blobs, parts

    def times(self, stride: int) -> IntArray:
        """Give the int64 array at ``stride`` of every blob."""
        return np.frombuffer(self._joined(stride, 8), np.int64)

    def _joined(self, stride: int, width: int) -> bytes:
        """Bytes at ``stride`` of every blob, ``width`` an event."""
        return b"".join(
            [
                blob[layout.base + n * stride : layout.base + n * (stride + width)]
                for blob, (layout, n) in zip(self._blobs, self._parts, strict=True)
            ]
        )

    def _everywhere(self, name: str) -> Slot | None:
        """Where a column of numbers lies in all blobs, if they are laid out alike and no value of it is null."""
        first = self._parts[0][0] if self._parts else None
        slot = first.slots.get(name) if first is not None else None
        plain = slot is not None and slot.width and slot.known is None and slot.kind != "str"
        return slot if plain and all(layout is first for layout, _ in self._parts) else None

    def _decode(self, name: str) -> Values:
        field = self.fields[name]
        dtype = np.dtype(DTYPES[field.kind])
        shared = self._everywhere(name)
        if shared is not None:
            values = np.frombuffer(self._joined(shared.stride, shared.width), dtype)
            return Values(field.kind, values, np.ones(len(values), np.bool_) if _nullable(field) else None)
        data, known, texts = [], [], []
        for blob, (layout, n) in zip(self._blobs, self._parts, strict=True):
            slot = layout.slots.get(name)
            if slot is None:
                data.append(bytes(n * dtype.itemsize))
                known.append(bytes(n))
                texts.append(b"")
                continue
            at = layout.base + n * slot.stride
            data.append(blob[at : at + n * slot.width] if slot.width else np.arange(n, dtype=dtype).tobytes())
            if slot.known is None:
                known.append(b"\1" * n)
            else:
                at = layout.base + n * slot.known
                known.append(blob[at : at + n])
            if slot.kind == "str":
                texts.append(_text(blob, layout, n, slot))
        valid = np.frombuffer(b"".join(known), np.bool_) if _nullable(field) else None
        values = np.frombuffer(b"".join(data), dtype)
        if field.kind != "str":
            return Values(field.kind, values, valid)
        return _merged(values, valid, texts, np.array([n for _, n in self._parts], np.int64))


class _Permuted(_Lazy):
    """Columns with their rows put in another order."""

    __slots__ = ("_columns", "_place")

    def __init__(self, columns: _Lazy, place: IntArray) -> None:
        super().__init__(columns.fields)
        self._columns, self._place = columns, place

    def _decode(self, name: str) -> Values:
        return self._columns[name].take(self._place)


def _merged(codes: Any, valid: Any, texts: Sequence[bytes], sizes: IntArray) -> Values:
    """One string column of several, each with codes into categories of its own."""
    lists = [_names(text) for text in texts]
    flat = list(chain.from_iterable(lists))
    names = sorted(set(flat))
    rank = {name: number for number, name in enumerate(names)}
    table = np.fromiter((*map(rank.__getitem__, flat), 0), np.int32, len(flat) + 1)
    first = (
        np.concatenate([[0], np.cumsum([len(own) for own in lists], dtype=np.int64)[:-1]])
        if lists
        else np.zeros(0, np.int64)
    )
    data = table[codes + np.repeat(first, sizes)]
    if valid is not None:
        data[~valid] = 0
    return Values("str", data, valid, _objects(names))


def _coded(texts: list[str], valid: Any) -> Values:
    """Values of a text an event."""
    known = [True] * len(texts) if valid is None else valid.tolist()
    codes, _, categories = encode([text if there else None for text, there in zip(texts, known, strict=True)])
    return Values("str", codes, valid, categories)


def _names(text: bytes) -> list[str]:
    if text[:1] == b"[":  # a name holds a NUL
        return [str(name) for name in json.loads(text)]
    return text.decode(errors="surrogatepass").split("\0")[1:]


def _text(blob: bytes, layout: Layout, n: int, slot: Slot) -> bytes:
    at = layout.base + n * layout.total
    lengths = layout.texts.unpack_from(blob, at)
    at += layout.texts.size + sum(lengths[: slot.text])
    return blob[at : at + lengths[slot.text]]


def _check(field: Field, slot: Slot | None) -> None:
    if slot is None and not _nullable(field):
        raise SchemaChanged(
            f"Column {field.name!r} is new and may not be null, but events in the online store lack it. "
            "Declare it with `| None`, or rebuild the online store."
        )
    if slot is not None and (slot.kind != field.kind or (slot.known is not None and not _nullable(field))):
        stored = f"{slot.kind}{'' if slot.known is None else ' | None'}"
        asked = f"{field.kind}{' | None' if _nullable(field) else ''}"
        raise SchemaChanged(
            f"Column {field.name!r} is declared {asked}; events in the online store have {stored}. "
            "Declare it as it was, or rebuild the online store."
        )


def _nullable(field: Field) -> bool:
    """Float columns hold nulls whatever is declared: NaN is null (S7)."""
    return field.nullable or field.kind == "float"


def _objects(items: Sequence[str]) -> np.ndarray[Any, Any]:
    return np.fromiter(items, object, len(items))
