"""A project whose words and values try to break out of a page, its server, and a reader of pages."""

import contextlib
import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from served import Running, running, write_project
from sklearn.linear_model import LogisticRegression

from featurestore import FeatureStore, times

EVIL = """<script>alert("1")</script>'"><img src=x onerror=alert(2)>{{ 7 * 7 }}"""
DEFINITIONS = '''
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from featurestore import Entity, FeatureService, Source, feature


class Payment(BaseModel):
    """Payments. EVIL"""

    id: str
    customer: str | None
    event_time: datetime
    amount: float | None = Field(ge=0)
    note: str | None = None


class Asked(BaseModel):
    amount: float = Field(ge=0, le=1e6, description="EVIL")
    units: int = 1
    channel: Literal["web", "app"]
    urgent: bool = False
    due: datetime | None = None


customer = Entity("customer", key="customer")
payments = Source("payments", schema=Payment, event_time="event_time", key="id")


@feature(payments, by=customer, windows=["1d", "30d"])
def spent(tx):
    """Money spent. EVIL"""
    return tx.amount.sum()  # EVIL


@feature(payments, by=customer, window="30d")
def last_note(tx):
    return tx.note.last()


@feature(payments, by=customer, window="30d", offset="1d")
def payments_made(tx):
    """How many payments."""
    return tx.count()


@feature(payments, by=customer, window="30d")
def notes(tx):
    return tx.note.value_counts()


@feature
def share(amount: float, spent_30d: float) -> float | None:
    """This payment against the month's."""
    return amount / spent_30d if spent_30d else None


@feature
def asked_for(units: int, urgent: bool, due: datetime | None, channel: str) -> str:
    return f"{units} {urgent} {due} {channel}"


fraud = FeatureService("fraud", features=[spent, last_note, payments_made, notes, share, asked_for], request=Asked)
'''
AT = "2026-03-01T00:00:00Z"
ROW: dict[str, Any] = {"customer": EVIL, "amount": 12.5, "channel": "web"}
_VOID = {"meta", "link", "input", "img", "br"}
_NEVER = {"script", "style", "iframe", "object", "embed", "base"}


def payment(number: int, days: float, amount: float | None = 1.5, note: str | None = EVIL) -> dict[str, Any]:
    """A payment of the evil customer, so many days before ``AT``."""
    at = times.isoformat(times.to_micros(AT) - int(days * 86_400_000_000))
    return {"id": f"p{number}", "customer": EVIL, "event_time": at, "amount": amount, "note": note}


# Known when they happened, but for `late`; three outside the month before AT, one of them exactly at its end.
IN_TIME = [payment(1, 31), payment(2, 30), payment(3, 12, None), payment(4, 0.5, 40.0), payment(5, 0), payment(6, -3)]
LATE = payment(7, 2)


class Told:
    """The time that a store of the past is told."""

    def __init__(self, now: str) -> None:
        self.micros = times.to_micros(now)

    def __call__(self) -> int:
        return self.micros


@contextlib.contextmanager
def site(folder: Path, **options: Any) -> Iterator[Running]:
    """A server of the evil project: events, a model, two applies, and a change that is not applied."""
    definitions = write_project(folder) / "definitions" / "payments.py"
    written = DEFINITIONS.replace("EVIL", EVIL.replace('"', '\\"'))
    clock = Told(AT)
    definitions.write_text(written)
    with FeatureStore.open(folder, clock=clock) as store:
        store.apply()
        for one in IN_TIME:
            clock.micros = times.to_micros(one["event_time"])
            store.ingest("payments", one)
        store.ingest("payments", LATE)
    definitions.write_text(written.replace("return tx.amount.sum()", "return tx.amount.sum() + 0.0"))
    with FeatureStore.open(folder, clock=clock) as store:
        store.apply()
        spine = [
            {**ROW, "event_time": f"2026-02-28T{number:02}:00:00Z", "amount": float(number), "fraud": number % 2 == 0}
            for number in range(10)
        ]
        made = store.training_set("fraud", spine, name="train")
        store.train("risk", made, LogisticRegression(), label="fraud", cv=2, features=["spent_1d", "payments_made"])
    definitions.write_text(written.replace("return tx.amount.sum()", "return tx.amount.sum() + 1.0"))
    with running(folder, **options) as server:
        yield server


def query(row: dict[str, Any], **others: str) -> str:
    """Path and query of a form that was sent."""
    return "/ui/services/fraud?" + urlencode({"asked": "1", **{f"row.{name}": row[name] for name in row}, **others})


class Page(HTMLParser):
    """A page as it is read: its text, links, table rows, marks, fields. Refuses what a page must not hold."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.links: list[str] = []
        self.marks: list[str] = []
        self.rows: list[list[str]] = []
        self.fields: dict[str, dict[str, str | None]] = {}
        self.ids: list[str] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == [], "an element is left open"
        assert len(set(self.ids)) == len(self.ids), "an id is given twice"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag not in _NEVER, tag
        assert not [name for name in given if name.startswith("on") or name == "style"], given
        if tag not in _VOID:
            self._open.append(tag)
        if "id" in given:
            self.ids.append(str(given["id"]))
        if tag in {"a", "link"}:
            self.links.append(str(given["href"]))
        if tag == "svg" and "x" in given:
            self.marks.append(str(given["class"]))
        if tag in {"input", "select"}:
            self.fields[str(given["name"])] = given
        if tag == "tr":
            self.rows.append([])
        if tag in {"td", "th"}:
            self.rows[-1].append("")

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in _VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data


def written(text: str) -> Any:
    """The value that a cell shows: JSON, or a line for each key of a map."""
    lines = [line.strip().rpartition(" = ") for line in text.strip().splitlines()]
    return json.loads(text) if lines[0][1] == "" else {key: json.loads(one) for key, _, one in lines if key}
