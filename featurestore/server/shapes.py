"""Types of requests and answers, generated from the declarations: what is checked is what ``/docs`` shows.

A field takes what :mod:`featurestore.carriers` reads as its kind: a boolean or text is no number, ``1.5`` is no
integer, an instant is ISO 8601 text; and a name that is not declared is refused. The request model's own rules (``ge``,
a ``Literal``, validators) are shown here and checked by the store, as they are for every other caller.
"""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
    WithJsonSchema,
    create_model,
)

from featurestore import carriers, schema, times
from featurestore.definition import Source
from featurestore.errors import row_number
from featurestore.plan import ServicePlan, WindowStep
from featurestore.server.failure import refused
from featurestore.values import MAPS, Kind

_SHOWN = 20
_NAME_SHOWN = 64
_DATETIME: Mapping[str, Any] = {"type": "string", "format": "date-time"}


def _instant(given: object) -> datetime:
    """Parse ISO 8601 text; naive is UTC (S1)."""
    if not isinstance(given, str):
        raise ValueError("is no text")  # noqa: TRY004 - pydantic takes a ValueError for a refusal
    return times.from_text(given)


def _reader(kind: Kind) -> BeforeValidator:
    """Read what is of the kind in another type, such as ``1.0`` for an integer; the rest is left to be refused."""

    def read(given: object) -> object:
        found, fits = carriers.read(given, kind) if type(given) in (int, float) else (given, True)
        return found if fits else given

    return BeforeValidator(read)


_TYPES: dict[Kind, Any] = {
    "bool": Annotated[StrictBool, _reader("bool")],
    "int": Annotated[StrictInt, Field(ge=-(2**63), lt=2**63), _reader("int")],
    "float": Annotated[StrictFloat, Field(allow_inf_nan=False)],
    "str": StrictStr,
    "datetime": Annotated[datetime, BeforeValidator(_instant), WithJsonSchema(dict(_DATETIME))],
}
_TYPES |= {whole: dict[str, _TYPES[kind] | None] for kind, whole in MAPS.items()}  # type: ignore[valid-type]
_SAID: Mapping[str, str] = {
    "missing": "required",
    "extra_forbidden": "no such field",
    "bool_type": "must be a boolean",
    "int_type": "must be an integer",
    "float_type": "must be a number",
    "string_type": "must be text",
    "string_unicode": "must be text that UTF-8 holds",
    "finite_number": "must be a finite number",
    "greater_than_equal": "must fit 64 bits",
    "less_than": "must fit 64 bits",
    "int_parsing_size": "must fit 64 bits",
    "value_error": "must be an ISO 8601 instant such as 2026-01-31T12:00:00Z",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "dict_type": "must be an object",
}


@dataclass(frozen=True, slots=True)
class Column:
    """A field of a row. ``shown`` is its JSON schema where the declaration says more than the kind does."""

    name: str
    kind: Kind
    nullable: bool
    required: bool = True
    default: Any = None
    shown: Mapping[str, Any] | None = None
    description: str = ""


class Shape:
    """A flat JSON object: checks rows, and tells what they must be."""

    def __init__(self, name: str, columns: Iterable[Column]) -> None:
        self.columns = tuple(columns)
        # Fields have names of their own, for a column may be named like something that every model has.
        fields: dict[str, Any] = {
            f"column_{number}": (_annotation(one), _field(one)) for number, one in enumerate(self.columns)
        }
        config = ConfigDict(extra="forbid", title=name)
        self.model: type[BaseModel] = create_model("Row", __config__=config, **fields)
        self._check = self.model.__pydantic_validator__.validate_python
        self._parsed = tuple(
            (one.name, f"column_{number}") for number, one in enumerate(self.columns) if one.kind == "datetime"
        )
        self.schema: dict[str, Any] = self.model.model_json_schema(by_alias=True)

    def row(self, given: Any, number: int = 1) -> dict[str, Any]:
        """Return one row as the store takes it: fields that were not given stay out, instants are datetimes.

        Raises
        ------
        HTTPException
            422, with each field that is wrong.
        """
        if type(given) is not dict:
            raise refused(422, "invalid_request", f"Row {number} is no JSON object.")
        try:
            checked = self._check(given)
        except ValidationError as error:
            raise refused(
                422, "invalid_request", "Fields are not as declared: see `fields`.", _fields(error, number)
            ) from error
        for name, field in self._parsed:
            if name in given:
                given[name] = getattr(checked, field)
        return given

    def rows(self, given: Iterable[Any]) -> list[dict[str, Any]]:
        """Return rows as the store takes them: see :meth:`row`."""
        return [self.row(one, row_number(place)) for place, one in enumerate(given)]


