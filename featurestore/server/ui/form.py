"""A lookup asked for by a form: its fields are those of ``POST /features``, and so are its rules.

Parameters of the query: ``row.<field>`` for each field, ``as_of``, ``explain`` for the value to be explained, and
``asked``, which tells a form that was sent from a page that was opened. An empty field is left out where the
declaration has a default, and is null elsewhere.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from fastapi import HTTPException
from starlette.datastructures import QueryParams

from featurestore import times
from featurestore.errors import AsOfError, FeatureStoreError, RequestError
from featurestore.server import answers, failure
from featurestore.server.shapes import Column, Shape

_PREFIX = "row."
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_INTEGER = re.compile(r"[+-]?\d{1,30}", re.ASCII)
_BOOLS: Mapping[str, bool] = {"true": True, "false": False}
_EXAMPLES = {"int": "42", "float": "12.5", "datetime": "2026-01-31T12:00:00Z"}
_NO_INSTANT = "must be an ISO 8601 instant such as 2026-01-31T12:00:00Z"


@dataclass(frozen=True)
class Field:
    """One field as it is drawn: what was typed in, and what is wrong with it."""

    name: str
    label: str
    kind: str
    text: str
    hint: str
    example: str
    choices: tuple[str, ...]
    error: str | None

    @property
    def id(self) -> str:
        """Name that the label refers to."""
        return f"field-{self.label}"


@dataclass(frozen=True)
class Asked:
    """A form as it was sent: ``row`` and ``as_of`` (microseconds UTC) are only of use without ``errors``."""

    sent: bool
    texts: Mapping[str, str]
    row: Mapping[str, Any]
    as_of: int | None
    explain: str | None
    errors: Mapping[str, str]


def read(shape: Shape, given: QueryParams) -> Asked:
    """Read what was sent; ``errors`` are by field, under the empty name what is wrong with none of them."""
    texts = {name: given[name] for name in given if name not in ("asked", "explain")}
    errors: dict[str, str] = {}
    if any(len(given.getlist(name)) > 1 for name in given):
        errors[""] = "A field is given twice."
    if unknown := [name for name in texts if name != "as_of" and not name.startswith(_PREFIX)]:
        errors[""] = f"There is no field {unknown[0]!r}."
    document = dict(_document(shape, texts))
    row: Mapping[str, Any] = document
    as_of: int | None = None
    sent = "asked" in given
    if sent:
        try:
            row = shape.row(dict(document))
        except HTTPException as error:
            errors |= _told(error)
        try:
            as_of = times.to_micros(texts["as_of"].strip()) if texts.get("as_of", "").strip() else None
        except RequestError:
            errors["as_of"] = _NO_INSTANT
    return Asked(sent, texts, row, as_of, given.get("explain"), errors)


def problems(error: FeatureStoreError) -> dict[str, str]:
    """What the store says against a row, by field where it names one."""
    status, _, words = failure.verdict(error)
    if isinstance(error, AsOfError):
        return {"as_of": str(error)}
    if status >= 500:  # noqa: PLR2004 - the server's own fault
        raise error
    found = {one["field"]: one["rule"] for one in failure.fields_of(error) if one["field"]}
    return found or {"": words or str(error)}


def fields(shape: Shape, asked: Asked, errors: Mapping[str, str]) -> list[Field]:
    """Fields to draw, in declared order."""
    return [_field(one, asked, errors.get(one.name)) for one in shape.columns]


def link(asked: Asked, **changed: str) -> str:
    """Query of the same form with some parameters of its own."""
    kept = {name: text for name, text in asked.texts.items() if text}
    return "?" + urlencode({"asked": "1", **kept, **changed})


def body(shape: Shape, asked: Asked) -> str:
    """Write the JSON object that ``POST /features`` takes for this form."""
    return answers.dumps(dict(_document(shape, asked.texts))).decode()


def _field(column: Column, asked: Asked, error: str | None) -> Field:
    shown = _flat(column.shown or {})
    allowed = shown.get("enum")
    choices = ("true", "false") if column.kind == "bool" else tuple(map(_text, allowed)) if allowed else ()
    default = "" if column.required or column.default is None else _text(column.default)
    name = _PREFIX + column.name
    text = asked.texts.get(name, "" if asked.sent else default)
    needed = column.kind != "bool" and column.required and not column.nullable
    rules = [
        f"{sign} {shown[rule]:,}".removesuffix(".0")
        for rule, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if rule in shown
    ]
    empty = f"empty: {default}" if default else "" if needed else "empty: null"
    hint = ", ".join(part for part in ("needed" if needed else "", *rules, empty) if part)
    said = " ".join(part for part in (str(shown.get("description", "")), f"({hint})" if hint else "") if part)
    return Field(name, column.name, column.kind, text, said, _EXAMPLES.get(column.kind, ""), choices, error)


def _document(shape: Shape, texts: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    """Yield what the texts say, as JSON has it; a text that is not of its field's kind stays text, to be refused."""
    columns = {one.name: one for one in shape.columns}
    sent = [name.removeprefix(_PREFIX) for name in texts if name.startswith(_PREFIX)]
    for name in dict.fromkeys([*columns, *sent]):
        text, column = texts.get(_PREFIX + name, ""), columns.get(name)
        if text or (column is not None and column.required and _may_be_empty(column)):
            yield name, _value(column, text)


def _may_be_empty(column: Column) -> bool:
    """Whether an empty field says something: null, or a text that may be any."""
    return column.nullable or (column.kind == "str" and "enum" not in _flat(column.shown or {}))


def _value(column: Column | None, text: str) -> Any:
    if column is None:
        return text
    if text == "":
        return None if column.nullable or column.kind != "str" else ""
    bare = text.strip()
    if column.kind == "bool":
        return _BOOLS.get(bare, text)
    if column.kind == "int" and _INTEGER.fullmatch(bare):
        return int(bare)
    if column.kind == "float" and _NUMBER.fullmatch(bare):
        return float(bare)
    return bare if column.kind == "datetime" else text


def _flat(shown: Mapping[str, Any]) -> Mapping[str, Any]:
    """Rules of a field that may be null stand one level down."""
    inner: Mapping[str, Any] = next((one for one in shown.get("anyOf", ()) if one.get("type") != "null"), {})
    return {**inner, **shown}


def _told(error: HTTPException) -> dict[str, str]:
    told: Any = error.detail
    return {one["field"]: one["rule"] for one in told["fields"]} or {"": told["message"]}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=lambda one: answers.dumps(one).decode()[1:-1])
