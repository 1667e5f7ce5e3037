"""What ``evaluate`` has made: values by name, cut into the windows of a family when one of them is asked for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from featurestore.values import Values


class Made(Mapping[str, Values]):
    """Values by name, shape ``(rows,)``; of several windows of a feature, shape ``(windows * rows,)``, each its own."""

    __slots__ = ("_held",)

    def __init__(self, given: Mapping[str, Values]) -> None:
        self._held: dict[str, tuple[Values, int, int]] = {name: (values, 0, 1) for name, values in given.items()}

    def add(self, names: Sequence[str], values: Values) -> None:
        """Add what was made at once for these names, one after another."""
        many = len(names)
        for part, name in enumerate(names):
            self._held[name] = (values, part, many)

    def only(self, names: Sequence[str]) -> "Made":
        """Return those of these names, in their order."""
        chosen = Made({})
        chosen._held = {name: self._held[name] for name in names}
        return chosen

    def rows(self) -> list[dict[str, Any]]:
        """Python scalars of each row by name, null as ``None``; there must be a name."""
        columns: dict[str, list[Any]] = {}
        alone: dict[str, Any] = {}  # of a row that is the only one
        given, items = None, []
        for name, (values, part, windows) in self._held.items():
            if values is not given:
                given, items = values, values.to_list()
            if len(items) == windows:
                alone[name] = items[part]
            else:
                rows = len(items) // windows
                columns[name] = items[part * rows : (part + 1) * rows]
        if alone:
            return [alone]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def __getitem__(self, name: str) -> Values:
        """Values of a name."""
        values, part, many = self._held[name]
        if many == 1:
            return values
        rows = len(values) // many
        return values.take(slice(part * rows, (part + 1) * rows))

    def __iter__(self) -> Iterator[str]:
        """Names in order."""
        return iter(self._held)

    def __len__(self) -> int:
        """Names."""
        return len(self._held)
