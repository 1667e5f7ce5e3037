"""Work on parts of arrays: in order, by those that help, and by nobody else."""

import math
from concurrent.futures import ThreadPoolExecutor
from threading import get_ident

import numpy as np
import pytest

from featurestore import exact, parallel


def test_parts_are_taken_by_the_threads_that_help_and_come_back_in_order() -> None:
    def who(part: slice) -> tuple[int, int]:
        return part.start, get_ident()

    cut = parallel.slices(10, 4)
    assert cut == [slice(0, 4), slice(4, 8), slice(8, 10)]
    with ThreadPoolExecutor(1) as threads, parallel.helped(threads.map):
        helped = parallel.each(who, cut)
    assert [start for start, _ in helped] == [0, 4, 8]
    assert get_ident() not in {thread for _, thread in helped}
    assert {thread for _, thread in parallel.each(who, cut)} == {get_ident()}


def test_a_thread_that_helps_is_not_helped_so_that_none_waits_for_itself() -> None:
    def both(part: int) -> list[int]:
        return parallel.each(lambda one: 10 * part + one, range(2))

    with ThreadPoolExecutor(1) as threads, parallel.helped(threads.map):
        assert parallel.each(both, range(2)) == [[0, 1], [10, 11]]


def test_an_error_of_a_part_reaches_who_asked_for_it() -> None:
    with ThreadPoolExecutor(2) as threads, parallel.helped(threads.map), pytest.raises(ZeroDivisionError):
        parallel.each(lambda one: 1 // one, [1, 0])


def test_prefix_sums_are_the_same_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    values, edges = [0.1 * one * (-1) ** one for one in range(20)], np.arange(21)
    monkeypatch.setattr(exact, "_PREFIX_PART", 6)
    monkeypatch.setattr(exact, "_PREFIX_CHUNK", 4)
    with ThreadPoolExecutor(2) as threads, parallel.helped(threads.map):
        sums = exact.ExactSums(np.array(values)).rounded(edges, np.full(21, 20))
    assert sums.tolist() == [math.fsum(values[start:]) for start in range(21)]
