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


def test_a_call_takes_so_many_small_requests_and_so_many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_FEW", 1)
    monkeypatch.setattr(intake, "_AT_ONCE", 2)
    monkeypatch.setattr(intake, "_ROWS", 6)
    taker = Taker()
    small, large = [["a"], ["b"], ["c"]], [[*"defgh"], [*"ij"], [*"kl"], [*"mn"]]
    told = outcomes(taker, [*small, *large])
    assert taker.calls == [[["a"], ["b"], [*"defgh"]], [["c"], [*"ij"], [*"kl"]], [[*"mn"]]]
    assert [one.rows for one in told] == [1, 1, 1, 5, 2, 2, 2]


def test_what_fails_fails_for_all_in_it() -> None:
    told = outcomes(Taker(), [["a"], ["worse"]])
    assert [type(one) for one in told] == [OSError, OSError]


def test_who_comes_when_many_large_ones_wait_is_told_to_come_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_FEW", 1)
    monkeypatch.setattr(intake, "_LARGE", 2)
    taker = Taker()
    told = outcomes(taker, [["a", "b"], ["c", "d"], ["e", "f"], ["g"]])
    assert isinstance(told[2], StoreBusy)
    assert [told[place].rows for place in (0, 1, 3)] == [2, 2, 1]
    assert taker.calls == [[["g"], ["a", "b"], ["c", "d"]]]


def test_a_pool_that_is_full_does_not_refuse_what_was_let_in() -> None:
    async def ask() -> int:
        threads, hold = Threads(1), threading.Event()
        busy = [asyncio.create_task(threads.run(hold.wait)) for _ in range(17)]
        await asyncio.sleep(0)
        with pytest.raises(StoreBusy):
            await threads.run(hold.wait)
        taker = Taker()
        taker.go_on.set()
        own = asyncio.create_task(Intake(threads, taker).take(["a"]))
        await asyncio.sleep(0)
        hold.set()
        told = await own
        await asyncio.gather(*busy)
        threads.close()
        return told.rows

    assert asyncio.run(ask()) == 1


def test_what_its_caller_has_given_up_is_not_taken() -> None:
    async def give_up() -> list[list[list[Any]]]:
        taker, threads = Taker(), Threads(1)
        own = Intake(threads, taker)
        asked = [asyncio.create_task(own.take(rows)) for rows in (["a"], ["b"], ["c"] * 100, ["d"])]
        assert await asyncio.to_thread(taker.begun.wait, 60)
        late = [asyncio.create_task(own.take(rows)) for rows in (["e"], ["f"] * 100, ["g"])]
        await asyncio.sleep(0)
        for one in late[:2]:
            one.cancel()
        await asyncio.sleep(0)
        taker.go_on.set()
        await asyncio.gather(*asked, late[2])
        threads.close()
        return taker.calls[1:]

    assert asyncio.run(give_up()) == [[["g"]]]


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
