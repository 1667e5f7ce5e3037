"""One run of one command: the options that all commands share, the answer, and what happens when it fails."""

import contextlib
import functools
import inspect
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from featurestore.cli import failure
from featurestore.cli.terminal import Answer, Progress, Terminal

NOTHING_CHANGED = "Nothing was changed."

Project = Annotated[
    Path | None,
    typer.Option(
        help="Folder of the project, with its pyproject.toml. Default: this one.",
        exists=True,
        file_okay=False,
        show_default=False,
    ),
]
AsJson = Annotated[bool | None, typer.Option("--json", help="One JSON document on stdout, nothing else.")]
Debug = Annotated[bool | None, typer.Option("--debug", help="Show an error's traceback.")]


@dataclass(frozen=True)
class Session:
    """What a command is run with: the project's folder, as it was given, and the terminal."""

    project: Path
    terminal: Terminal
    debug: bool = False

    def progress(self, what: str) -> contextlib.AbstractContextManager[Progress]:
        """Show ``what`` while it lasts; gives a function for news of it."""
        return self.terminal.progress(what)


def command(run: Callable[..., Answer], *, interrupted: str = NOTHING_CHANGED) -> Callable[..., int]:
    """Make a function of a session and its own parameters a command: with ``--project``, ``--json`` and ``--debug``.

    ``interrupted`` says in what state Ctrl-C leaves the store. The command gives its exit code.
    """

    @functools.wraps(run)
    def started(context: typer.Context, **given: Any) -> int:
        session = _session(context, {name: given.pop(name) for name in _shared_names()})
        return _run(functools.partial(run, session, **given), session, interrupted)

    own = list(inspect.signature(run).parameters.values())[1:]
    context, *shared = inspect.signature(options).parameters.values()
    named = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in (*own, *shared)]
    started.__signature__ = inspect.Signature([context, *named])  # type: ignore[attr-defined]
    return started


def options(context: typer.Context, project: Project = None, as_json: AsJson = None, debug: Debug = None) -> None:
    """Take what stands before the command's name."""
    context.obj = {"project": project, "as_json": as_json, "debug": debug}


def _shared_names() -> list[str]:
    return [name for name in inspect.signature(options).parameters if name != "context"]


def _session(context: typer.Context, given: dict[str, Any]) -> Session:
    """What stands after the command's name counts before what stands before it."""
    before = context.obj or {}
    chosen = {name: before.get(name) if value is None else value for name, value in given.items()}
    return Session(chosen["project"] or Path(), Terminal(bool(chosen["as_json"])), bool(chosen["debug"]))


def _run(run: Callable[[], Answer], session: Session, interrupted: str) -> int:
    terminal = session.terminal
    try:
        # Definitions are the project's own code and may print: stdout is for the document alone.
        with contextlib.redirect_stdout(sys.stderr) if terminal.as_json else contextlib.nullcontext():
            answer = run()
    except KeyboardInterrupt:
        terminal.interrupted(interrupted)
        return failure.INTERRUPTED
    except failure.USAGE_ERROR:
        raise
    except Exception as error:  # noqa: BLE001 - the outermost place: every error becomes words and an exit code here
        if session.debug:
            traceback.print_exc()
        terminal.failure(error)
        return failure.exit_code(error)
    terminal.answer(answer, str(session.project))
    return answer.code
