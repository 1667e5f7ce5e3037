"""The end of a server, from the signal on."""

import asyncio
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from featurestore.server.application import _drain_first
from featurestore.server.options import Options
from featurestore.server.serving import Serving


def test_a_signal_writes_nothing_where_it_comes_in_and_the_end_follows(tmp_path: Path) -> None:
    """It may come in the middle of a line of the log, where a second one cannot be written: that would be an error."""
    told: list[str] = []
    stopped: list[int] = []

    def handle_exit(number: int, _frame: Any) -> None:  # as uvicorn calls its own
        stopped.append(number)

    async def ask() -> None:
        serving = SimpleNamespace(options=Options(project=str(tmp_path), drain_s=0.0), draining=False)
        _drain_first(cast("Serving", serving), lambda event, **_: told.append(event))
        os.kill(os.getpid(), signal.SIGTERM)
        assert (serving.draining, told) == (True, [])
        for _ in range(3):
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)

    before = {one: signal.signal(one, handle_exit) for one in (signal.SIGTERM, signal.SIGINT)}
    try:
        asyncio.run(ask())
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
    assert (told, stopped) == (["draining"], [signal.SIGTERM])
