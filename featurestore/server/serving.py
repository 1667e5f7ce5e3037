"""What the routes share, and how one request is taken in."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import QueryParams
from starlette.requests import Request

from featurestore import times
from featurestore.errors import RequestError
from featurestore.plan import ServicePlan, compile_service
from featurestore.server import body
from featurestore.server.access import Access
from featurestore.server.edge import extend
from featurestore.server.failure import refused
from featurestore.server.metrics import Metrics
from featurestore.server.options import Options
from featurestore.server.threads import Threads
from featurestore.store import FeatureStore


@dataclass
class Serving:
    """One process that answers: the store, what guards it, and whether the end has begun."""

    store: FeatureStore
    options: Options
    access: Access
    threads: Threads
    metrics: Metrics = field(default_factory=Metrics)
    draining: bool = False

    def plans(self) -> Mapping[str, ServicePlan]:
        """Every feature service, resolved."""
        registry = self.store.registry
        return {name: compile_service(one, registry.outputs) for name, one in registry.services.items()}

    async def read(self, request: Request, *, bulk: bool = False, slow: bool = False) -> Any:
        """Return what a body says, and start the clock of its answer; a ``slow`` one has five times as long."""
        options = self.options
        limit = options.bulk_bytes if bulk else options.body_bytes
        read = await body.read(request, limit=limit, within_s=options.body_s)
        extend(request.state, options.deadline_s * (5 if slow else 1))
        if len(read) > options.body_bytes // 4:  # long enough to hold up the others
            return await self.threads.run(lambda: body.parse(read))
        return body.parse(read)


def as_of(request: Request) -> int | None:
    """Return the instant that is asked for, microseconds UTC, or ``None`` for now.

    Raises
    ------
    HTTPException
        422 if it is none, or another parameter is given: one that is misspelt must not ask for now.
    """
    if not request.scope["query_string"]:
        return None
    given = parameters(request)
    unknown = sorted(name for name in given if name != "as_of")
    if unknown or len(given.getlist("as_of")) > 1:
        raise refused(422, "parameter", "Give as_of once, and no other parameter.")
    try:
        return times.to_micros(given["as_of"])
    except RequestError as error:
        words = "as_of is no ISO 8601 instant such as 2026-01-31T12:00:00Z (in a query, + is written %2B)."
        raise refused(422, "as_of", words) from error


def no_parameters(request: Request) -> None:
    """Refuse parameters on a route that has none."""
    if request.scope["query_string"] and parameters(request):
        raise refused(422, "parameter", "There are no parameters here.")


def parameters(request: Request) -> QueryParams:
    """Parameters of the query."""
    return request.query_params
