"""Rows that a schema refuses: which, and by what rule, in the same words whoever found them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featurestore import carriers
from featurestore.errors import InvalidRows
from featurestore.schema import Schema

NOT_NULL = "not null"
_SHOWN = 5
_LIMITS = {
    "greater_than_equal": "ge",
    "greater_than": "gt",
    "less_than_equal": "le",
    "less_than": "lt",
    "multiple_of": "multiple_of",
    "string_too_short": "min_length",
    "string_too_long": "max_length",
}


@dataclass(frozen=True, slots=True)
class BadRow:
    """A value that its column does not allow.

    ``row`` counts the data rows of ``file`` from 1; ``column`` is empty for a rule over the whole row.
    """

    file: str
    row: int
    column: str
    rule: str
    value: Any

    def __str__(self) -> str:
        if not self.column:
            found = self.rule
        elif self.rule in carriers.ACCEPTED:
            found = f"{self.column} = {carriers.misfit(self.value, self.rule)}"
        else:
            found = f"{self.column} = {self.value!r} is against {self.rule!r}"
        return f"{self.file} row {self.row}: {found}"


def invalid_rows(bad: Sequence[BadRow], source_name: str, *, remedy: str | None = None) -> InvalidRows:
    """Return the error for bad rows: the first five in words, all of them in ``args[1]``."""
    count = len({(one.file, one.row) for one in bad})
    lines = [f"{count} {'row is' if count == 1 else 'rows are'} against the schema of {source_name!r}:"]
    lines += [f"  {one}" for one in bad[:_SHOWN]]
    if len(bad) > _SHOWN:
        lines.append(f"  … and {len(bad) - _SHOWN} more")
    lines.append(remedy or "Correct them, or set them aside with Source(..., on_invalid='quarantine').")
    return InvalidRows("\n".join(lines), tuple(bad))


def from_pydantic(problem: Any, origin: str, row: int, schema: Schema) -> BadRow:
    """Say a problem of pydantic's in the words that a check of whole columns has for the same rule."""
    column = str(problem["loc"][0]) if problem["loc"] else ""
    code, context, value = problem["type"], problem.get("ctx", {}), problem["input"]
    if code in _LIMITS:
        rule = f"{_LIMITS[code]}={context[_LIMITS[code]]}"
    elif code == "string_pattern_mismatch":
        rule = f"pattern={context['pattern']!r}"
    elif code == "missing":
        rule, value = "required", None
    elif code == "value_error":
        rule = str(context["error"])
    elif value is None and column in schema and not schema[column].nullable:
        rule = NOT_NULL
    elif column in schema and code.partition("_")[0] in ("bool", "int", "float", "string", "datetime"):
        kind = schema[column].kind
        rule = f"strict {kind}" if carriers.read(value, kind)[1] else kind
    else:
        rule = problem["msg"]
    return BadRow(origin, row, column, rule, value)
