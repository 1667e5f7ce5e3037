"""One call that proves of a user's own definitions: trained and served values are the same bytes, and by the rules."""

import math
import random
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis

from featurestore.definition import FeatureService
from featurestore.registry import Registry
from featurestore.testing.comparing import Expectation, Proof
from featurestore.testing.drawing import Columns
from featurestore.testing.feeding import fed
from featurestore.testing.trials import Trial, trials

_EXAMPLES = 25
_SHRINKING_S = 10.0


def same_bytes(
    definitions: Any,
    service: str | FeatureService,
    *,
    expected: Mapping[str, Expectation] | None = None,
    columns: Columns | None = None,
    examples: int = _EXAMPLES,
    seed: int | None = None,
    root: str | Path = ".",
) -> None:
    """Prove that a service's features are the same bytes in training sets and lookups, and what the rules say.

    Each example draws events of the service's sources, which take the place of their own data, and rows that ask; fills
    a store in a temporary folder in several goes (history, a later load, ingests; late, doubled, at the very edges);
    builds training sets at several positions; looks the rows up one by one and together, now and as of their instants.
    All of it is compared, bit for bit, with what each function gives for one window of one row alone, whose events
    plain loops have chosen by the rules of visibility, order, windows and duplicates.

    Parameters
    ----------
    definitions
        Module, folder, file or list of declarations, as for :class:`~featurestore.FeatureStore`.
    service
        Feature service, or its name.
    expected
        What outputs of window features should be, in plain Python: by name, a function of the window's events, a list
        of dicts in order (null is ``None``, datetimes are in UTC), and if it takes two parameters of ``as_of``. Sums
        are exact in a store: ``math.fsum`` agrees with them, ``sum`` does not always.
    columns
        Hypothesis strategies for columns, by ``"source.column"`` or ``"service.field"``, in place of what types and
        constraints tell.
    examples
        How many examples.
    seed
        Draws the same examples again; a failure tells it.
    root
        Folder of the project, where a relative path of definitions starts.

    Raises
    ------
    AssertionError
        If a value differs: of the smallest example that was found it names the feature, the row, its events, both
        values.
    DefinitionProblems
        If anything is wrong with the declarations.
    RequestError
        If there is no such output, or of a column no value can be made up.
    FeatureStoreError
        If a feature raises on an example: what it raises names it.

    Examples
    --------
    >>> from datetime import datetime
    >>> from pydantic import BaseModel
    >>> from featurestore import Entity, FeatureService, Source, feature
    >>> from featurestore.testing import same_bytes
    >>> class Visit(BaseModel):
    ...     who: str
    ...     event_time: datetime
    >>> visits = Source("visits", schema=Visit, event_time="event_time")
    >>> @feature(visits, by=Entity("visitor", key="who"), window="1d")
    ... def visits_1d(tx):
    ...     return tx.count()
    >>> same_bytes([FeatureService("site", features=[visits_1d])], "site", expected={"visits_1d": len}, examples=2)
    """
    registry = Registry.of(definitions, root=Path(root).resolve())
    found = registry.service(service if isinstance(service, str) else service.name)
    given = fed(registry, found)
    shrinking = _Shrinking(Proof(given, expected or {}))
    chosen = random.randrange(2**32) if seed is None else seed  # noqa: S311 - of examples, not of secrets

    @hypothesis.seed(chosen)
    @hypothesis.settings(
        max_examples=examples,
        deadline=None,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(trial=trials(given, columns or {}))
    def holds(trial: Trial) -> None:
        shrinking.tried(trial)

    __tracebackhide__ = True  # a failure is the test's own: pytest shows the line that asks
    try:
        holds()
    except (_Enough, Exception) as error:  # noqa: BLE001 - what a feature raises is a failure too
        ended = isinstance(error, (_Enough, hypothesis.errors.Flaky))  # or it is another value each time
        wrong = shrinking.smallest if ended else error
        wrong.add_note(f"Again with: seed={chosen}")
        raise wrong from None


class _Enough(BaseException):
    """A failing example has been made smaller for long enough."""


class _Shrinking:
    """A proof that ends some time after its first failure: making an example smaller fills a store for each try."""

    def __init__(self, proof: Proof) -> None:
        self.smallest: BaseException = AssertionError()
        self._proof = proof
        self._until = math.inf
        self._size = sys.maxsize

    def tried(self, trial: Trial) -> None:
        """Hold a trial, and keep what the smallest one that fails says."""
        if time.monotonic() > self._until:
            raise _Enough
        try:
            self._proof.hold(trial)
        except Exception as error:
            self._until = min(self._until, time.monotonic() + _SHRINKING_S)
            if trial.size < self._size:
                self._size, self.smallest = trial.size, error
            raise
