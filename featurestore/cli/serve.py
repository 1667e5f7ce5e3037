"""Commands of the server: serve, and keys for those who may ask it."""

import contextlib
from pathlib import Path
from typing import Annotated, Any

import typer

from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table

STOPPED = "The server has stopped."
_SHOWN = ("id", "name", "scopes", "rate", "created_at", "expires_at", "revoked_at")


def serve(
    session: Session,
    *,
    host: Annotated[str, typer.Option(help="Address to listen on. Others than this machine's own need API keys.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Processes that answer.")] = 1,
    deadline: Annotated[float, typer.Option(min=0.01, help="Seconds for an answer.")] = 2.0,
    connections: Annotated[int, typer.Option(min=1, help="Connections at once, for each worker.")] = 1000,
    insecure: Annotated[
        bool, typer.Option("--insecure", help="Ask for no key even where others can reach it.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Log errors alone, not each request.")] = False,
) -> Answer:
    """Answer over HTTP: features, events, registry, health, metrics, docs.

    Ctrl-C or SIGTERM stop it in order: not ready at first, then what was begun is finished.
    """
    from featurestore.server.options import Options
    from featurestore.server.process import serve as run

    options = Options(
        project=str(session.project),
        host=host,
        port=port,
        workers=workers,
        insecure=insecure,
        deadline_s=deadline,
        connections=connections,
        log=not quiet,
    )
    where: list[str] = []

    def listening(url: str) -> None:
        where.append(url)
        if insecure and not options.loopback:
            session.terminal.complain("--insecure: whoever reaches this address may read and write.")
        with session.progress(f"serving on {url} (pages at {url}/ui; Ctrl-C stops it)"):
            pass

    run(options, listening)
    return Answer({"url": where[0], "stopped": True}, [STOPPED], "status (what the store holds)")


def keys_create(
    session: Session,
    name: Annotated[str, typer.Argument(help="Who will use it.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="read, ingest, predict, one of these for one name (read:fraud), or admin; repeatable. Default: read."
        ),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="How long it holds, such as 90d. Default: until revoked.")] = None,
    rate: Annotated[
        float | None, typer.Option(help="Requests a second, by each worker of a server. Default: no limit.")
    ] = None,
) -> Answer:
    """Make an API key. It is shown once."""
    try:
        lifetime = None if expires is None else _duration(expires)
    except ValueError as error:
        raise typer.BadParameter(f"--expires: {error}") from error
    with _keys(session) as (keys, now):
        made, secret = keys.create(name, list(scope or ["read"]), now=now, lifetime=lifetime, rate=rate)
    document = made.document() | {"key": secret}
    said = f"Key {made.id} for {made.name}: {', '.join(made.scopes)}. It is not shown again:"
    return Answer(document, [said, secret], "serve (send it as Authorization: Bearer ...)")


def keys_list(session: Session) -> Answer:
    """List the API keys, oldest first."""
    with _keys(session) as (keys, _):
        documents = [one.document() for one in keys.all()]
    if not documents:
        return Answer({"keys": []}, ["There are no keys yet."], "keys create NAME (make one)")
    rows = [tuple(_cell(one[name]) for name in _SHOWN) for one in documents]
    return Answer({"keys": documents}, [Table(_SHOWN, rows)], "keys revoke ID (it holds no more, at once)")


def keys_revoke(
    session: Session, key_id: Annotated[str, typer.Argument(metavar="ID", help="Id of the key.")]
) -> Answer:
    """Make an API key hold no more, at once and for ever."""
    with _keys(session) as (keys, now):
        gone = keys.revoke(key_id, now=now)
    return Answer(gone.document(), [f"Key {gone.id} of {gone.name} holds no more."], "keys list (those there are)")


@contextlib.contextmanager
def _keys(session: Session) -> Any:
    from featurestore import settings
    from featurestore.apikeys import ApiKeys
    from featurestore.times import system_clock

    home: Path = settings.load(session.project.resolve())["home"]
    yield ApiKeys(home / "keys.json"), system_clock()


def _cell(value: Any) -> Any:
    return ", ".join(value) if isinstance(value, (list, tuple)) else value


def _duration(text: str) -> int:
    from featurestore.times import duration

    return duration(text)
