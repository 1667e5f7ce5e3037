"""What the store gives, as JSON: floats that read back to the same double, exact integers, instants with ``Z``."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from starlette.responses import Response

from featurestore import times
from featurestore.ingest import Ingested
from featurestore.lookup import Vector

JSON = "application/json"
_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME  # orjson leaves out microseconds that are zero


def json(document: Any, status: int = 200) -> Response:
    """Answer with a document."""
    return Response(dumps(document), status, media_type=JSON)


def dumps(document: Any) -> bytes:
    """JSON of a document that may hold datetimes."""
    return orjson.dumps(document, _plain, _OPTIONS)


def vector(made: Vector) -> Mapping[str, Any]:
    """``{"features", "as_of", "position", "fingerprint"}``, features in declared order."""
    return {
        "features": made.to_dict(),
        "as_of": times.written(made.as_of),
        "position": made.position,
        "fingerprint": made.fingerprint,
    }


def vectors(made: Sequence[Vector]) -> Mapping[str, Any]:
    """``{"rows": [...]}``, a vector each."""
    return {"rows": [vector(one) for one in made]}


def ingested(done: Ingested) -> Mapping[str, Any]:
    """What an ingest did; ``known_at`` is null where no event was new."""
    known_at = times.isoformat(done.known_at) if done.rows else None
    return {"rows": done.rows, "duplicates": done.duplicates, "position": done.position, "known_at": known_at}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return times.isoformat(times.to_micros(value))
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (tuple, set, frozenset)):
        return list(value)
    if hasattr(value, "item"):
        return value.item()
    return str(value)
