"""Many small blobs of an entity as few: appends leave one each, and a lookup would read them all."""

from collections.abc import Sequence

import pyarrow as pa

from featurestore.definition import SourceBy
from featurestore.layout import HEADER, layout_of
from featurestore.packing import pack_many
from featurestore.unpacking import Unpacker
from featurestore.view import tie_columns

Packed = tuple[int, bytes]
"""(newest event_time in the blob in microseconds UTC, packed events)."""


def merged(view: SourceBy, entities: Sequence[Sequence[bytes]]) -> list[list[Packed] | None]:
    """Pack each entity's blobs anew, in as few as hold its events; ``None`` for one whose blobs have other columns.

    Columns that the view's schema lacks would be lost: those blobs were packed by a later definition.
    """
    schema = view.source.fields
    found: list[list[Packed] | None] = [
        [] if all(_columns(blob) == schema.names for blob in one) else None for one in entities
    ]
    chosen = [number for number, one in enumerate(found) if one is not None]
    unpacker = Unpacker(schema, tie_columns(view.source))
    events = unpacker.events([[(blob, None) for blob in entities[number]] for number in chosen])
    key = [name for name in (view.source.key,) if name is not None and schema[name].kind == "str"]
    distinct = {name: pa.chunked_array([events.columns[name].to_arrow()]) for name in key}
    for entity, newest, blob in pack_many(events, schema, distinct=distinct):
        of = found[chosen[entity]]
        if of is not None:
            of.append((newest, blob))
    return found


def _columns(blob: bytes) -> tuple[str, ...]:
    length = HEADER.unpack_from(blob)[2]
    return tuple(layout_of(blob[HEADER.size : HEADER.size + length]).slots)
