"""Least and greatest value of each range: by a loop, by one pass over the values, or by blocks, as costs least."""

from collections.abc import Callable
from typing import Any

import numpy as np

from featurestore import longranges
from featurestore.spans import Array, IntArray, Spans
from featurestore.values import Values, masked, nulls, scalars


def minimum(spans: Spans) -> Values:
    """Smallest value; null on an empty range. Strings by code point, false before true."""
    return _extreme(np.minimum, min, spans)


def maximum(spans: Spans) -> Values:
    """Largest value; null on an empty range. Strings by code point, false before true."""
    return _extreme(np.maximum, max, spans)


def long_minimum(spans: Spans) -> Values:
    """Smallest value of ranges that are long and few: blocks of the values are looked at once, for all calls."""
    return _by_blocks(np.minimum, spans)


def long_maximum(spans: Spans) -> Values:
    """Largest value, likewise."""
    return _by_blocks(np.maximum, spans)


def _by_blocks(ufunc: np.ufunc, spans: Spans) -> Values:
    if not len(spans.values):
        return nulls(spans.values.kind, len(spans.counts))
    return masked(spans.values.kind, _long_extremes(ufunc, spans), spans.counts > 0, spans.values.categories)


def _extreme(ufunc: np.ufunc, extreme: Callable[..., Any], spans: Spans) -> Values:
    values = spans.values
    if spans.few and values.kind in ("bool", "int", "float"):
        return scalars(values.kind, spans.extremes(extreme))
    counts = spans.counts
    if spans.few:
        found = np.array([extreme(part, default=0) for part in spans.parts()], values.data.dtype)
        return Values(values.kind, found, counts > 0, values.categories)
    if not len(values) or not len(counts):
        return nulls(values.kind, len(counts))
    result = _long_extremes(ufunc, spans) if spans.crowded else _extremes(ufunc, spans)
    return masked(values.kind, result, counts > 0, values.categories)


def _extremes(ufunc: np.ufunc, spans: Spans) -> Array:
    """Extreme of each range's values, one by one."""
    values = spans.values
    padded = spans.once("padded", lambda: np.append(values.data, values.data[-1:]))
    lo, hi = _nested(spans)
    edges = np.concatenate([lo[::-1], hi[np.newaxis]])  # of each row, from its longest window's begin to the end
    # ascending starts keep the gaps, which reduceat folds too, within one pass over the column
    place = None if (edges[0, 1:] >= edges[0, :-1]).all() else np.argsort(edges[0], kind="stable")
    asked = np.ascontiguousarray((edges if place is None else edges[:, place]).T)
    parts = ufunc.reduceat(padded, asked.ravel()).reshape(asked.shape)[:, :-1]
    parts = np.where(asked[:, :-1] < asked[:, 1:], parts, _neutral(ufunc, padded.dtype))
    found = ufunc.accumulate(parts[:, ::-1], axis=1).T  # a longer window is the shorter one and what comes before it
    result = np.empty(lo.shape, padded.dtype)
    result[:, slice(None) if place is None else place] = found
    return result.ravel()


def _long_extremes(ufunc: np.ufunc, spans: Spans) -> Array:
    """Extremes of ranges most of whose values many of them share; those that are not long apart."""
    values, long = spans.values, spans.counts > longranges.BLOCK
    result = np.zeros(len(long), values.data.dtype)
    found: longranges.Extremes = spans.once(ufunc.__name__, lambda: longranges.Extremes(ufunc, values.data))
    result[long] = found.over(spans.lo[long], spans.hi[long])
    if not long.all():
        result[~long] = _extremes(ufunc, Spans(values, spans.lo[~long], spans.hi[~long], spans.made))
    return result


def _nested(spans: Spans) -> tuple[IntArray, IntArray]:
    """Begins of each row's windows, shape ``(windows, rows)``, from the shortest, and their common end.

    Where windows of a row do not end together, or come in another order, each is a row of its own.
    """
    lo, hi = spans.lo.reshape(spans.windows, -1), spans.hi.reshape(spans.windows, -1)
    if (hi == hi[0]).all() and (lo[1:] <= lo[:-1]).all():
        return lo, hi[0]
    return spans.lo[np.newaxis], spans.hi


def _neutral(ufunc: np.ufunc, dtype: np.dtype[Any]) -> Any:
    """Value that leaves every other as it is."""
    if dtype == np.bool_:
        return ufunc is np.minimum
    least, most = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
    return np.array(most if ufunc is np.minimum else least, dtype)
