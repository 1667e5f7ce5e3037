"""A verification as one HTML file that needs nothing else."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from html import escape
from typing import Any

from featurestore import times
from featurestore.explain import Event
from featurestore.verify.late import Late
from featurestore.verify.verification import EXPLAINED, Difference, Verification

_STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: 1rem 0; display: block; overflow-x: auto; }
th, td { border: 1px solid color-mix(in srgb, currentColor 25%, transparent); padding: .3rem .6rem; text-align: left; }
th { font-weight: 600; } td { font-variant-numeric: tabular-nums; }
.good { color: light-dark(#14622d, #7ddb98); } .bad { color: light-dark(#a11, #ff9a9a); }
"""


def page(found: Verification | Late) -> str:
    """Give the whole page; everything that comes from data is escaped."""
    body = _late(found) if isinstance(found, Late) else _verification(found)
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{escape(found.subject)}</title><style>{_STYLE}</style></head><body>{body}</body></html>\n"
    )


def _verification(found: Verification) -> str:
    good = not found.unexplained
    said = "Every value is the same bytes." if not found.differing else f"{found.differing:,} rows differ."
    if found.differing:
        said += " All are explained." if good else f" {found.unexplained:,} for no reason that could be found."
    counts = [("rows compared", f"{found.rows:,}"), ("values", f"{found.values:,}"), ("seconds", f"{found.seconds:g}")]
    parts = [
        f"<h1>{escape(found.subject)}</h1><p class={'good' if good else 'bad'}><strong>{said}</strong></p>",
        _table(("", ""), counts),
        _counted("Not compared", "reason", found.skipped),
        _counted("Why rows differ", "cause", found.causes),
        _counted("Values that differ", "feature", found.features),
        *(_difference(one) for one in found.differences),
    ]
    return "".join(parts)


def _late(found: Late) -> str:
    rows = [
        (
            name,
            f"{one.rows:,}",
            one.mean,
            one.largest,
            one.appeared,
            one.vanished,
            f"row {one.row}: {one.then} to {one.now}",
        )
        for name, one in found.features.items()
    ]
    names = ("feature", "rows", "mean change", "largest", "was null", "is null", "most")
    return (
        f"<h1>{escape(found.subject)}</h1><p><strong>{found.moved_rows:,} of {found.rows:,} rows have other values by "
        f"what is known today.</strong></p>{_table(names, rows) if rows else ''}"
    )


def _difference(one: Difference) -> str:
    cause = "good" if one.cause in EXPLAINED else "bad"
    asked = [(name, value) for name, value in one.inputs.items()]
    told = [
        *asked,
        ("as_of", one.as_of),
        ("position", one.position),
        ("then", one.then),
        ("now", one.now),
        ("first differing value", one.step or one.feature),
        ("events that both saw", one.shared),
    ]
    return (
        f"<h2>Row {one.row}: {escape(one.feature)}</h2><p class={cause}><strong>{escape(one.cause)}</strong>: "
        f"{escape(one.detail)}</p>{_table(('', ''), told)}"
        f"{_events('Seen then alone', one.only_then)}{_events('Seen now alone', one.only_now)}"
    )


def _events(title: str, events: Iterable[Event]) -> str:
    listed = list(events)
    if not listed:
        return ""
    columns = list(listed[0].columns)
    rows = [(one.event_time, one.known_at, *one.columns.values()) for one in listed]
    return f"<h3>{title}</h3>{_table(('event_time', 'known_at', *columns), rows)}"


def _counted(title: str, name: str, counts: Mapping[Any, int]) -> str:
    if not counts:
        return ""
    rows = sorted(counts.items(), key=lambda one: -one[1])
    return f"<h2>{title}</h2>{_table((name, 'number'), [(what, f'{count:,}') for what, count in rows])}"


def _table(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    listed = list(names)
    head = f"<tr>{''.join(f'<th scope=col>{escape(name)}</th>' for name in listed)}</tr>" if any(listed) else ""
    body = "".join(f"<tr>{''.join(f'<td>{escape(_shown(value))}</td>' for value in row)}</tr>" for row in rows)
    return f"<table>{head}{body}</table>"


def _shown(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, datetime):
        return times.isoformat(times.to_micros(value))
    return value if isinstance(value, str) else repr(value)
