"""Rates of keys: a second's requests at once, then as many as come back."""

from featurestore.apikeys import ApiKey
from featurestore.server.rates import Rates


def key(rate: float | None, name: str = "a") -> ApiKey:
    return ApiKey(name, name, ("read",), "", 0, rate=rate)


def test_a_second_of_requests_goes_at_once_and_comes_back_at_the_rate() -> None:
    now = [100.0]
    rates = Rates(lambda: now[0])
    assert [rates.wait(key(4)) for _ in range(4)] == [0.0] * 4
    assert rates.wait(key(4)) == 0.25
    now[0] += 0.25
    assert [rates.wait(key(4)) for _ in range(2)] == [0.0, 0.25]
    now[0] += 100.0
    assert [rates.wait(key(4)) > 0 for _ in range(6)] == [False] * 4 + [True] * 2


def test_a_rate_below_one_lets_one_request_through_at_a_time() -> None:
    now = [0.0]
    rates = Rates(lambda: now[0])
    assert [rates.wait(key(0.5)), rates.wait(key(0.5))] == [0.0, 2.0]
    now[0] = 1.5
    assert rates.wait(key(0.5)) == 0.5
    now[0] = 2.0
    assert rates.wait(key(0.5)) == 0.0


def test_keys_wait_for_themselves_alone() -> None:
    rates = Rates(lambda: 0.0)
    assert [rates.wait(key(1, name)) for name in ("a", "b", "a", "b")] == [0.0, 0.0, 1.0, 1.0]
    assert [rates.wait(key(None, "c")) for _ in range(1000)] == [0.0] * 1000
