"""Training sets of ours and of others over the same events and rows; and where one entity has all events."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks import agreement, data, ours, processes
from benchmarks.data import Size
from benchmarks.processes import Measured, Task
from benchmarks.report import Section, duration, ratio
from benchmarks.rivals import DAYS

YARDSTICK = "asof"
PASSES = 3  # over what takes seconds, in each round
RIVALS = {
    YARDSTICK: "DuckDB: one bare as-of join (yardstick)",
    "merge_asof": "pandas: one bare `merge_asof`",
    "polars_packed": "Polars: `rolling`, packed by an expert",
    "polars_rolling": "Polars: `rolling` by customer",
    "duckdb_window": "DuckDB: window functions",
    "duckdb_range": "DuckDB: range join",
    "pandas_rolling": "pandas: `groupby.rolling`",
}
TWENTY = ("polars_packed", "polars_rolling", "duckdb_window", "duckdb_range", "pandas_rolling")
BY_FUNCTION = ("count", "sum", "mean", "std", "min", "max", "nunique")
OURS = {
    "ours": "**featurestore: `training_set`**",
    "ours_raw": "featurestore: nothing loaded, `materialize(online=False)` and `training_set`",
    "ours_filled": "featurestore: nothing loaded, `materialize` (online store too) and `training_set`",
    "ours_rich": "featurestore: 17 richer features",
}


def training_set(folder: Path, size: Size, rivals: Sequence[str], rounds: int, patience_s: float) -> Section:
    """Ours beside the rivals."""
    made = data.made(folder, size)
    given = {"folder": str(made)}
    for service in ("plain", "rich"):
        ours.loaded(made, service)
    wanted = [one for one in RIVALS if one in rivals or one == YARDSTICK]
    tasks = {name: Task(f"rivals:{name}", given) for name in wanted}
    tasks["ours"] = Task("ours:training_set", given | {"service": "plain"})
    for name, online in {"ours_raw": False, "ours_filled": True}.items():
        tasks[name] = Task("ours:from_raw", {**given, "service": "plain", "online": online})
    tasks["ours_rich"] = Task("ours:training_set", given | {"service": "rich"})
    measured = processes.in_turn(tasks, rounds, patience_s, passes=PASSES)
    done = [one for one in TWENTY if one in measured and measured[one].seconds is not None]
    agreed = agreement.check(made, done, patience_s=patience_s)
    return Section(
        "training-set",
        f"{size}, 20 features (count, sum, mean, min and max over 1, 7, 30 and 90 days). Median of {rounds} runs, "
        f"of {rounds * PASSES} where one takes less than {processes.SHORT_S:g} s.",
        ("", "time", "as-of = 1", "memory, MB"),
        _rows(measured, {**RIVALS, **OURS}),
        {
            "size": vars(size),
            "measured": {name: one.document() for name, one in measured.items()},
            "agreement": agreed,
        },
        _agreement(agreed),
    )


def hot_key(folder: Path, size: Size, rounds: int, patience_s: float) -> Section:
    """All events in one entity beside the same number in many: twenty features, and each function alone."""
    sizes = {"many": size, "one": replace(size, entities=1)}
    tasks = {}
    for name, one in sizes.items():
        made = data.made(folder, one)
        ours.loaded(made, "plain")
        tasks[f"asof_{name}"] = Task("rivals:asof", {"folder": str(made)})
        tasks[f"ours_{name}"] = Task("ours:training_set", {"folder": str(made), "service": "plain"})
        windows = [f"{days}d" for days in DAYS]
        for function in BY_FUNCTION:
            given = {"folder": str(made), "functions": [function], "windows": windows}
            tasks[f"{function}_{name}"] = Task("ours:grown", given)
    measured = processes.in_turn(tasks, rounds, patience_s)
    words = {"asof": "DuckDB: one bare as-of join", "ours": "**featurestore: `training_set`**"}
    words |= {function: f"featurestore: {function} alone" for function in BY_FUNCTION}
    rows = []
    for kind, told in words.items():
        many, alone = (measured[f"{kind}_{name}"] for name in sizes)
        times = duration(many.seconds), duration(alone.seconds), ratio(alone.seconds, many.seconds)
        rows.append((told, *times, f"{many.rss_mb or 0:,.0f}", f"{alone.rss_mb or 0:,.0f}"))
    return Section(
        "hot-key",
        f"{size.events:,} events and {size.rows:,} rows, 20 features as above, and of each function its four windows. "
        f"Median of {rounds} runs.",
        ("", f"{size.entities:,} entities", "one entity", "ratio", "memory, MB", "of one, MB"),
        rows,
        {"size": vars(size), "measured": {name: one.document() for name, one in measured.items()}},
    )


def _rows(measured: Mapping[str, Measured], words: Mapping[str, str]) -> list[tuple[str, ...]]:
    yardstick = measured[YARDSTICK].seconds
    rows: list[tuple[str, ...]] = []
    for name, one in measured.items():
        told = (duration(one.seconds), ratio(one.seconds, yardstick), f"{one.rss_mb or 0:,.0f}")
        rows.append((words[name], *(told if one.runs else (one.failure or "", "", ""))))
    return rows


def _agreement(agreed: Mapping[str, str]) -> str:
    equal = [name for name, words in agreed.items() if words == "equal"]
    other = [f"{name}: {words}." for name, words in agreed.items() if words != "equal"]
    named = [RIVALS[name].replace(": ", " ", 1) if name in RIVALS else name for name in equal]
    return " ".join([f"Equal to ours: {'; '.join(named)}.", *other])
