"""The application: routes of one store's declarations, behind one edge."""

import asyncio
import contextlib
import faulthandler
import gc
import multiprocessing
import signal
from collections.abc import AsyncIterator, Callable
from importlib import metadata
from types import FrameType
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException

from featurestore.apikeys import ApiKeys
from featurestore.errors import FeatureStoreError
from featurestore.server import about, events, failure, features, outcomes, predictions, shapes, ui
from featurestore.server.access import Access
from featurestore.server.edge import Edge, Log, to_stderr
from featurestore.server.options import Options
from featurestore.server.page import example
from featurestore.server.serving import Direct, Serving
from featurestore.server.shortcut import Shortcut
from featurestore.server.threads import Threads
from featurestore.store import FeatureStore

KEYS = "keys.json"
_ENDING_S = 20.0  # beyond the time that connections get: to seal the served log, to end threads


def build(
    store: FeatureStore, options: Options, log: Log = to_stderr, *, ending: Callable[[], None] = lambda: None
) -> Edge:
    """Make the application of a store.

    The store is closed when the application ends. ``log`` takes what would go to stderr, ``ending`` is called
    when the end begins.
    """
    forced = not options.loopback and not options.insecure
    access = Access(ApiKeys(store.home / KEYS), forced=forced, open_to_all=options.insecure)
    serving = Serving(store, options, access, Threads(options.threads))
    app = FastAPI(
        title="featurestore",
        version=metadata.version("featurestore"),
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lambda _: _lifespan(serving, log, ending),
        exception_handlers={
            FeatureStoreError: failure.on_store_error,
            HTTPException: failure.on_refusal,
            Exception: failure.on_unforeseen,
        },
    )
    for part in (features, predictions, outcomes, events, about, ui):
        part.add(app, serving)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return Edge(Shortcut(app, Direct), options, serving.metrics, log)


def from_environment() -> Edge:
    """Make the application that a worker was started for."""
    options = Options.from_environment()

    def end_in_time() -> None:
        """Whatever has not ended by then is told, thread by thread, and ended: the store is made to be killed."""
        faulthandler.dump_traceback_later(options.grace_s + _ENDING_S, exit=True)

    made = build(FeatureStore.open(options.project), options, ending=end_in_time)
    gc.collect()
    gc.freeze()  # what lives as long as the worker is not searched for garbage again and again
    return made


@contextlib.asynccontextmanager
async def _lifespan(serving: Serving, log: Log, ending: Callable[[], None]) -> AsyncIterator[None]:
    _drain_first(serving, log)
    _warm(serving)
    serving.recorder = serving.store.recorder(
        count=serving.metrics.logged, problem=lambda words: log("served_log", problem=words)
    )
    log("started", services=list(serving.store.registry.services), keys=serving.access.asks)
    watching = asyncio.create_task(_end_with_parent())
    yield
    ending()
    watching.cancel()
    serving.threads.close()
    serving.recorder.close()
    serving.store.close()
    log("stopped")


async def _end_with_parent() -> None:
    """Stop in order once the process that has started this worker is gone: nobody would pass a signal on to it."""
    parent = multiprocessing.parent_process()
    while parent is None or parent.is_alive():  # noqa: ASYNC110 - another process sets no event
        await asyncio.sleep(1.0)
    signal.raise_signal(signal.SIGTERM)


def _warm(serving: Serving) -> None:
    """Ask each service once and load each champion: what first use loads is there before the first client."""
    for name, plan in serving.plans().items():
        shape = shapes.request_of(plan)
        with contextlib.suppress(Exception):  # the row is made up: that it is refused, or the store empty, is no news
            serving.store.lookup(name, shape.row(example(shape.schema)))
    for model in serving.store.saved_models.shelf.names():
        with contextlib.suppress(FeatureStoreError):  # damaged, or without a champion: said to whoever asks for it
            serving.store.saved_models.load(model)


def _drain_first(serving: Serving, log: Log) -> None:
    """On the first signal, say for a while that the server is not ready, then pass it on; one more counts at once.

    Workers that are several get the first one twice where it goes to all processes of a terminal or a service: from
    there, and from the process that has started them.
    """
    loop = asyncio.get_running_loop()
    ends_at = 2 if serving.options.workers == 1 else 3
    seen = 0

    def pass_on(number: int, frame: FrameType | None) -> None:
        nonlocal seen
        seen += 1
        stop = stops[signal.Signals(number)]
        if seen == 1:
            serving.draining = True
            loop.call_soon_threadsafe(drain, number, frame)  # a signal may have come in the middle of a line of the log
        elif seen >= ends_at:
            stop(number, frame)  # for uvicorn once is an orderly end, and SIGINT after it a hurried one
            stop(signal.SIGINT, frame)

    def drain(number: int, frame: FrameType | None) -> None:
        log("draining", signal=signal.Signals(number).name)
        loop.call_later(serving.options.drain_s, stops[signal.Signals(number)], number, frame)

    stops: dict[signal.Signals, Any] = {}
    for one in (signal.SIGTERM, signal.SIGINT):
        found = signal.getsignal(one)
        if (
            callable(found) and getattr(found, "__name__", "") == "handle_exit"
        ):  # uvicorn's own: else somebody embeds us
            stops[one] = found
            signal.signal(one, pass_on)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        told = get_openapi(title=app.title, version=app.version, routes=app.routes)
        for operations in told["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None) if "requestBody" not in operation else None
        schemes = told.setdefault("components", {}).setdefault("securitySchemes", {})
        schemes["key"] = {"type": "http", "scheme": "bearer", "description": "API key: fs_..., where keys are in use"}
        app.openapi_schema = told
    return app.openapi_schema
