"""What a command answers, printed: words for a person, or one JSON document for a program."""

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TextIO

from featurestore.cli import failure

Progress = Callable[[str], None]
_ENDLESS = 10_000  # columns: what goes into a file or a pipe is not cut to a screen


@dataclass(frozen=True)
class Table:
    """Rows under a header; numbers are aligned right, null is a dash."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]


@dataclass(frozen=True)
class Code:
    """Text in colours."""

    text: str
    language: Literal["python", "diff", "json"]


@dataclass(frozen=True)
class Answer:
    """What a command gives.

    Parameters
    ----------
    document
        All of it, for a program: goes out as JSON.
    blocks
        The same for a person.
    following
        The command line that comes next, without the word ``featurestore``, and in brackets what it is for.
    code
        The exit code: 1 where the answer is that there is a problem.
    """

    document: Mapping[str, Any]
    blocks: Sequence[str | Table | Code]
    following: str = ""
    code: int = 0


@dataclass(frozen=True)
class Terminal:
    """Where answers go. With ``as_json`` stdout gets one JSON document and stderr nothing but a traceback asked for."""

    as_json: bool = False

    def answer(self, answer: Answer, project: str) -> None:
        """Print an answer and the next step; ``project`` is as it was given."""
        if self.as_json:
            self._write(answer.document)
            return
        out = _console(sys.stdout)
        for block in answer.blocks:
            # sentences are wrapped between words on a terminal; code, and what goes elsewhere, stays in its lines
            whole = isinstance(block, Code) or (isinstance(block, str) and not out.is_terminal)
            out.print(_rendered(block), soft_wrap=whole, markup=False, highlight=False)
        sys.stdout.flush()
        if answer.following:
            line, _, purpose = answer.following.partition(" (")
            where = "" if project == "." else f" --project {project}"
            step = f"Next: featurestore {line}{where}{' (' + purpose if purpose else ''}"
            _console(sys.stderr).print(step, style="dim", soft_wrap=True, markup=False, highlight=False)

    def failure(self, error: Exception) -> None:
        """Print what went wrong."""
        if self.as_json:
            self._write(failure.document(error))
        else:
            self.complain(failure.message(error))

    def interrupted(self, state: str) -> None:
        """Say what is left behind after Ctrl-C."""
        if self.as_json:
            self._write({"error": {"type": "Interrupted", "message": state}})
        else:
            self.complain(f"interrupted. {state}")

    def complain(self, text: str) -> None:
        """Print an error's words on stderr."""
        sys.stdout.flush()
        _console(sys.stderr).print(f"error: {text}", style="red", soft_wrap=True, markup=False, highlight=False)

    @contextmanager
    def progress(self, what: str) -> Iterator[Progress]:
        """Show that something is going on: a spinner on a terminal, lines elsewhere, nothing with JSON."""
        if self.as_json:
            yield lambda text: None  # noqa: ARG005 - silence
        elif sys.stderr.isatty():
            with _console(sys.stderr).status(what) as status:
                yield status.update
        else:
            sys.stderr.write(f"{what}\n")
            yield lambda text: print(text, file=sys.stderr, flush=True)  # noqa: T201 - this is where lines are printed

    def _write(self, document: Mapping[str, Any]) -> None:
        sys.stdout.write(json.dumps(plain(document), indent=2, allow_nan=False) + "\n")
        sys.stdout.flush()


def plain(value: Any) -> Any:
    """Return what JSON can hold: datetimes as ISO 8601 with ``Z``, integers exact, anything unknown as its words."""
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):  # infinity stands in rows that were refused: JSON has no number for it
        return value if math.isfinite(value) else str(value)
    if isinstance(value, datetime):
        from featurestore import times

        return times.isoformat(times.to_micros(value))
    if isinstance(value, Mapping):
        return {str(name): plain(one) for name, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    return plain(value.item()) if hasattr(value, "item") else str(value)


def counted(count: int, noun: str, plural: str = "") -> str:
    """``1 feature``, ``2 features``, ``1,000 entities``."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"


def _console(stream: TextIO) -> Any:
    from rich.console import Console

    return Console(file=stream, width=None if stream.isatty() else _ENDLESS, emoji=False)


def _rendered(block: str | Table | Code) -> Any:
    if isinstance(block, str):
        return block
    if isinstance(block, Code):
        from rich.syntax import Syntax

        return Syntax(block.text, block.language, theme="ansi_dark", background_color="default").highlight(block.text)
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0), show_header=any(block.header))
    for place, name in enumerate(block.header):
        numbers = block.rows and all(_is_number(row[place]) or row[place] is None for row in block.rows)
        drawn.add_column(name, justify="right" if numbers else "left")
    for row in block.rows:
        drawn.add_row(*(Text(_cell(value)) for value in row))
    return drawn


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(plain(value))
