"""What stands on the command line, or in a file that it names, as what the store takes."""

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import typer

from featurestore import reading, times, validation
from featurestore.definition import Source
from featurestore.errors import InvalidRequest, RequestError, SourceUnreadable
from featurestore.plan import SpineColumn
from featurestore.values import Kind

_JSON = (".json", ".jsonl", ".ndjson")
_BOOLS = {"true": True, "false": False}


def row_of(pairs: Sequence[str], columns: Iterable[SpineColumn]) -> dict[str, Any]:
    """One row of ``name=value`` texts, each read as the kind that its column is declared.

    An empty value is null, but for a string: there it is the empty string. A name that no column has stays text: the
    lookup says what to do about it.

    Raises
    ------
    InvalidRequest
        If a value is not of its column's kind.
    """
    kinds = {column.name: column.kind for column in columns}
    row: dict[str, Any] = {}
    for pair in pairs:
        name, equals, text = pair.partition("=")
        if not equals or not name:
            raise typer.BadParameter(f"{pair!r} is not KEY=VALUE; here the keys are {', '.join(kinds) or 'none'}.")
        if name in row:
            raise typer.BadParameter(f"{name!r} is given twice.")
        row[name] = _value(name, kinds.get(name, "str"), text)
    return row


def json_row(text: str) -> dict[str, Any]:
    """One row of a JSON object."""
    try:
        row = json.loads(text)
    except ValueError as error:
        raise typer.BadParameter(f"--json-row is no JSON: {error}") from error
    if not isinstance(row, dict):
        raise typer.BadParameter('--json-row must be one JSON object, such as \'{"customer_id": "c1"}\'.')
    return row


def rows_of(file: str, source: Source) -> Any:
    """Rows of a file for ``ingest``: of JSON a list of dicts, of CSV and Parquet a table. ``-`` is JSON on stdin.

    Raises
    ------
    InvalidRows
        If a cell of a CSV file is not of its column's kind.
    SourceUnreadable
        If the file is not there, or cannot be read.
    """
    if file == "-":
        return _json_rows(sys.stdin.read(), "stdin")
    path = Path(file).expanduser()
    if path.suffix.lower() in _JSON:
        _check_is_file(path, file)
        try:
            return _json_rows(path.read_text(encoding="utf-8-sig"), file)
        except (OSError, UnicodeDecodeError) as error:
            raise SourceUnreadable(f"{file} cannot be read: {error}") from error
    _check_is_file(path, file)
    return _table(path, source)


def _check_is_file(path: Path, file: str) -> None:
    if not path.is_file():
        raise SourceUnreadable(
            f"There is no file {file}. Rows come from .json, .jsonl, .csv or .parquet, or - for stdin."
        )


def spine_of(text: str) -> str:
    """Return a spine as the store reads it: a path that is there, from here; anything else (SQL) as it is."""
    try:
        path = Path(text).expanduser()
        return str(path.absolute()) if path.is_file() else text
    except OSError:  # SQL may be longer than a file's name can be
        return text


def _value(name: str, kind: Kind, text: str) -> Any:
    if kind == "str":
        return text
    if text == "":
        return None
    try:
        if kind == "bool":
            return _BOOLS[text.lower()]
        if kind == "datetime":
            return times.to_datetime(times.to_micros(text))
        return int(text) if kind == "int" else float(text)
    except (KeyError, ValueError, RequestError) as error:
        example = {"bool": "true", "int": "42", "float": "12.5", "datetime": "2026-01-31T12:00:00Z"}[kind]
        raise InvalidRequest(
            f"{name}={text} is no {kind}, as {name!r} is declared: give one such as {example}."
        ) from error


def _json_rows(text: str, origin: str) -> list[Any]:
    """Rows of one JSON array, of one JSON object, or of a JSON object on each line."""
    if text.lstrip().startswith("["):
        return list(_loads(text, origin))
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    try:
        return [json.loads(line) for _, line in lines]
    except ValueError:
        pass  # one object over several lines, or a line that is wrong: which, is said below
    try:
        return [json.loads(text)]
    except ValueError:
        return [_loads(line, f"{origin} line {number}") for number, line in lines]


def _loads(text: str, origin: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise SourceUnreadable(f"{origin} is no JSON: {error}. Give one array, or one object a line.") from error


def _table(path: Path, source: Source) -> Any:
    """Table of a CSV or Parquet file, read as the source's own files are; text of CSV typed by the schema."""
    alike = Source(source.name, schema=source.schema, path=path.absolute(), event_time=source.event_time)
    (part,) = reading.parts(alike, path.parent.absolute())
    table = reading.read(alike, part, path.parent.absolute())
    if part.kind != "csv":
        return table
    checked = validation.check(table, source.fields, origin=part.name, from_text=True)
    if checked.bad:
        raise validation.invalid_rows(
            checked.bad, source.name, remedy="Nothing was accepted: correct them and send all again."
        )
    return checked.table
