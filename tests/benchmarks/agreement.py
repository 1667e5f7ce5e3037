"""Whether all of them computed the same: counts, least and greatest exactly, sums and means up to their rounding.

And whether ours are what plain Python gives: ``math.fsum`` over the events of a row's window, bit for bit.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from benchmarks import processes
from benchmarks.processes import Task
from benchmarks.rivals import DAYS, FUNCTIONS, named

EXACT = ("count", "min", "max")
ROUNDING = 1e-9  # relative: what a float sum in another order may be off
SAMPLE = 1_000  # rows that plain Python computes


def check(folder: Path, rivals: Sequence[str], *, patience_s: float) -> dict[str, str]:
    """Words on each rival, and on plain Python: ``equal``, or the first difference. Raises nothing."""
    ours = _result("ours:training_set", folder, patience_s, service="plain")
    if isinstance(ours, str):
        return {"ours": ours}
    found = {}
    for rival in rivals:
        theirs = _result(f"rivals:{rival}", folder, patience_s)
        found[rival] = theirs if isinstance(theirs, str) else compared(ours, theirs)
        processes.say(f"{rival} against ours: {found[rival]}")
    found["plain Python"] = by_hand(folder, ours)
    processes.say(f"plain Python against ours: {found['plain Python']}")
    return found


def compared(ours: pa.Table, theirs: pa.Table) -> str:
    """``equal``, or the first column that differs and in how many rows."""
    if theirs.num_rows != ours.num_rows:
        return f"{theirs.num_rows:,} rows, not {ours.num_rows:,}"
    for function in FUNCTIONS:
        for days in DAYS:
            name = named(function, days)
            own, other = _column(ours, name, function), _column(theirs, name, function)
            rounding = 0.0 if function in EXACT else ROUNDING
            wrong = np.count_nonzero(~np.isclose(own, other, rtol=rounding, atol=rounding, equal_nan=True))
            if wrong:
                return f"{name} differs in {wrong:,} of {len(own):,} rows"
    return "equal"


def by_hand(folder: Path, ours: pa.Table, sample: int = SAMPLE) -> str:
    """``equal`` if a sample of rows has the bits that a plain loop gives."""
    rows = np.random.default_rng(1).choice(ours.num_rows, min(sample, ours.num_rows), replace=False)
    asked = ours.take(pa.array(rows)).to_pylist()
    events = _events_of(folder, {row["customer_id"] for row in asked})
    for row in asked:
        instants, amounts = events.get(row["customer_id"], ([], []))
        for days in DAYS:
            begin = bisect_left(instants, row["event_time"] - timedelta(days=days))
            values = amounts[begin : bisect_left(instants, row["event_time"])]
            for function, value in folded(values).items():
                got = row[f"amount_{function}_{days}d"]
                if repr(got) != repr(value):
                    return f"{named(function, days)} of {row['customer_id']} is {got!r}, not {value!r}"
    return "equal"


def folded(values: list[float]) -> dict[str, float | int | None]:
    """The five functions of a window's values."""
    total = math.fsum(values)
    if not values:
        return {"count": 0, "sum": 0.0, "mean": None, "min": None, "max": None}
    return {
        "count": len(values),
        "sum": total,
        "mean": total / len(values),
        "min": min(values),
        "max": max(values),
    }


def _result(function: str, folder: Path, patience_s: float, **given: Any) -> pa.Table | str:
    """Result of a task, or why there is none."""
    out = folder / "result.parquet"
    told = processes.run(Task(function, {"folder": str(folder), "out": str(out), **given}), patience_s)
    if isinstance(told, processes.Failure):
        return told.reason
    table = pq.read_table(out)
    out.unlink()
    return table


def _column(table: pa.Table, name: str, function: str) -> Any:
    """Floats, with nan for null; an empty window's count and sum are 0, which SQL calls null."""
    column = table.column(name).cast(pa.float64())
    if function in {"count", "sum"}:
        column = pc.fill_null(column, 0.0)
        return np.nan_to_num(column.to_numpy(), nan=0.0)
    return column.to_numpy()


def _events_of(folder: Path, customers: set[str]) -> Mapping[str, tuple[list[Any], list[float]]]:
    table = pq.read_table(
        folder / "events",
        columns=["customer_id", "event_time", "amount"],
        filters=pc.field("customer_id").isin(sorted(customers)),
    ).sort_by("event_time")
    found: dict[str, tuple[list[Any], list[float]]] = {}
    columns = (table.column(name).to_pylist() for name in ("customer_id", "event_time", "amount"))
    for customer, instant, amount in zip(*columns, strict=True):
        instants, amounts = found.setdefault(customer, ([], []))
        instants.append(instant)
        amounts.append(amount)
    return found
