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

import functools
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from featurestore.values import DTYPES, Kind

FORMAT = 1
HEADER = struct.Struct("<BBHI")
Stored = tuple[bytes, int | None]
"""(blob, stamp): none of its events was known before the stamp; ``None``: their own known_at says it all."""

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
LETTER: dict[Kind, str] = {kind: letter for letter, kind in _KIND_OF.items() if letter not in "TKu"}
"""Letter of a kind in a column list."""


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


@functools.lru_cache(maxsize=256)
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


def header(layout: Layout, n: int) -> bytes:
    """First bytes of a blob of ``n`` events."""
    return HEADER.pack(FORMAT, 0, len(layout.listing), n)
