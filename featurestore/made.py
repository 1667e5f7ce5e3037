"""What ``evaluate`` has made: values by name, cut into the windows of a family when one of them is asked for."""

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from featurestore.values import Values


class Made(Mapping[str, Values]):
    """Values by name, shape ``(rows,)``; of several windows of a feature, shape ``(windows * rows,)``, each its own.

    It has the names of ``outputs``, in their order. Others that were ``given`` or added can be asked for as well.
    """

    __slots__ = ("_added", "_found", "_given", "_known", "_outputs")

    def __init__(self, given: Mapping[str, Values], outputs: tuple[str, ...]) -> None:
        self._given, self._outputs = given, outputs
        self._added: list[tuple[tuple[str, ...], Values]] = []
        self._found: dict[str, tuple[tuple[str, ...], Values]] = {}  # of so many of them as were known by then
        self._known = 0

    def add(self, names: tuple[str, ...], values: Values) -> None:
        """Add what was made at once for these names, one after another."""
        self._added.append((names, values))

    def rows(self) -> list[dict[str, Any]]:
        """Python scalars of each row by name, null as ``None``, of one output or more, all of them added."""
        added = self._added
        made = tuple(chain.from_iterable([names for names, _ in added]))
        if len(made) > len(self._outputs):  # what others are made of
            added = [one for one in added if not set(self._outputs).isdisjoint(one[0])]
            made = tuple(chain.from_iterable([names for names, _ in added]))
        found: list[Any] = []  # of each name a list; of the only row its value itself
        rows = 0
        for names, values in added:
            items = values.to_list()
            rows = len(items) // len(names)
            found += items if rows == 1 else [items[part * rows : (part + 1) * rows] for part in range(len(names))]
        named = dict(zip(made, found, strict=True))
        if made != self._outputs:
            named = {name: named[name] for name in self._outputs}
        if rows == 1:
            return [named]
        return [dict(zip(named, row, strict=True)) for row in zip(*named.values(), strict=True)]

    def __getitem__(self, name: str) -> Values:
        """Values of a name."""
        if self._known < len(self._added):
            self._found.update((of, one) for one in self._added[self._known :] for of in one[0])
            self._known = len(self._added)
        found = self._found.get(name)
        if found is None:
            return self._given[name]
        names, values = found
        if len(names) == 1:
            return values
        rows, part = len(values) // len(names), names.index(name)
        return values.take(slice(part * rows, (part + 1) * rows))

    def __iter__(self) -> Iterator[str]:
        """Outputs in order."""
        return iter(self._outputs)

    def __len__(self) -> int:
        """Outputs."""
        return len(self._outputs)
