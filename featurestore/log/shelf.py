"""Row groups that several reads look at: each is read once, and held until the last of them has looked at it."""

from collections import Counter
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future
from threading import Lock

import pyarrow as pa


class Shelf:
    """Tables by what they are of; threads may take from it at once.

    Parameters
    ----------
    looks
        How many reads will look at each; what is not named is read whenever it is asked for.
    """

    def __init__(self, looks: Mapping[Hashable, int]) -> None:
        self._looks = Counter(looks)
        self._held: dict[Hashable, Future[pa.Table]] = {}
        self._taking = Lock()

    def take(self, of: Hashable, read: Callable[[], pa.Table]) -> pa.Table:
        """Table that is held, or that ``read`` gives; another thread that asks meanwhile waits for it."""
        with self._taking:
            held = self._held.get(of)
            found: Future[pa.Table] = Future() if held is None else held
            self._looks[of] -= 1
            if self._looks[of] > 0:
                self._held[of] = found
            else:
                self._held.pop(of, None)
        if held is None:
            try:
                found.set_result(read())
            except BaseException as error:  # noqa: BLE001 - raised below, and to those that wait
                found.set_exception(error)
        return found.result()
