"""How many requests a key may make: so many a second, counted by each worker for itself."""

import time
from collections.abc import Callable

from featurestore.apikeys import ApiKey


class Rates:
    """A bucket for each key that has a rate, full at first: a second's requests, which come back at that rate."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._free_at: dict[str, float] = {}

    def wait(self, key: ApiKey) -> float:
        """Seconds until the key may ask again; 0 if it may now, and then this counts as one request."""
        if key.rate is None:
            return 0.0
        now, apart = self._clock(), 1 / key.rate
        free_at = max(self._free_at.get(key.id, now), now)
        over = free_at - now - max(0.0, 1.0 - apart)
        if over > 0:
            return over
        self._free_at[key.id] = free_at + apart
        return 0.0
