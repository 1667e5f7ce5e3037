"""The server's process: bind, start workers, stop in order."""

import contextlib
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

from featurestore.apikeys import ApiKeys
from featurestore.errors import MissingExtra, OperationError
from featurestore.server.options import Options
from featurestore.store import FeatureStore

_BACKLOG = 2048


def serve(options: Options, listening: Callable[[str], None]) -> None:
    """Answer requests until a signal says stop.

    Parameters
    ----------
    options
        Where and how.
    listening
        Called with the address once it is bound, before the first answer.

    Raises
    ------
    DefinitionProblems
        If the declarations are wrong.
    MissingExtra
        If what the server needs is not installed.
    OperationError
        If the address cannot be bound, or others could reach a server that asks for no key.
    """
    _check_installed()
    with FeatureStore.open(options.project) as store:  # says what is wrong before any worker is started
        keys = ApiKeys(store.home / "keys.json")
        if not options.loopback and not options.insecure and not any(one.holds(store.now()) for one in keys.all()):
            raise OperationError(
                f"{options.host} can be reached by others, and there is no API key: make one with "
                "`featurestore keys create NAME --scope read`, or say --insecure."
            )
        store.online.state()
    options.export()
    with _bound(options) as bound, _counting_together(options), _ending_quietly():
        _log("listening", url=_address(bound), workers=options.workers)
        listening(_address(bound))
        _run(options, bound)


def _log(event: str, **facts: Any) -> None:
    """As the workers log."""
    from featurestore.server import edge

    edge.to_stderr(event, **facts)


def _run(options: Options, bound: socket.socket) -> None:
    import uvicorn
    from uvicorn.supervisors import Multiprocess

    from featurestore.server.connection import Connection

    config = uvicorn.Config(
        "featurestore.server.application:from_environment",
        factory=True,
        http=Connection,
        ws="none",
        lifespan="on",
        workers=options.workers,
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        backlog=_BACKLOG,
        timeout_keep_alive=30,
        timeout_worker_healthcheck=60,  # a worker that is still importing on a busy machine is not dead
        timeout_graceful_shutdown=max(1, round(options.grace_s)),
    )
    if options.workers > 1:
        Multiprocess(config, sockets=[bound]).run()
    else:
        uvicorn.Server(config).run(sockets=[bound])


def _check_installed() -> None:
    try:
        import fastapi  # noqa: F401
        import jinja2  # noqa: F401
        import orjson  # noqa: F401
        import prometheus_client  # noqa: F401
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise MissingExtra(f"The server needs {error.name}: pip install 'featurestore[serve]'") from error


@contextlib.contextmanager
def _bound(options: Options) -> Iterator[socket.socket]:
    host = options.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # who never reads its answers is cut off by the system
            bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, round(options.read_s * 1000))
        bound.bind((host, options.port))
        bound.listen(_BACKLOG)
    except (OSError, OverflowError) as error:
        bound.close()
        raise OperationError(
            f"Cannot listen on {options.host} port {options.port}: {error}. Choose another --port (0 takes a free one)."
        ) from error
    bound.set_inheritable(True)
    try:
        yield bound
    finally:
        bound.close()


def _address(bound: socket.socket) -> str:
    host, port = bound.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


@contextlib.contextmanager
def _counting_together(options: Options) -> Iterator[None]:
    """Give several workers one folder for their counts."""
    if options.workers == 1:
        yield
        return
    with tempfile.TemporaryDirectory(prefix="featurestore-metrics-") as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder
        try:
            yield
        finally:
            del os.environ["PROMETHEUS_MULTIPROC_DIR"]


@contextlib.contextmanager
def _ending_quietly() -> Iterator[None]:
    """Make SIGTERM and Ctrl-C an ordinary end: uvicorn raises them again once it has stopped."""

    def end(_number: int, _frame: FrameType | None) -> NoReturn:
        raise _Stopped

    before: dict[int, Any] = {one: signal.signal(one, end) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except _Stopped:
        pass
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


class _Stopped(BaseException):
    """A signal has ended the server."""