def listed(given: Any, *, limit: int) -> list[Any]:
    """Return what is in the list of ``{"rows": [...]}``, unchecked.

    Raises
    ------
    HTTPException
        422 if it is something else, or has more than ``limit`` rows.
    """
    if type(given) is not dict or given.keys() != {"rows"} or type(given["rows"]) is not list:
        raise refused(422, "invalid_request", 'Give one JSON object: {"rows": [...]}, and nothing else in it.')
    rows: list[Any] = given["rows"]
    if len(rows) > limit:
        raise refused(422, "too_many_rows", f"There are {len(rows):,} rows; {limit:,} go at once.")
    return rows


def request_of(plan: ServicePlan) -> Shape:
    """Shape of a service's request: entity keys, which may be null (they match nothing), and request fields."""
    service = plan.service
    shown = {} if service.request is None else _shown(service.request)
    fields = {} if service.fields is None else {one.name: one for one in service.fields.fields}
    columns = []
    for one in plan.columns:
        field = fields.get(one.name) if one.role == "request" else None
        if field is None:
            columns.append(Column(one.name, one.kind, nullable=True))
        else:
            columns.append(_declared(field, shown))
    return Shape(f"Request of {service.name}", columns)


def event_of(source: Source) -> Shape:
    """Shape of one event of a source."""
    shown = _shown(source.schema)
    columns = [_declared(one, shown) for one in source.fields.fields]
    return Shape(f"Event of {source.name}", columns)


def features_of(plan: ServicePlan) -> Shape:
    """Shape of a service's features in an answer, each with the first line of what its function says of itself."""
    said = {
        name: step.feature.description.partition("\n")[0].replace("``", "")
        for step in plan.steps
        for name in (step.outputs if isinstance(step, WindowStep) else (step.output,))
    }
    columns = [Column(name, *plan.kinds[name], description=said[name]) for name in plan.outputs]
    return Shape(f"Features of {plan.service.name}", columns)


def rows_schema(row: Mapping[str, Any], limit: int | None = None) -> dict[str, Any]:
    """JSON schema of ``{"rows": [...]}``."""
    rows: dict[str, Any] = {"type": "array", "items": row} | ({} if limit is None else {"maxItems": limit})
    return {"type": "object", "required": ["rows"], "properties": {"rows": rows}, "additionalProperties": False}


def _declared(field: schema.Field, shown: Mapping[str, Any]) -> Column:
    return Column(field.name, field.kind, field.nullable, field.required, field.default, shown.get(field.name))


def _annotation(column: Column) -> Any:
    annotation = _TYPES[column.kind] | None if column.nullable else _TYPES[column.kind]
    return annotation if column.shown is None else Annotated[annotation, WithJsonSchema(dict(column.shown))]


def _field(column: Column) -> Any:
    return Field(... if column.required else column.default, alias=column.name, description=column.description or None)


def _fields(error: ValidationError, number: int) -> Sequence[Mapping[str, Any]]:
    told: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False, include_context=False):
        name = str(problem["loc"][0]) if problem["loc"] else ""
        told.setdefault(name, _SAID.get(problem["type"], "is not as declared"))
    cut = [(name.encode("utf-8", "replace").decode()[:_NAME_SHOWN], rule) for name, rule in told.items()]
    return [{"row": number, "field": name, "rule": rule} for name, rule in cut[:_SHOWN]]


def _shown(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    """JSON schema of each of a model's fields, whole in itself: a name that refers to another place is replaced."""
    whole = model.model_json_schema(by_alias=False)
    return {name: _resolved(one, whole.get("$defs", {})) for name, one in whole.get("properties", {}).items()}


def _resolved(schema: Any, definitions: Mapping[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_resolved(one, definitions) for one in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _resolved(deepcopy(definitions[schema["$ref"].rsplit("/", 1)[1]]), definitions)
    return {name: _resolved(one, definitions) for name, one in schema.items()}
