"""Columns of a training set, filled part by part in the order of its rows: what is held is each value once."""

from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any

import numpy as np

from featurestore.events import IntArray
from featurestore.values import DTYPES, Kind, Values, compacted, concatenate, sorted_names

Array = np.ndarray[Any, Any]
Empty = Callable[[int, Any], Array]
"""Makes an array of so many values of a type."""


def on_disk(folder: Path | None) -> Empty:
    """Arrays in files of a folder, gone when the arrays are: the system keeps in memory what it has room for."""

    def empty(rows: int, dtype: Any) -> Array:
        with TemporaryFile(dir=folder) as file:
            return np.memmap(file, dtype, "w+", shape=(rows,))

    return empty


class Results(Mapping[str, Values]):
    """Values of so many rows by name; threads may put parts at once, no row twice."""

    def __init__(self, rows: int, empty: Empty = np.empty) -> None:
        self._rows, self._empty = rows, empty
        self._columns: dict[str, _Column | _Maps] = {}
        self._adding = Lock()

    def put(self, name: str, rows: IntArray, values: Values) -> None:
        """Put the values of some rows."""
        with self._adding:
            if name not in self._columns:
                self._columns[name] = self._column(values)
        self._columns[name].put(rows, values)

    def __getitem__(self, name: str) -> Values:
        """Values of all rows; nothing is put any more."""
        return self._columns[name].values()

    def _column(self, values: Values) -> "_Column | _Maps":
        if values.entries is not None:
            return _Maps()
        make = _Texts if values.kind == "str" else _Column
        return make(values.kind, self._rows, self._empty)

    def __iter__(self) -> Any:
        """Names."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Names."""
        return len(self._columns)


class _Column:
    """Values of one name."""

    def __init__(self, kind: Kind, rows: int, empty: Empty) -> None:
        self._kind, self._rows, self._empty = kind, rows, empty
        self._data = empty(rows, DTYPES[kind])
        self._valid: Array | None = None
        self._adding = Lock()

    def put(self, rows: IntArray, values: Values) -> None:
        """Put the values of some rows."""
        self._data[rows] = values.data
        self._see(rows, values)

    def values(self) -> Values:
        """Values of all rows."""
        return Values(self._kind, self._data, self._valid)

    def _see(self, rows: IntArray, values: Values) -> None:
        """Put which of the values are there."""
        if values.valid is None:
            return
        with self._adding:
            if self._valid is None:
                self._valid = self._empty(self._rows, np.bool_)
                self._valid[:] = True
        self._valid[rows] = values.valid


class _Texts(_Column):
    """Texts: each part has categories of its own."""

    def __init__(self, kind: Kind, rows: int, empty: Empty) -> None:
        super().__init__(kind, rows, empty)
        self._names: list[Array] = []
        self._many = 0

    def put(self, rows: IntArray, values: Values) -> None:
        """Put the codes of some rows, numbered on from those of other parts."""
        own = compacted(values)
        names = own.categories if own.categories is not None else np.zeros(0, object)
        with self._adding:
            first, self._many = self._many, self._many + len(names)
            self._names.append(names)
        self._data[rows] = own.data + np.int32(first)
        self._see(rows, own)

    def values(self) -> Values:
        """Values of all rows, with categories of all."""
        held = np.concatenate([np.zeros(0, object), *self._names])
        names, place = sorted_names(held.tolist())
        data = self._data if self._valid is None else np.where(self._valid, self._data, 0)
        data = place[data] if len(place) else data
        if self._valid is not None:
            data[~self._valid] = 0
        return Values(self._kind, data, self._valid, names)


class _Maps:
    """Maps: their entries lie in the parts."""

    def __init__(self) -> None:
        self._parts: list[tuple[IntArray, Values]] = []

    def put(self, rows: IntArray, values: Values) -> None:
        """Put the maps of some rows."""
        self._parts.append((rows, values))

    def values(self) -> Values:
        """Values of all rows."""
        whole = concatenate([values for _, values in self._parts])
        data = np.empty_like(whole.data)
        data[np.concatenate([rows for rows, _ in self._parts])] = whole.data
        return Values(whole.kind, data, None, None, whole.entries)
