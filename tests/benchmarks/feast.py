"""Feast beside ours, in an environment of its own: it joins, loads and looks up values that others have computed."""

import socket
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from benchmarks import data, ours, over_http, processes
from benchmarks.data import Size
from benchmarks.feast_jobs import NAMES
from benchmarks.processes import Measured, Task
from benchmarks.report import Section, duration, ratio

PACKAGE = "feast[duckdb]"
VALUES_EACH = 5  # of an entity: its join holds every value of an entity beside every row of it
BATCH = 100
CLIENTS = (1, 16)


def feast(folder: Path, size: Size, requests: int, seconds: float, rounds: int, patience_s: float) -> Section:
    """Both in turn; only the reason, where Feast cannot be installed."""
    entities = size.rows // VALUES_EACH
    about = (
        f"{size.rows:,} rows, {VALUES_EACH} events for each of {entities:,} entities. Feast joins, loads and gives 20 "
        f"values that were computed before, ours computes 20 features. Median of {rounds} runs."
    )
    python = environment(folder)
    if isinstance(python, processes.Failure):
        return Section("feast", about, ("", "Feast"), [("cannot be installed", python.reason)], {})
    made = data.made(folder, data.recent(entities, each=VALUES_EACH, rows=size.rows))
    ours.loaded(made, "plain")
    prepared = processes.run(Task("feast_jobs:values", {"folder": str(made)}, python), patience_s)
    if isinstance(prepared, processes.Failure):
        return Section("feast", about, ("", "Feast"), [("does not run here", prepared.reason)], {})
    measured = processes.in_turn(_tasks(str(made), entities, requests, python), rounds, patience_s)
    asked = {name: _http(made, name, entities, python, (seconds, rounds, patience_s)) for name in ("feast", "ours")}
    return Section(
        "feast",
        about,
        ("", "Feast", "featurestore", "Feast = 1"),
        [*_rows(measured, entities), *_http_rows(asked)],
        {"measured": {name: one.document() for name, one in measured.items()}, "http": asked},
    )


def environment(folder: Path) -> str | processes.Failure:
    """Python of an environment with Feast, made if it is not there."""
    python = folder / "feast-environment" / "bin" / "python"
    if (
        python.exists()
        and not subprocess.run([python, "-c", "import feast"], check=False, capture_output=True).returncode
    ):
        return str(python)
    processes.say(f"installing {PACKAGE} into {python.parents[1]}")
    for words in (
        [sys.executable, "-m", "venv", "--clear", str(python.parents[1])],
        [str(python), "-m", "pip", "install", "--quiet", PACKAGE],
    ):
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            return processes.Failure((done.stderr.strip() or done.stdout.strip() or "no reason").splitlines()[-1])
    return str(python)


def _tasks(folder: str, entities: int, requests: int, python: str) -> dict[str, Task]:
    """Pairs by name: Feast's, and ours."""
    given = {"folder": folder}
    asked = given | {"entities": entities, "requests": requests}
    return {
        "duckdb": Task("feast_jobs:join", given | {"offline": "duckdb"}, python),
        "file": Task("feast_jobs:join", given | {"offline": "file"}, python),
        "ours": Task("ours:training_set", given | {"service": "plain"}),
        "materialize": Task("feast_jobs:materialize", given, python),
        "ours_materialize": Task("ours:materialize", given | {"service": "plain"}),
        "lookup": Task("feast_jobs:one_by_one", asked, python),
        "ours_lookup": Task("lookups:one_by_one", asked),
        "batch": Task("feast_jobs:in_batches", asked | {"rows": BATCH}, python),
        "ours_batch": Task("lookups:in_batches", asked | {"rows": BATCH}),
    }


def _rows(measured: Mapping[str, Measured], entities: int) -> list[tuple[str, str, str, str]]:
    def row(words: str, theirs: str, own: str, of: Callable[[Measured], float | None], unit: str = "s") -> Any:
        both = [of(measured[name]) for name in (theirs, own)]
        shown = [
            _shown(one, unit) or measured[name].failure or "" for one, name in zip(both, (theirs, own), strict=True)
        ]
        return (words, *shown, ratio(both[1], both[0]))

    def a_second(one: Measured) -> float | None:
        return entities / one.seconds if one.seconds else None

    return [
        row("training set, Feast's DuckDB store", "duckdb", "ours", lambda one: one.seconds),
        row("training set, Feast's default store", "file", "ours", lambda one: one.seconds),
        row("memory of it, DuckDB store, MB", "duckdb", "ours", lambda one: one.rss_mb, ""),
        row("memory of it, default store, MB", "file", "ours", lambda one: one.rss_mb, ""),
        row("`materialize`, entities/s", "materialize", "ours_materialize", a_second, ""),
        row("lookup in process, p50", "lookup", "ours_lookup", lambda one: _found(one, "p50")),
        row("lookup in process, p99", "lookup", "ours_lookup", lambda one: _found(one, "p99")),
        row(f"batch of {BATCH} in process, p50", "batch", "ours_batch", lambda one: _found(one, "p50")),
    ]


def _http_rows(asked: Mapping[str, Mapping[int, Mapping[str, float]]]) -> list[tuple[str, str, str, str]]:
    rows = []
    for clients in CLIENTS:
        for of, unit in (("p50", "s"), ("p99", "s"), ("rps", "")):
            theirs, own = (asked[name][clients][of] for name in ("feast", "ours"))
            words = {"rps": "requests/s"}.get(of, of)
            name = f"HTTP, 1 worker, {clients} client{'s' * (clients > 1)}, {words}"
            rows.append((name, _shown(theirs, unit), _shown(own, unit), ratio(own, theirs)))
    return rows


def _http(
    made: Path, server: str, entities: int, python: str, terms: tuple[float, int, float]
) -> dict[int, dict[str, float]]:
    """Medians over HTTP by number of clients."""
    seconds, rounds, patience_s = terms
    if server == "feast":
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        serve = [
            str(Path(python).with_name("feast")),
            "serve",
            "--port",
            str(port),
            "--workers",
            "1",
            "--no-access-log",
            "--max-requests",  # else a worker ends after a thousand, and hangs up
            "1000000000",
        ]
        words, where = serve, made / "feast-duckdb"
        asked: dict[str, Any] = {"path": "/get-online-features", "features": NAMES}
    else:
        words, where = over_http.serving(ours.project(made, "plain"), 1), made
        asked = {"path": over_http.PATH}
    found: dict[int, dict[str, float]] = {}
    with over_http.started(words, where) as url:
        for clients in CLIENTS:
            given = {"url": url, "entities": entities, "clients": clients, "seconds": seconds, "warming": 1.0, **asked}
            runs = [processes.run(Task("load:asking", given), patience_s) for _ in range(rounds)]
            told = [one.found for one in runs if isinstance(one, processes.Run)]
            found[clients] = {of: statistics.median(one[of] for one in told) for of in ("p50", "p99", "rps", "failed")}
            processes.say(f"{server}, {clients} clients: {found[clients]}")
    return found


def _found(measured: Measured, of: str) -> float | None:
    return statistics.median(run.found[of] for run in measured.runs) if measured.runs else None


def _shown(value: float | None, unit: str) -> str:
    return duration(value) if unit == "s" else "" if value is None else f"{value:,.0f}"
