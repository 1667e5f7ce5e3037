"""Threads of the server: so many calls at once, so many waiting, and the next is refused at once."""

import asyncio
import threading

import pytest

from featurestore.errors import StoreBusy
from featurestore.server.threads import Threads


def test_a_call_gives_its_result_or_its_error() -> None:
    threads = Threads(1)
    assert asyncio.run(threads.run(lambda: 1 + 1)) == 2
    with pytest.raises(ZeroDivisionError):
        asyncio.run(threads.run(lambda: 1 // 0))
    threads.close()


def test_who_comes_when_too_many_wait_is_refused_and_later_let_in() -> None:
    async def crowd() -> None:
        threads, gate = Threads(1), threading.Event()
        waiting = [asyncio.create_task(threads.run(gate.wait)) for _ in range(17)]
        await asyncio.sleep(0)
        with pytest.raises(StoreBusy, match="17 calls"):
            await threads.run(gate.wait)
        gate.set()
        assert await asyncio.gather(*waiting) == [True] * 17
        assert await threads.run(gate.wait) is True
        threads.close()

    asyncio.run(crowd())
