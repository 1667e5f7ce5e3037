"""The product's side: projects of the made data, loads and training sets."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.rivals import Found, Timed

if TYPE_CHECKING:
    from featurestore import FeatureStore

DEFINITIONS = Path(__file__).with_name("definitions")


def project(folder: str | Path, service: str, home: str = "store", memory: int | None = None) -> Path:
    """Folder of a project beside the made data, with declarations of this package; made if it is not there.

    ``memory`` is the setting, bytes; by default there is none.
    """
    target = Path(folder) / service
    target.mkdir(exist_ok=True)
    settings = f'[tool.featurestore]\ndefinitions = "{DEFINITIONS / service}.py"\nhome = "{home}"\n'
    settings += "" if memory is None else f'memory = "{memory // 1_000_000}MB"\n'
    (target / "pyproject.toml").write_text(settings)
    return target


def opened(folder: str | Path, service: str, home: str = "store", memory: int | None = None) -> "FeatureStore":
    """Open its store."""
    imported()
    from featurestore import FeatureStore

    return FeatureStore.open(project(folder, service, home, memory))


def loaded(folder: str | Path, service: str) -> None:
    """Load the events, unless they are loaded."""
    with opened(folder, service) as store:
        store.materialize()


def loading(folder: str, service: str) -> Timed:
    """Load the events, unless they are loaded, in a process of its own."""

    def run() -> Found:
        loaded(folder, service)
        return {}

    return run


def copied(folder: str | Path, service: str) -> Path:
    """A project with a copy of the loaded store: what is ingested there is gone with the next copy."""
    root = project(folder, service)
    other = Path(folder) / f"{service}-served"
    shutil.rmtree(other, ignore_errors=True)
    shutil.copytree(root, other, ignore=shutil.ignore_patterns("fresh"))
    return other


def materialize(folder: str, service: str) -> Timed:
    """Load all events into a store that is not there yet."""
    store = _fresh(folder, service)

    def run() -> Found:
        store.materialize()
        size = sum(one.stat().st_size for one in store.home.rglob("*") if one.is_file())
        return {"home_mb": round(size / 1e6, 1)}

    return run


def training_set(folder: str, service: str, out: str | None = None, memory: int | None = None) -> Timed:
    """A training set from loaded events: written to DuckDB, hashed, with its manifest."""
    store = opened(folder, service, memory=memory)
    (store.home / "training_sets.duckdb").unlink(missing_ok=True)

    def run() -> Found:
        made = store.training_set(service, str(Path(folder) / "spine.parquet"))
        if out is not None:
            _save(made.to_arrow(), out)
        return {"rows": len(made), "features": len(made.manifest["features"])}

    return run


def from_raw(folder: str, service: str, *, online: bool) -> Timed:
    """Nothing loaded: load, with the online store or the log alone, then a training set."""
    store = _fresh(folder, service)

    def run() -> Found:
        store.materialize(online=online)
        return {"rows": len(store.training_set(service, str(Path(folder) / "spine.parquet")))}

    return run


def grown(folder: str, functions: Sequence[str], windows: Sequence[str]) -> Timed:
    """A training set of other windows and functions of the same loaded events."""
    imported()
    from benchmarks.definitions.plain import of_customer
    from featurestore import FeatureService, FeatureStore, aggregations

    features = aggregations(of_customer, columns=["amount"], functions=functions, windows=windows)
    root = project(folder, "plain")
    store = FeatureStore([FeatureService("grown", features=[features])], home=root / "store", root=root)
    (store.home / "training_sets.duckdb").unlink(missing_ok=True)

    def run() -> Found:
        made = store.training_set("grown", str(Path(folder) / "spine.parquet"))
        return {"rows": len(made), "features": len(made.manifest["features"])}

    return run


def imported() -> None:
    """Libraries that a store would load when it first needs them are there, as the rivals' are."""
    import duckdb  # noqa: F401
    import pandas as pd  # noqa: F401
    import pyarrow.dataset as ds  # noqa: F401
    import pyarrow.parquet as pq  # noqa: F401


def _fresh(folder: str, service: str) -> "FeatureStore":
    shutil.rmtree(project(folder, service) / "fresh", ignore_errors=True)
    store = opened(folder, service, "fresh")
    project(folder, service)  # others open the loaded one
    return store


def _save(table: Any, out: str) -> None:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(table.append_column("rid", pa.array(np.arange(len(table)))), out)
