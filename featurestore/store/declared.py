"""Definitions: checked, compared with what was applied, applied."""

from collections.abc import Sequence
from pathlib import Path

from featurestore import (
    trials,
)
from featurestore.applied import Change
from featurestore.errors import (
    DefinitionProblems,
)
from featurestore.store.home import Home
from featurestore.trials import Checked


class Declared(Home):
    """Definitions: checked, compared with what was applied, applied."""

    def check(self, *, quick: bool = False) -> Checked:
        """Ask the features of every service for the same rows in many ways: all must give the same bits (S14).

        Whole, one by one, in another order, beside other rows, and, where the definitions are files, in another
        process; on made-up events of the sources' schemas, and on some of those that are loaded. A second or two per
        service; ``quick`` leaves it out: that the declarations are right together was checked when the store opened.

        Raises
        ------
        DefinitionProblems
            If a feature gives another value, or raises: it names the feature, how it was asked, the row, both values.
        """
        asked = () if quick else self._plans.values()
        files = self.root / self._definitions if isinstance(self._definitions, (str, Path)) else None
        log = self.log if self.home.is_dir() else None
        problems, checked = trials.check(asked, log, None if quick else files, self.root)
        if problems:
            raise DefinitionProblems(tuple(problems))
        return checked

    def plan(self) -> Sequence[Change]:
        """What has changed in the declarations since they were applied, feature by feature with the difference."""
        return self.applied.plan(self.registry.facts())

    def apply(self) -> int:
        """Record the declarations; gives the number of the recording."""
        return self.applied.apply(self.registry.facts(), at=self.now())
