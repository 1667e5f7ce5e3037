"""What a pydantic model says of its values, as rules over whole columns; and which models only pydantic understands.

``ge``, ``pattern``, a ``Literal`` and the like become checks of an Arrow array. A model that holds more than that
(validators, strictness, settings of its own) is pydantic's to check: its plan is not ``plain``.
"""

import enum
import functools
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import annotated_types
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import AllowInfNan, BaseModel, Strict, TypeAdapter, ValidationError
from pydantic import Field as PydanticField
from pydantic.fields import FieldInfo

from featurestore.errors import DefinitionError
from featurestore.schema import schema_of
from featurestore.values import ARROW_TYPES, KINDS, Kind

PYTHON_TYPES: dict[Kind, type] = {kind: python for python, kind in KINDS.items()}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule of one field: its name in messages, and what is true where a column breaks it (null is not)."""

    name: str
    broken: Callable[[pa.Array], pa.Array]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a model is checked: by ``rules`` if ``plain``, else by pydantic, which sees ``raw`` fields uncast.

    ``strict`` fields it sees uncast too, unless a file has only text. ``kinds`` and ``python_types``
    are those of all fields.
    """

    plain: bool
    kinds: Mapping[str, Kind]
    python_types: Mapping[str, type]
    rules: Mapping[str, Sequence[Rule]]
    raw: frozenset[str]
    strict: frozenset[str]


_PLAIN_SETTINGS = {
    *("title", "extra", "frozen", "from_attributes", "use_enum_values", "hide_input_in_errors", "json_schema_extra"),
    *("populate_by_name", "validate_by_name", "validate_assignment", "protected_namespaces"),
    *("use_attribute_docstrings",),
}
_VALIDATORS = ("validators", "field_validators", "root_validators", "model_validators")


@functools.lru_cache(maxsize=256)
def plan_of(model: type[BaseModel]) -> Plan:
    """How a model is checked; made once for each.

    Raises
    ------
    DefinitionError
        If a field has an alias: pydantic would look for another name than columns and rows have.
    """
    fields = model.model_fields
    _refuse_aliases(model)
    rules = {name: _rules(info.annotation, info.metadata) for name, info in fields.items()}
    all_strict = model.model_config.get("strict")
    strict = {name for name, info in fields.items() if all_strict or _is_strict(info.annotation, info.metadata)}
    raw = _seen_by_validators(model) | {name for name, found in rules.items() if found is None}
    special = (
        raw
        or strict
        or set(model.model_config) - _PLAIN_SETTINGS
        or any(getattr(model.__pydantic_decorators__, each) for each in _VALIDATORS)
        or model.__pydantic_post_init__
        or any("__get_pydantic_core_schema__" in vars(each) for each in model.__mro__[: model.__mro__.index(BaseModel)])
    )
    kinds = {field.name: field.kind for field in schema_of(model).fields}
    known = {name: found or [] for name, found in rules.items()}
    own = {name: PYTHON_TYPES[kind] for name, kind in kinds.items()}
    return Plan(not special, kinds, own, known, frozenset(raw), frozenset(strict))


def _refuse_aliases(model: type[BaseModel]) -> None:
    for name, info in model.model_fields.items():
        if info.validation_alias not in (None, name):
            raise DefinitionError(
                f"{model.__name__}.{name} has the alias {info.validation_alias!r}, but a column has one name "
                "everywhere: drop the alias (or alias_generator), and call the field what the data calls it."
            )


def _seen_by_validators(model: type[BaseModel]) -> set[str]:
    """Fields whose values a validator sees before pydantic has typed them."""
    every = set(model.model_fields)
    decorators = model.__pydantic_decorators__
    before_row = any(one.info.mode != "after" for one in decorators.model_validators.values())
    if model.__pydantic_custom_init__ or before_row or decorators.validators or decorators.root_validators:
        return every
    before = [one.info for one in decorators.field_validators.values() if one.info.mode != "after"]
    seen = {name for info in before for name in info.fields}
    return every if "*" in seen else seen


def _is_strict(annotation: Any, metadata: Iterable[Any]) -> bool:
    if any(isinstance(one, Strict) and one.strict for one in _flat(metadata)):
        return True
    if hasattr(annotation, "__metadata__"):
        return _is_strict(get_args(annotation)[0], annotation.__metadata__)
    return _is_union(annotation) and any(_is_strict(arm, ()) for arm in get_args(annotation))


def _is_union(annotation: Any) -> bool:
    return get_origin(annotation) in (Union, types.UnionType)


def _flat(metadata: Iterable[Any]) -> Iterator[Any]:
    for one in metadata:
        if isinstance(one, FieldInfo):
            yield from _flat(one.metadata)
        elif isinstance(one, annotated_types.GroupedMetadata):
            yield from _flat(one)
        else:
            yield one


def _rules(annotation: Any, metadata: Sequence[Any]) -> list[Rule] | None:
    """Rules of one field, or ``None`` if pydantic has to see it."""
    if _is_union(annotation):
        return _rules(next(arm for arm in get_args(annotation) if arm is not types.NoneType), metadata)
    if hasattr(annotation, "__metadata__"):
        return _rules(get_args(annotation)[0], [*annotation.__metadata__, *metadata])
    rules: list[Rule] = []
    if get_origin(annotation) is Literal:
        rules.append(_one_of([choice for choice in get_args(annotation) if choice is not None]))
    elif isinstance(annotation, enum.EnumType):
        if any("_missing_" in vars(each) for each in annotation.__mro__ if each is not enum.Enum):
            return None
        members: list[enum.Enum] = list(annotation)
        rules.append(_one_of([member.value for member in members]))
    elif annotation not in KINDS:
        return None
    for one in _flat(metadata):
        found = _rule(one, KINDS.get(annotation))
        if found is None:
            return None
        rules += found
    return rules


