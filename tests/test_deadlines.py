"""One timer for the deadlines of all requests: each ends in its own time, and what ends otherwise is left alone."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
import uvloop

from featurestore.server.deadlines import Deadlines

LONG = 60.0
Work = Callable[[Deadlines], Awaitable[None]]
Within = Callable[[float, Work], None]


@pytest.fixture(params=["asyncio", "uvloop"])
def within(request: pytest.FixtureRequest) -> Within:
    """Run work that has so long at first, on a loop of each kind."""
    loops = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}

    def run(seconds: float, work: Work) -> None:
        deadlines = Deadlines()
        with asyncio.Runner(loop_factory=loops[request.param]) as runner:
            runner.run(asyncio.wait_for(_run(deadlines, seconds, work), LONG))

    return run


async def _run(deadlines: Deadlines, seconds: float, work: Work) -> None:
    await deadlines.within(seconds, work(deadlines))


async def for_ever(_: Deadlines) -> None:
    await asyncio.Event().wait()


def test_what_takes_too_long_is_cancelled(within: Within) -> None:
    with pytest.raises(TimeoutError):
        within(0.01, for_ever)


def test_a_deadline_can_be_put_off_and_drawn_near(within: Within) -> None:
    async def put_off(deadlines: Deadlines) -> None:
        deadlines.move(LONG)
        await asyncio.sleep(0.05)

    async def drawn_near(deadlines: Deadlines) -> None:
        deadlines.move(0.01)
        await for_ever(deadlines)

    within(0.01, put_off)
    with pytest.raises(TimeoutError):
        within(LONG, drawn_near)


def test_each_of_several_has_its_own(within: Within) -> None:
    async def several(deadlines: Deadlines) -> None:
        ended: list[float] = []

        async def one(seconds: float) -> None:
            with pytest.raises(TimeoutError):
                await deadlines.within(seconds, for_ever(deadlines))
            ended.append(seconds)

        await asyncio.gather(*(one(seconds) for seconds in (0.06, 0.02, 0.1, 0.04)))
        assert ended == [0.02, 0.04, 0.06, 0.1]

    within(LONG, several)


def test_who_is_cancelled_by_another_is_not_told_of_a_deadline(within: Within) -> None:
    async def cancelled(deadlines: Deadlines) -> None:
        task = asyncio.create_task(_run(deadlines, LONG, for_ever))
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    within(LONG, cancelled)


def test_who_is_cancelled_by_both_is_cancelled(within: Within) -> None:
    async def both(deadlines: Deadlines) -> None:
        async def hold(_: Deadlines) -> None:
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_soon(task.cancel)
            deadlines.move(-1.0)  # which is seen in the same turn of the loop
            await asyncio.sleep(0.05)

        task = asyncio.create_task(_run(deadlines, LONG, hold))
        with pytest.raises(asyncio.CancelledError):
            await task

    within(LONG, both)


def test_a_task_that_was_cut_off_can_go_on(within: Within) -> None:
    async def twice(deadlines: Deadlines) -> None:
        with pytest.raises(TimeoutError):
            await deadlines.within(0.01, for_ever(deadlines))
        await asyncio.sleep(0)
        with pytest.raises(TimeoutError):
            await deadlines.within(0.01, for_ever(deadlines))

    async def own(deadlines: Deadlines) -> None:
        await asyncio.create_task(twice(deadlines))

    within(LONG, own)


def test_what_ends_in_time_gives_its_own_error(within: Within) -> None:
    async def fail(_: Deadlines) -> None:
        await asyncio.sleep(0)
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        within(LONG, fail)


def test_what_is_late_at_once_disturbs_nobody(within: Within) -> None:
    async def others(deadlines: Deadlines) -> None:
        async def one(seconds: float) -> None:
            await deadlines.within(seconds, asyncio.sleep(0.01))

        told = await asyncio.gather(
            *(one(seconds) for seconds in (0.0, LONG, -1.0, LONG, 0.0001)), return_exceptions=True
        )
        assert [type(of) for of in told] == [TimeoutError, type(None), TimeoutError, type(None), TimeoutError]

    within(LONG, others)


def test_a_loop_that_has_ended_leaves_no_timer_to_wait_for() -> None:
    deadlines = Deadlines()

    async def soon() -> None:
        await deadlines.within(0.5, asyncio.sleep(0))

    async def cut_off() -> None:
        with pytest.raises(TimeoutError):
            await deadlines.within(0.7, for_ever(deadlines))

    asyncio.run(asyncio.wait_for(soon(), LONG))
    asyncio.run(asyncio.wait_for(cut_off(), LONG))
