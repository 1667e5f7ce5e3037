"""Commands for the first minutes: init, demo."""

import contextlib
import shlex
import signal
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn

import typer

from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, counted

INIT_INTERRUPTED = "The folder may be half made: remove it, and run init again."
DEMO_INTERRUPTED = "The server, if it had been started, has stopped. The folder is as far as it had come: remove it."
_FOLDER = "featurestore-demo"


def init(
    session: Session,
    name: Annotated[str, typer.Argument(help="Folder of the new project; it must not hold anything.")],
    *,
    events: Annotated[int, typer.Option(min=100, help="Payments to simulate as its data.")] = 5_000,
) -> Answer:
    """Make a new project: definitions, made data, a test, next steps in its README."""
    from featurestore import scaffold

    with session.progress(f"making {name}"):
        made = scaffold.create(session.project / name, events=events)
    document = {"folder": made.folder, "files": made.files, "payments": made.data.payments}
    data = f"data/ ({counted(made.data.payments, 'made payment')})"
    return Answer(document, [f"{made.folder} has {', '.join(made.files)} and {data}.", _next(made.folder, "check")])


def demo(
    session: Session,
    *,
    events: Annotated[int, typer.Option(min=5_000, help="Payments to simulate.")] = 200_000,
    folder: Annotated[
        Path | None, typer.Option(help=f"New or empty folder to work in. Default: {_FOLDER}, or the next free number.")
    ] = None,
) -> Answer:
    """Show the whole loop in a minute: declare, build, train, serve, predict, compare the bytes.

    The folder is left to play with. The server listens on this machine only, and is stopped at the end.
    """
    from featurestore.demo import Demo

    with _terminated_as_by_ctrl_c(), Demo(_free(session.project, folder), events=events) as story:
        for number, (doing, act) in enumerate(story.steps(), 1):
            with session.progress(doing):
                chapter = act()
            if not session.terminal.as_json:
                head = f"{number}. {chapter.title}  ({chapter.seconds:.1f} s)"
                session.terminal.answer(Answer({}, [head, *chapter.blocks, ""]), "")
    last = f"Done in {story.seconds:.0f} s. {story.folder} is yours to play with."
    return Answer(story.document(), [last, _next(story.folder, "list")])


@contextlib.contextmanager
def _terminated_as_by_ctrl_c() -> Iterator[None]:
    """Unwind when another process ends this one, or its terminal closes: the server must not outlive it."""

    def interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = {one: signal.signal(one, interrupt) for one in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _free(project: Path, folder: Path | None) -> Path:
    """Return the folder that was asked for, or the first one of that name that is not there yet."""
    if folder is not None:
        return project / folder
    numbered = (project / (_FOLDER if number == 1 else f"{_FOLDER}-{number}") for number in range(1, 1_000_000))
    return next(one for one in numbered if not one.exists())


def _next(folder: Path, command: str) -> str:
    return f"Next: cd {shlex.quote(str(folder))} && featurestore {command}"
