"""The same twenty columns by other tools, each as fast as its own manual says; and one bare as-of join to measure by.

Each reads the Parquet files and ends with a frame or table in memory, in any order of rows; none writes to the disk.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks.data import DAY, START

DAYS = (1, 7, 30, 90)
FUNCTIONS = ("count", "sum", "mean", "min", "max")
APART = 1 << 45  # microseconds between one customer's events and the next one's: more than data and window together
Found = dict[str, Any]
Timed = Callable[[], Found]


def named(function: str, days: int) -> str:
    """Name of a column, as ours has it."""
    return f"amount_{function}_{days}d"


def asof(folder: str) -> Timed:
    """The yardstick: one column of the newest earlier event, by DuckDB's own join, of tables that it holds already."""
    connection = _loaded(folder)

    def run() -> Found:
        connection.execute(
            "create table joined as select s.*, e.amount as last_amount from spine s "
            "asof left join events e on s.customer_id = e.customer_id and s.event_time > e.event_time"
        )
        return {}

    return run


def duckdb_window(folder: str, out: str | None = None) -> Timed:
    """Events and rows in one table, four named windows over it, of tables that DuckDB holds already."""
    connection = _loaded(folder)
    over = ", ".join(
        f"w{days} as (partition by customer_id order by event_time "
        f"range between interval {days} day preceding and interval 1 microsecond preceding)"
        for days in DAYS
    )
    columns = ", ".join(
        f"{_sql(function)}(amount) over w{days} as {named(function, days)}" for days in DAYS for function in FUNCTIONS
    )

    made: list[Any] = []

    def run() -> Found:
        connection.execute(
            f"create table made as select * from (select rid, {columns} from "
            "(select customer_id, event_time, amount, null as rid from events union all "
            f"select customer_id, event_time, null, rid from spine) window {over}) where rid is not null"
        )
        made[:] = [connection.sql("from made")]
        return {}

    return _saving(run, made, out)


def duckdb_range(folder: str, out: str | None = None) -> Timed:
    """Each row joined with every event of its longest window, then aggregated, of tables that DuckDB holds already."""
    connection = _loaded(folder)
    columns = ", ".join(
        f"{_sql(function)}(e.amount) filter (e.event_time >= s.event_time - interval {days} day) "
        f"as {named(function, days)}"
        for days in DAYS
        for function in FUNCTIONS
    )

    made: list[Any] = []

    def run() -> Found:
        connection.execute(
            f"create table made as select s.rid, {columns} from spine s left join events e "
            "on e.customer_id = s.customer_id and e.event_time < s.event_time "
            f"and e.event_time >= s.event_time - interval {max(DAYS)} day group by s.rid"
        )
        made[:] = [connection.sql("from made")]
        return {}

    return _saving(run, made, out)


def polars_rolling(folder: str, out: str | None = None) -> Timed:
    """Events and rows in one sorted frame, ``rolling`` by customer for each window, the rows taken out again."""
    import polars as pl

    made: list[Any] = []

    def run() -> Found:
        both = _stacked(pl, folder).sort("customer_id", "event_time")
        amount = pl.col("amount")
        parts = [both.select("rid")]
        for days in DAYS:
            rolled = both.rolling("event_time", period=f"{days}d", closed="left", group_by="customer_id").agg(
                getattr(amount, one)().alias(named(one, days)) for one in FUNCTIONS
            )
            ordered = rolled.sort("customer_id", "event_time")  # customers come out in any order
            parts.append(ordered.drop("customer_id", "event_time"))
        made[:] = [pl.concat(parts, how="horizontal").filter(pl.col("rid").is_not_null())]
        return {}

    return _saving(run, made, out)


