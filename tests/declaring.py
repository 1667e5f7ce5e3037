"""Modules of declarations, written and imported as a user's are."""

import importlib.util
import itertools
from pathlib import Path
from typing import Any

from featurestore.collect import Collected, collect
from featurestore.fingerprint import fingerprint_feature, fingerprint_function
from featurestore.registry import Registry

_NUMBER = itertools.count()

HEAD = """
from datetime import datetime
from pydantic import BaseModel, Field, field_validator
from featurestore.definition import Entity, Source, aggregations, feature, on

class Payment(BaseModel):
    customer_id: str
    at: datetime
    amount: float = Field(ge=0)

customer = Entity("customer", key="customer_id")
payments = Source("payments", schema=Payment, path="a.parquet", event_time="at")
"""

PAYMENTS = '''
from datetime import datetime
from pydantic import BaseModel, Field
from featurestore.definition import Entity, FeatureService, Source, feature, on

RATE = 2

class Transaction(BaseModel):
    """One card payment."""
    customer_id: str
    at: datetime
    amount: float = Field(ge=0)
    merchant: str | None = None

class Payment(BaseModel):
    amount: float

customer = Entity("customer", key="customer_id")
transactions = Source("transactions", schema=Transaction, event_time="at", delay="5m")

@feature(transactions, by=customer, window="30d")
def mean_30d(tx):
    """Mean amount, USD."""
    return tx.amount.mean() * RATE

@feature(transactions, by=customer, windows=["1h", "1d"])
def count(tx):
    return tx.count()

@feature
def ratio(amount: float, mean_30d: float) -> float:
    return amount / mean_30d

@feature
def score(ratio: float, count_1d: int) -> float:
    return ratio * count_1d

fraud = FeatureService("fraud", features=[mean_30d, count, score], request=Payment)
'''

SHARED = """
from datetime import datetime
from pydantic import BaseModel
from featurestore.definition import Entity, Source

class Payment(BaseModel):
    customer_id: str
    at: datetime
    amount: float

customer = Entity("customer", key="customer_id")
payments = Source("payments", schema=Payment, event_time="at")
"""
USING = """
from featurestore.definition import FeatureService, aggregations, feature, on
from {shared} import customer, payments

@feature(payments, by=customer)
def {name}(tx):
    return tx.count()
"""


def declared(folder: Path, text: str, name: str = "f") -> Any:
    """Write a module, import it, and return one of its attributes."""
    path = folder / f"module_{next(_NUMBER)}.py"
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)


def printed(folder: Path, text: str, name: str = "f") -> str:
    return fingerprint_function(declared(folder, text, name))


def project_print(folder: Path, **files: str) -> str:
    """Fingerprint of the only feature of a folder of definitions."""
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    collected = collect(folder)
    assert collected.problems == ()
    (only,) = collected.features
    return fingerprint_feature(only, {})


def registry_of(folder: Path, **files: str) -> Registry:
    """Registry of a project whose ``definitions`` hold these modules."""
    path = folder / "definitions"
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / f"{name}.py").write_text(text)
    return Registry.of("definitions", folder)


def folder_of(path: Path, **files: str) -> Path:
    """Write modules into a folder; ``a__b`` is ``a/b.py``."""
    for name, text in files.items():
        file = path.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def names(collected: Collected) -> list[str]:
    return [one.name for one in collected.features]
