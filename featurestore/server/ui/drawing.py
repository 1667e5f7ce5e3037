"""Templates to answers: escaped, strict about names, under a policy that lets in this origin's own style and images."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import jinja2
from starlette.responses import Response

from featurestore import times
from featurestore.server import answers
from featurestore.server.edge import POLICY

_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_FILES = {"style.css": "text/css", "icon.svg": "image/svg+xml"}
_SHORT = 12  # characters of a fingerprint that a person compares


class Pages:
    """Draws pages."""

    def __init__(self) -> None:
        loader = jinja2.PackageLoader("featurestore.server.ui", "templates")
        self._found = jinja2.Environment(
            loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
        )
        self._found.filters |= {"instant": instant, "literal": literal, "short": lambda text: text[:_SHORT]}
        self._files = {name: loader.get_source(self._found, name)[0] for name in _FILES}

    def page(self, template: str, facts: Mapping[str, Any], status: int = 200) -> Response:
        """Answer with a page."""
        drawn = self._found.get_template(f"{template}.html").render(facts)
        return Response(drawn, status, {POLICY[0].decode(): _POLICY}, "text/html")

    def file(self, name: str) -> Response:
        """Answer with a file that pages use."""
        return Response(self._files[name], media_type=_FILES[name], headers={POLICY[0].decode(): _POLICY})


def literal(value: Any) -> str:
    """Write a value as JSON has it: what ``POST /features`` answers."""
    return answers.dumps(value).decode()


def instant(moment: datetime | str | int) -> str:
    """Write an instant to be read: UTC, without a fraction of zero.

    Examples
    --------
    >>> instant("2026-01-31T12:00:00Z"), instant(1)
    ('2026-01-31 12:00:00', '1970-01-01 00:00:00.000001')
    """
    return times.isoformat(times.to_micros(moment)).replace("T", " ").removesuffix("Z").removesuffix(".000000")