def _rule(constraint: Any, kind: Kind | None) -> list[Rule] | None:
    """Rules of one piece of metadata; ``None`` if its meaning is pydantic's alone."""
    facts = {name: fact for name, fact in getattr(constraint, "__dict__", {}).items() if fact is not None}
    found: Rule | None = None
    if isinstance(constraint, (Strict, AllowInfNan)) or set(facts) == {"allow_inf_nan"}:
        return []  # strict columns go to pydantic; what NaN and infinity are is said by S7
    if type(constraint) in _BOUNDS:
        name, broken = _BOUNDS[type(constraint)]
        found = _bound(name, getattr(constraint, name), kind, broken)
    elif isinstance(constraint, annotated_types.MultipleOf):
        found = _multiple(constraint.multiple_of, kind)
    elif kind == "str" and isinstance(constraint, annotated_types.MinLen):
        found = _length("min_length", constraint.min_length, pc.less)
    elif kind == "str" and isinstance(constraint, annotated_types.MaxLen):
        found = _length("max_length", constraint.max_length, pc.greater)
    elif kind == "str" and set(facts) == {"pattern"} and isinstance(facts["pattern"], str):
        found = _pattern(facts["pattern"])
    return None if found is None else [found]


_BOUNDS: dict[type, tuple[str, Callable[[Any, Any], Any]]] = {
    annotated_types.Ge: ("ge", pc.less),
    annotated_types.Gt: ("gt", pc.less_equal),
    annotated_types.Le: ("le", pc.greater),
    annotated_types.Lt: ("lt", pc.greater_equal),
}


def _bound(name: str, bound: Any, kind: Kind | None, broken: Callable[[Any, Any], Any]) -> Rule | None:
    """Compare with a number or datetime of the column's own kind."""
    whole = kind == "float" and type(bound) is int and abs(bound) <= 2**53
    if kind not in ("int", "float", "datetime") or not (whole or type(bound) is PYTHON_TYPES[kind]):
        return None
    if kind == "int" and not -(2**63) <= bound < 2**63:
        return None
    limit = pa.scalar(float(bound) if whole else bound, ARROW_TYPES[kind])
    return Rule(f"{name}={bound}", lambda column: broken(column, limit))


def _length(name: str, length: int, broken: Callable[[Any, Any], Any]) -> Rule:
    return Rule(f"{name}={length}", lambda texts: broken(pc.utf8_length(texts), length))


def _multiple(step: Any, kind: Kind | None) -> Rule | None:
    if kind not in ("int", "float") or type(step) is not PYTHON_TYPES[kind]:
        return None
    divisor: Any = step

    def broken(numbers: pa.Array) -> pa.Array:
        if kind == "float":  # how near is near enough is pydantic's to say
            return _refused(pc.if_else(pc.is_finite(numbers), numbers, None), float, PydanticField(multiple_of=divisor))
        values = numbers.fill_null(0).to_numpy(zero_copy_only=False)
        return pc.and_(pc.is_valid(numbers), pa.array(values % divisor != 0))

    return Rule(f"multiple_of={step}", broken)


def _one_of(choices: list[Any]) -> Rule:
    allowed = pa.array(choices, ARROW_TYPES[KINDS[type(choices[0])]])

    def broken(column: pa.Array) -> pa.Array:
        return pc.and_(pc.is_valid(column), pc.invert(pc.is_in(column, allowed)))

    return Rule(f"one of {', '.join(map(repr, choices))}", broken)


# What Arrow's and pydantic's engines agree on for ASCII text; outside it each has classes and syntax of its own.
_SHARED = re.compile(
    r"(?:[\w ^$.*+?|():@,;/=<>!#%&'\"~-]|\\[dw]|\\[-.^$*+?|()\[\]{}\\/]|\{\d+(?:,\d*)?\}"
    r"|\[\^?(?:[\w .,:;@/+*?!#%=<>|(){}$'\"-]|\\[dw.\\/+-])+\])*",
    re.ASCII,
)


def _pattern(pattern: str) -> Rule:
    shared = bool(_SHARED.fullmatch(pattern)) and not any(pair in pattern for pair in ("--", "&&", "~~"))

    def broken(texts: pa.Array) -> pa.Array:
        if not shared or not pc.all(pc.string_is_ascii(texts), min_count=0).as_py():
            return _refused(texts, str, PydanticField(pattern=pattern))
        try:
            return pc.invert(pc.match_substring_regex(texts, pattern))
        except pa.ArrowInvalid:  # longer than that engine takes
            return _refused(texts, str, PydanticField(pattern=pattern))

    return Rule(f"pattern={pattern!r}", broken)


def _refused(column: pa.Array, kind: type, rule: Any) -> pa.Array:
    """Ask pydantic, once for each different value."""
    different = column.drop_null().unique().to_pylist()
    wrong: list[Any] = []
    try:
        TypeAdapter(list[Annotated[kind, rule]]).validate_python(different)  # type: ignore[valid-type]
    except ValidationError as error:
        wrong = [problem["input"] for problem in error.errors(include_url=False)]
    return pc.is_in(column, pa.array(wrong, column.type))
