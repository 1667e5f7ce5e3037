"""A vector as it was served: what was asked, what was answered, and by what it was computed.

Written down, a row is flat: ``inputs``, ``features``, ``label`` and ``probabilities`` are JSON text whose floats read
back to the same double and whose integers are exact; an instant is ISO 8601 text there, told from a string by the kinds
that the row's :class:`Origin` gives.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from featurestore import times
from featurestore.errors import NewerFormat
from featurestore.lookup import Vector
from featurestore.models import Prediction
from featurestore.values import Kind

FORMAT = 1
_INSTANT = pa.timestamp("us", tz="UTC")
SCHEMA = pa.schema(
    {
        "served_at": _INSTANT,
        "request_id": pa.string(),
        "row": pa.int64(),
        "service": pa.string(),
        "model": pa.string(),
        "version": pa.string(),
        "as_of": _INSTANT,
        "position": pa.int64(),
        "fingerprint": pa.string(),
        "inputs": pa.string(),
        "features": pa.string(),
        "label": pa.string(),
        "probabilities": pa.string(),
        "value": pa.float64(),
        "decision": pa.bool_(),
    }
)
"""Columns of a served row, in Parquet files too. ``model`` and what follows ``features`` is null for plain features."""


@dataclass(frozen=True, slots=True)
class ServiceOrigin:
    """A feature service as a process served it: kinds of its inputs and features, and each feature's fingerprint."""

    fingerprint: str
    inputs: Mapping[str, Kind]
    features: Mapping[str, Kind]
    fingerprints: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Origin:
    """The process that served a row: when it began, with which libraries (S13), and the services as they were then."""

    id: str
    started_at: int
    pid: int
    libraries: Mapping[str, str]
    services: Mapping[str, ServiceOrigin]

    def to_json(self) -> str:
        """One line of text, without a newline in it."""
        return json.dumps({"format": FORMAT, **asdict(self)})

    @classmethod
    def from_json(cls, text: str | bytes) -> "Origin":
        """Return what :meth:`to_json` wrote.

        Raises
        ------
        ValueError, KeyError, TypeError
            If it is none.
        NewerFormat
            If a later version of the product wrote it.
        """
        said = json.loads(text)
        if said.pop("format") > FORMAT:
            raise NewerFormat("The served log was written by a later version of featurestore: upgrade.")
        services = {name: ServiceOrigin(**one) for name, one in said.pop("services").items()}
        return cls(**said, services=services)


@dataclass(frozen=True, slots=True)
class ServedRow:
    """One vector that was served, null as ``None``.

    ``row`` is its place in the request, from 0. ``features`` of a prediction are those that the model was given; what
    the model said of them is null for plain features.
    """

    served_at: datetime
    request_id: str
    row: int
    service: str
    model: str | None
    version: str | None
    as_of: datetime
    position: int
    fingerprint: str
    inputs: Mapping[str, Any]
    features: Mapping[str, Any]
    label: Any
    probabilities: Mapping[str, float] | None
    value: float | None
    decision: bool | None
    origin: Origin


def line(
    served_at: int, request_id: str, row: int, service: str, inputs: Mapping[str, Any], made: Vector | Prediction
) -> str:
    """Write a row down as one line of JSON; ``served_at`` is microseconds UTC."""
    told: dict[str, Any] = {
        "served_at": served_at,
        "request_id": request_id,
        "row": row,
        "service": service,
        "as_of": times.to_micros(made.as_of),
        "position": made.position,
        "fingerprint": made.fingerprint,
        "inputs": _to_json(inputs),
        "features": _to_json(made.features),
    }
    if isinstance(made, Prediction):
        told |= {"model": made.model, "version": made.version, "value": made.value, "decision": made.decision}
        if made.probabilities is not None:  # a classifier's
            told |= {"label": _to_json(made.label), "probabilities": _to_json(made.probabilities)}
    return _to_json(told)


def row_of(told: dict[str, Any], origin: Origin) -> ServedRow:
    """Return a row, a mapping with the columns of :data:`SCHEMA`, as it was served."""
    known = origin.services[told["service"]]
    values: dict[str, Any] = {
        "inputs": _typed(told["inputs"], known.inputs),
        "features": _typed(told["features"], known.features),
    }
    for name in ("label", "probabilities"):
        values[name] = None if told[name] is None else json.loads(told[name])
    return ServedRow(**told | values, origin=origin)


def _typed(text: str, kinds: Mapping[str, Kind]) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(text)
    for name, value in values.items():
        if kinds.get(name) == "map[datetime]":
            values[name] = {key: _to_datetime(one) for key, one in value.items()}
        elif kinds.get(name) == "datetime":
            values[name] = _to_datetime(value)
    return values


def _to_datetime(text: str | None) -> datetime | None:
    return None if text is None else times.to_datetime(times.to_micros(text))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return times.isoformat(times.to_micros(value))
    if isinstance(value, Mapping):
        return dict(value)
    return value.item() if hasattr(value, "item") else str(value)


def _to_json(value: Any) -> str:
    import orjson  # servers alone write rows down

    try:
        return orjson.dumps(value, _plain, orjson.OPT_PASSTHROUGH_DATETIME).decode()
    except TypeError:  # a lone surrogate, an integer past 64 bits
        return _EXACT(value)


_EXACT: Callable[[Any], str] = json.JSONEncoder(default=_plain, separators=(",", ":")).encode