def polars_packed(folder: str, out: str | None = None) -> Timed:
    """The same by an expert: customer and time packed into one integer, on which ``rolling`` needs no groups."""
    import polars as pl

    made: list[Any] = []

    def run() -> Found:
        customer = pl.col("customer_id").cast(pl.Categorical).to_physical().cast(pl.Int64)
        packed = customer * APART + pl.col("event_time").cast(pl.Int64) - START
        both = _stacked(pl, folder).select("rid", "amount", at=packed).sort("at")
        amount = pl.col("amount")
        parts = [both.select("rid")]
        for days in DAYS:
            rolled = both.rolling("at", period=f"{days * DAY}i", closed="left")
            parts.append(rolled.agg(getattr(amount, one)().alias(named(one, days)) for one in FUNCTIONS).drop("at"))
        made[:] = [pl.concat(parts, how="horizontal").filter(pl.col("rid").is_not_null())]
        return {}

    return _saving(run, made, out)


def pandas_rolling(folder: str, out: str | None = None) -> Timed:
    """Events and rows in one sorted frame, ``groupby.rolling`` for each window, the rows taken out again."""
    import pandas as pd

    made: list[Any] = []

    def run() -> Found:
        events = pd.read_parquet(Path(folder) / "events", columns=["customer_id", "event_time", "amount"])
        spine = pd.read_parquet(Path(folder) / "spine.parquet", columns=["customer_id", "event_time"])
        spine["rid"] = range(len(spine))
        both = pd.concat([events, spine]).sort_values(["customer_id", "event_time"])
        rid = both["rid"].to_numpy()
        wanted = both["rid"].notna().to_numpy()
        columns: Mapping[str, Any] = {"rid": rid[wanted].astype("int64")}
        for days in DAYS:
            grouped = both.set_index("event_time").groupby("customer_id")["amount"]
            rolled = grouped.rolling(f"{days}D", closed="left", min_periods=0)
            columns = {
                **columns,
                **{named(one, days): getattr(rolled, one)().to_numpy()[wanted] for one in FUNCTIONS},
            }
        made[:] = [pd.DataFrame(columns)]
        return {}

    return _saving(run, made, out)


def merge_asof(folder: str) -> Timed:
    """One column of the newest earlier event, by pandas: what many call a point-in-time join."""
    import pandas as pd

    def run() -> Found:
        events = pd.read_parquet(Path(folder) / "events", columns=["customer_id", "event_time", "amount"])
        spine = pd.read_parquet(Path(folder) / "spine.parquet", columns=["customer_id", "event_time"])
        pd.merge_asof(
            spine.sort_values("event_time"),
            events.sort_values("event_time"),
            on="event_time",
            by="customer_id",
            allow_exact_matches=False,
        )
        return {}

    return run


def _loaded(folder: str) -> Any:
    """Both tables in DuckDB's memory, which no rival's time counts."""
    import duckdb

    connection = duckdb.connect()
    connection.execute(
        f"create table events as select customer_id, event_time, amount from '{folder}/events/*.parquet'"
    )
    connection.execute(
        "create table spine as select row_number() over () - 1 as rid, customer_id, event_time "
        f"from '{folder}/spine.parquet'"
    )
    return connection


def _stacked(pl: Any, folder: str) -> Any:
    columns = ["customer_id", "event_time", "amount", "rid"]
    events = pl.read_parquet(f"{folder}/events/*.parquet", columns=columns[:3])
    spine = pl.read_parquet(f"{folder}/spine.parquet", columns=columns[:2]).with_row_index("rid")
    return pl.concat(
        [
            events.with_columns(pl.lit(None, pl.Int64).alias("rid")).select(columns),
            spine.with_columns(pl.col("rid").cast(pl.Int64), pl.lit(None, pl.Float64).alias("amount")).select(columns),
        ]
    )


def _sql(function: str) -> str:
    return "avg" if function == "mean" else function


def _saving(run: Timed, made: list[Any], out: str | None) -> Timed:
    """Write the result to a file, too, when it is to be compared: never in a run whose time counts."""
    if out is None:
        return run

    def and_save() -> Found:
        import pyarrow as pa
        import pyarrow.parquet as pq

        found = run()
        pq.write_table(pa.table(made[0]).sort_by("rid"), out)
        return found

    return and_save
