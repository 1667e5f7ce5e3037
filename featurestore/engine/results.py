"""Columns of a training set, filled part by part and then put into the order of its rows.

What is held is each value once, and while a column is put in order that column twice.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryFile
from threading import Lock
from typing import Any

import numpy as np

from featurestore import parallel
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
    """Values of so many rows by name; threads may put parts at once, each row of a name once.

    Parts lie one after another as they come, until :meth:`settle`: to gather values costs a third of scattering them.
    """

    def __init__(self, rows: int, empty: Empty = np.empty) -> None:
        self._rows, self._empty = rows, empty
        self._columns: dict[str, _Column | _Maps] = {}
        self._parts: dict[tuple[str, ...], _Parts] = {}
        self._adding = Lock()

    def put(self, rows: IntArray, made: Mapping[str, Values]) -> None:
        """Put the values of some rows, of the same names for each part of them."""
        with self._adding:
            names = tuple(made)
            if names not in self._parts:
                self._parts[names] = _Parts(self._rows)
            place = self._parts[names].add(rows)
            for name, values in made.items():
                if name not in self._columns:
                    self._columns[name] = self._column(values)
        for name, values in made.items():
            self._columns[name].put(place, values)

    def settle(self) -> None:
        """Put all into the order of rows; nothing is put any more. Threads that help take a column each."""
        for names, parts in self._parts.items():
            places = parts.places()
            parallel.each(lambda name, places=places: self._columns[name].settle(places), names)

    def __getitem__(self, name: str) -> Values:
        """Values of all rows, once they are settled."""
        return self._columns[name].values()

    def _column(self, values: Values) -> "_Column | _Maps":
        if values.entries is not None:
            return _Maps()
        make = _Texts if values.kind == "str" else _Column
        return make(values.kind, self._rows, self._empty)

    def __iter__(self) -> Iterator[str]:
        """Names."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Names."""
        return len(self._columns)


class _Parts:
    """Rows of the parts, one part after another."""

    def __init__(self, rows: int) -> None:
        self._order = np.empty(rows, np.int64)
        self._many = 0

    def add(self, rows: IntArray) -> slice:
        """Where a part goes."""
        place = slice(self._many, self._many + len(rows))
        self._order[place] = rows
        self._many = place.stop
        return place

    def places(self) -> IntArray:
        """Where each row went; every row was put once."""
        assert self._many == len(self._order)  # noqa: S101 - of a row left out any value would be taken
        places = np.empty_like(self._order)
        places[self._order] = np.arange(len(places))
        return places


class _Column:
    """Values of one name."""

    def __init__(self, kind: Kind, rows: int, empty: Empty) -> None:
        self._kind, self._rows, self._empty = kind, rows, empty
        self._data = empty(rows, DTYPES[kind])
        self._valid: Array | None = None
        self._adding = Lock()

    def put(self, place: slice, values: Values) -> None:
        """Put the values of a part."""
        self._data[place] = values.data
        self._see(place, values)

    def settle(self, places: IntArray) -> None:
        """Put all in order."""
        self._data = self._gathered(self._data, places)
        if self._valid is not None:
            self._valid = self._gathered(self._valid, places)

    def values(self) -> Values:
        """Values of all rows."""
        return Values(self._kind, self._data, self._valid)

    def _see(self, place: slice, values: Values) -> None:
        """Put which of the values are there."""
        if values.valid is None:
            return
        with self._adding:
            if self._valid is None:
                self._valid = self._empty(self._rows, np.bool_)
                self._valid[:] = True
        self._valid[place] = values.valid

    def _gathered(self, held: Array, places: IntArray) -> Array:
        return np.take(held, places, out=self._empty(self._rows, held.dtype), mode="clip")  # "raise" would copy them


class _Texts(_Column):
    """Texts: each part has categories of its own."""

    def __init__(self, kind: Kind, rows: int, empty: Empty) -> None:
        super().__init__(kind, rows, empty)
        self._names: list[Array] = []
        self._many = 0

    def put(self, place: slice, values: Values) -> None:
        """Put the codes of a part, numbered on from those of other parts."""
        own = compacted(values)
        names = own.categories if own.categories is not None else np.zeros(0, object)
        with self._adding:
            first, self._many = self._many, self._many + len(names)
            self._names.append(names)
        self._data[place] = own.data + np.int32(first)
        self._see(place, own)

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
        self._parts: list[tuple[int, Values]] = []
        self._places = np.zeros(0, np.int64)

    def put(self, place: slice, values: Values) -> None:
        """Put the maps of a part."""
        self._parts.append((place.start, values))

    def settle(self, places: IntArray) -> None:
        """Note the order."""
        self._places = places

    def values(self) -> Values:
        """Values of all rows."""
        parts = sorted(self._parts, key=lambda part: part[0])
        return concatenate([values for _, values in parts]).take(self._places)
