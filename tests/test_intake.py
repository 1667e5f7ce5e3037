"""Events that wait while others are taken: one call for all of them, and each request its own outcome."""

import asyncio
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from featurestore.errors import InvalidRows, StoreBusy
from featurestore.ingest import Ingested
from featurestore.server import intake
from featurestore.server.intake import Intake
from featurestore.server.threads import Threads


class Taker:
    """Takes rows when it is let; refuses those of the request ``["bad"]``, fails at ``["worse"]``."""

    def __init__(self) -> None:
        self.calls: list[list[list[Any]]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def __call__(self, requests: Sequence[list[Any]]) -> list[Ingested | Exception]:
        self.calls.append(list(requests))
        self.begun.set()
        assert self.go_on.wait(60)
        if ["worse"] in requests:
            raise OSError("the disk")
        return [InvalidRows("bad") if rows == ["bad"] else Ingested(len(rows), 0, 1, 1) for rows in requests]


def outcomes(taker: Taker, requests: Sequence[list[Any]]) -> list[Any]:
    """What is told to who asks one after the other, while the first of them is being taken."""

    async def ask() -> list[Any]:
        threads = Threads(1)
        own = Intake(threads, taker)
        asked = [asyncio.create_task(own.take(rows)) for rows in requests]
        assert await asyncio.to_thread(taker.begun.wait, 60)
        taker.go_on.set()
        told = await asyncio.gather(*asked, return_exceptions=True)
        threads.close()
        return told

    return asyncio.run(ask())


def test_what_waits_is_taken_together_and_each_is_told_its_own() -> None:
    taker = Taker()
    told = outcomes(taker, [["a"], ["b", "c"], ["bad"], []])
    assert taker.calls == [[["a"], ["b", "c"], ["bad"], []]]
    assert [getattr(one, "rows", type(one)) for one in told] == [1, 2, InvalidRows, 0]


def test_a_call_takes_no_more_than_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_ROWS", 2)
    taker = Taker()
    outcomes(taker, [["a"], ["b"], ["c"], ["d", "e", "f"], ["g"]])
    assert taker.calls == [[["a"], ["b"]], [["c"]], [["d", "e", "f"]], [["g"]]]


def test_what_fails_fails_for_all_in_it() -> None:
    told = outcomes(Taker(), [["a"], ["worse"]])
    assert [type(one) for one in told] == [OSError, OSError]


def test_who_comes_when_many_rows_wait_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_WAITING", 3)
    taker = Taker()
    told = outcomes(taker, [["a"], ["b", "c"], ["d"]])
    assert [one.rows for one in told[:2]] == [1, 2]
    assert isinstance(told[2], StoreBusy)
    assert taker.calls == [[["a"], ["b", "c"]]]


def test_what_was_taken_waits_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_WAITING", 1)
    taker = Taker()
    taker.go_on.set()

    async def ask() -> list[Ingested]:
        threads = Threads(1)
        own = Intake(threads, taker)
        told = [await own.take([name]) for name in "abc"]
        threads.close()
        return told

    assert [one.rows for one in asyncio.run(ask())] == [1, 1, 1]


def test_who_gives_up_leaves_the_others_alone() -> None:
    async def give_up() -> Any:
        taker, threads = Taker(), Threads(1)
        own = Intake(threads, taker)
        first, second = (asyncio.create_task(own.take([name])) for name in "ab")
        assert await asyncio.to_thread(taker.begun.wait, 60)
        first.cancel()
        await asyncio.sleep(0)
        taker.go_on.set()
        told = await second
        threads.close()
        return told

    assert asyncio.run(give_up()).rows == 1
