"""Whether the values that were measured are the values that are served: ``verify`` over the benchmark's own results."""

from pathlib import Path

from benchmarks import data, ours, processes
from benchmarks.data import Size
from benchmarks.processes import Measured, Task
from benchmarks.report import Section, duration
from benchmarks.rivals import Found, Timed

SAMPLE = 100_000
SERVICES = {"plain": "20 features as above", "rich": "17 richer features"}


def proof(folder: Path, size: Size, rounds: int, patience_s: float) -> Section:
    """Rows of the training sets, asked for again through the online path, and their values compared bit for bit."""
    made = data.made(folder, size)
    for service in SERVICES:
        ours.loaded(made, service)
    given = {"folder": str(made)}
    tasks = {service: Task("proof:verified", given | {"service": service}) for service in SERVICES}
    measured = processes.in_turn(tasks, rounds, patience_s)
    return Section(
        "verify",
        f"{size}: rows of the training sets, drawn from all, looked up again as of their instants.",
        ("", "rows", "not comparable", "values", "that differ", "time", "a row"),
        [_row(SERVICES[service], one) for service, one in measured.items()],
        {
            "size": vars(size),
            "measured": {service: one.document() for service, one in measured.items()},
            "found": {service: one.runs[-1].found if one.runs else {} for service, one in measured.items()},
        },
    )


def verified(folder: str, service: str) -> Timed:
    """Rows of a training set, verified against this store's own lookups."""
    store = ours.opened(folder, service)
    name = store.training_set(service, str(Path(folder) / "spine.parquet"), replace=True).name

    def run() -> Found:
        told = store.verify_training_set(name, sample=SAMPLE)
        return {
            "rows": told.rows,
            "skipped": sum(told.skipped.values()),
            "values": told.values,
            "differing": sum(told.features.values()),
        }

    return run


def _row(words: str, measured: Measured) -> tuple[str, ...]:
    if measured.seconds is None:
        return (words, *[measured.failure or ""] * 6)
    found = measured.runs[-1].found
    counts = [f"{found[one]:,}" for one in ("rows", "skipped", "values", "differing")]
    return (words, *counts, duration(measured.seconds), duration(measured.seconds / max(found["rows"], 1)))
