"""When events are known (S2): in history by what is declared, in service never before they arrived."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from featurestore.definition import Source
from featurestore.values import Values

IntArray = np.ndarray[Any, np.dtype[np.int64]]


def known_at(source: Source, columns: Mapping[str, Values], stamp: int | None) -> IntArray:
    """When each event is known, microseconds UTC, shape ``(n,)``.

    Parameters
    ----------
    columns
        The source's columns, of which event_time and the declared known_at are read.
    stamp
        Of the arrival, microseconds UTC; the declared known_at counts where it is later. ``None`` for history: the
        declared known_at, or event_time and the source's delay where that is null, or not there.
    """
    event_time = columns[source.event_time].data
    declared = event_time + source.delay if stamp is None else np.full(len(event_time), stamp, np.int64)
    if source.known_at is not None:
        said = columns[source.known_at]
        own = said.data if stamp is None else np.maximum(said.data, stamp)
        declared = np.where(said.mask, own, declared)
    return np.asarray(declared, np.int64)
