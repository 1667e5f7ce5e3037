"""The page at ``/docs``: the OpenAPI document as plain HTML. No script, nothing from elsewhere, everything escaped."""

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

import jinja2
from markupsafe import Markup
from starlette.responses import Response

from featurestore.server.edge import POLICY

_EXAMPLES: Mapping[str, Any] = {"integer": 1, "number": 1.5, "boolean": True, "string": "text", "null": None}
_INSTANT = "2026-01-31T12:00:00Z"
_EXACT = 2**62  # bounds beyond are those of 64 bits, which say nothing


class Page:
    """Draws the page; the policy of its answer lets in its own style and nothing else."""

    def __init__(self) -> None:
        loader = jinja2.PackageLoader("featurestore.server", "templates")
        found = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
        self._style = loader.get_source(found, "docs.css")[0].strip()
        self._template = found.get_template("docs.html")
        digest = base64.b64encode(hashlib.sha256(self._style.encode()).digest()).decode()
        self._policy = POLICY[1].decode() + f"; style-src 'sha256-{digest}'"

    def answer(self, document: Mapping[str, Any]) -> Response:
        """Answer with the page of an OpenAPI document."""
        drawn = self._template.render(
            style=Markup(self._style),  # noqa: S704 - a file of this package
            info=document["info"],
            groups=groups(document),
        )
        return Response(drawn, media_type="text/html", headers={POLICY[0].decode(): self._policy})


def groups(document: Mapping[str, Any]) -> Mapping[str, list[dict[str, Any]]]:
    """Operations by tag, each with its fields, an example and its answer's fields."""
    found: dict[str, list[dict[str, Any]]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            body = _schema(operation.get("requestBody"))
            answer = _schema(operation["responses"]["200"])
            told = {
                "id": operation["operationId"],
                "method": method.upper(),
                "path": path,
                "summary": operation.get("summary", ""),
                "parameters": operation.get("parameters", []),
                "fields": list(_fields(body)),
                "example": None if body is None else json.dumps(example(body), ensure_ascii=False),
                "answer": list(_fields(answer)),
                "statuses": {one: told["description"] for one, told in operation["responses"].items() if one != "200"},
            }
            found.setdefault(operation["tags"][0], []).append(told)
    return found


def example(schema: Mapping[str, Any]) -> Any:
    """Give a value that a schema allows, as far as its plain constraints say."""
    given = next((schema[name] for name in ("example", "default", "const") if name in schema), None)
    if given is not None or "enum" in schema:
        return given if given is not None else schema["enum"][0]
    if "anyOf" in schema:
        return example(schema["anyOf"][0])
    kind = schema.get("type")
    if kind == "object":
        return {name: example(one) for name, one in schema.get("properties", {}).items()}
    if kind == "array":
        return [example(schema.get("items", {}))]
    return _INSTANT if schema.get("format") == "date-time" else _scalar(schema)


def _scalar(schema: Mapping[str, Any]) -> Any:
    found = _EXAMPLES.get(str(schema.get("type")))
    low = schema.get("minimum", schema.get("exclusiveMinimum"))
    bounded = low is not None and low > -_EXACT and isinstance(found, (int, float))
    return max(found, low + 1) if bounded else found


def _schema(content: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if not content or "application/json" not in content.get("content", {}):
        return None
    found: Mapping[str, Any] = content["content"]["application/json"]["schema"]
    return found


def _fields(schema: Mapping[str, Any] | None, prefix: str = "") -> Iterator[dict[str, Any]]:
    """Fields of an object, those within it by their path."""
    if schema is None:
        return
    if "anyOf" in schema and any("properties" in one for one in schema["anyOf"]):
        schema = schema["anyOf"][0]
    if schema.get("type") == "array":
        yield from _fields(schema.get("items"), prefix)
        return
    needed = schema.get("required", [])
    for name, one in schema.get("properties", {}).items():
        path = f"{prefix}{name}"
        yield {"name": path, "type": _type(one), "required": name in needed, "description": one.get("description", "")}
        if one.get("type") == "object":
            yield from _fields(one, f"{path}.")
        elif one.get("type") == "array":
            yield from _fields(one.get("items"), f"{path}[].")


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(one) for one in schema["anyOf"])
    if "enum" in schema:
        return "one of " + ", ".join(json.dumps(one) for one in schema["enum"])
    if isinstance(schema.get("additionalProperties"), Mapping):
        return f"object of {_type(schema['additionalProperties'])}"
    kind = "date-time" if schema.get("format") == "date-time" else str(schema.get("type", "any"))
    limits = [
        f"{sign} {_number(schema[name])}"
        for name, sign in (("minimum", "≥"), ("exclusiveMinimum", ">"), ("maximum", "≤"), ("exclusiveMaximum", "<"))
        if name in schema and abs(schema[name]) < _EXACT
    ]
    return " ".join([kind, *limits])


def _number(limit: float) -> float:
    return int(limit) if float(limit).is_integer() else limit
