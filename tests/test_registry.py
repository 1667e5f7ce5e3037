"""The registry: all declarations checked together."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from featurestore.definition import Entity, RoleFeature
from featurestore.errors import DefinitionProblems, UnknownService
from featurestore.registry import Registry

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


def registry_of(folder: Path, **files: str) -> Registry:
    """Registry of a project whose ``definitions`` hold these modules."""
    path = folder / "definitions"
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / f"{name}.py").write_text(text)
    return Registry.of("definitions", folder)


def problems_of(folder: Path, extra: str) -> list[str]:
    with pytest.raises(DefinitionProblems) as caught:
        registry_of(folder, payments=PAYMENTS, more=f"from payments import *\n{extra}")
    return [problem.replace(f"{folder}/definitions/", "") for problem in caught.value.problems]


def test_declarations_are_found_by_name(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, payments=PAYMENTS)
    assert list(registry.entities) == ["customer"]
    assert list(registry.features) == ["mean_30d", "count", "ratio", "score"]
    assert list(registry.outputs) == ["mean_30d", "count_1h", "count_1d", "ratio", "score"]
    assert registry.service("fraud").outputs == ("mean_30d", "count_1h", "count_1d", "score")
    assert registry.source("transactions").event_time == "at"
    assert registry.feature("count_1h") is registry.feature("count")


def test_an_unknown_name_is_refused_with_the_nearest(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, payments=PAYMENTS)
    with pytest.raises(UnknownService, match=r"No feature service named 'frod'. Did you mean 'fraud'?"):
        registry.service("frod")
    with pytest.raises(UnknownService, match=r"Did you mean 'transactions'?"):
        registry.source("transaction")
    with pytest.raises(UnknownService, match=r"Did you mean 'mean_30d'?"):
        registry.feature("mean_3d")


def test_a_list_of_declarations_makes_a_registry() -> None:
    customer = Entity("customer", key="customer_id")
    assert dict(Registry.of([customer, Entity("customer", key="customer_id")]).entities) == {"customer": customer}


def test_two_declarations_of_one_name_are_refused_with_both_places(tmp_path: Path) -> None:
    extra = (
        "customer = Entity('customer', key='merchant')\n@feature\ndef ratio(amount: float) -> float: return amount\n"
    )
    found = problems_of(tmp_path, extra)
    assert len(found) == 2
    assert "entity 'customer' is declared at" in found[0]
    assert "more.py:2" in found[0]
    assert "payments.py:18" in found[0]
    assert "feature 'ratio' is declared at" in found[1]
    assert "more.py:3" in found[1]
    assert "payments.py:30" in found[1]


def test_names_that_collide_are_refused(tmp_path: Path) -> None:
    extra = """
@feature
def count_1d(amount: float) -> float: return amount
@feature
def customer_id(amount: float) -> float: return amount
@feature
def as_of(amount: float) -> float: return amount
@feature
def fraud(amount: float) -> float: return amount
"""
    found = " | ".join(problems_of(tmp_path, extra))
    assert "feature output 'count_1d' is given by 'count" in found
    assert "feature output 'customer_id' has the name of a key of entity 'customer'" in found
    assert "feature output 'as_of' has the name of the row's own time" in found
    assert "feature output 'fraud' has the name of a feature service" in found


def test_a_role_may_be_asked_for_twice_but_not_taken_by_another_feature(tmp_path: Path) -> None:
    service = "{0} = FeatureService('{0}', features=on('buyer', count))\n"
    twice = service.format("one") + service.format("two")
    registry = registry_of(tmp_path / "fine", payments=PAYMENTS, more=f"from payments import *\n{twice}")
    assert isinstance(registry.outputs["buyer__count_1h"], RoleFeature)
    assert registry.fingerprints["one"] == registry.fingerprints["two"]
    taken = "@feature\ndef buyer__count_1h(amount: float) -> float: return amount\n"
    (found,) = problems_of(tmp_path / "wrong", twice + taken)
    assert "'buyer__count_1h' is given by 'buyer__count_1h' at more.py:4 too" in found


def test_all_problems_are_told_together_in_file_order(tmp_path: Path) -> None:
    extra = """
@feature
def lost(amount: float, nowhere: float) -> float: return amount
@feature
def round_1(round_2: float) -> float: return 1.0
@feature
def round_2(round_1: float) -> float: return 1.0
bad = FeatureService("bad", features=[lost], request=Payment)
"""
    found = problems_of(tmp_path, extra + "1 / 0\n")
    assert found == ["more.py:10: ZeroDivisionError: division by zero"]
    found = problems_of(tmp_path, extra)
    assert ["more.py:5" in found[0], "round_1 -> round_2 -> round_1" in found[0]] == [True, True]
    assert "needs 'nowhere', which is no feature" in found[-1]


def test_a_value_whose_content_cannot_be_told_is_a_problem_of_its_feature(tmp_path: Path) -> None:
    extra = "import threading\nL = threading.Lock()\n@feature\ndef f(amount: float) -> float: return L\n"
    (found,) = problems_of(tmp_path, extra)
    assert found.startswith("more.py:4: feature 'f': ")


def test_a_file_that_fails_does_not_make_its_features_unknown_to_others(tmp_path: Path) -> None:
    wanting = "@feature\ndef g(lost: float) -> float: return lost\nbad = FeatureService('bad', features=[g])\n"
    (tmp_path / "definitions").mkdir()
    (tmp_path / "definitions" / "lost.py").write_text("1 / 0\n")
    assert problems_of(tmp_path, wanting) == ["lost.py:1: ZeroDivisionError: division by zero"]


def test_a_changed_constant_changes_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    before = registry_of(tmp_path / "a", payments=PAYMENTS).fingerprints
    after = registry_of(tmp_path / "b", payments=PAYMENTS.replace("RATE = 2", "RATE = 3")).fingerprints
    assert list(before) == ["mean_30d", "count_1h", "count_1d", "ratio", "score", "fraud"]
    assert {name for name in before if before[name] != after[name]} == {"mean_30d", "ratio", "score", "fraud"}


def test_the_request_schema_and_the_order_of_outputs_are_the_services(tmp_path: Path) -> None:
    versions = [
        PAYMENTS,
        PAYMENTS.replace("    amount: float\n\n", "    amount: int\n\n"),
        PAYMENTS.replace("mean_30d, count,", "count, mean_30d,"),
    ]
    prints = [registry_of(tmp_path / str(number), payments=text).fingerprints for number, text in enumerate(versions)]
    assert len({one["fraud"] for one in prints}) == 3
    assert len({one["score"] for one in prints}) == 1


def test_facts_are_plain_text_with_files_inside_the_project(tmp_path: Path) -> None:
    facts = {fact.name: fact for fact in registry_of(tmp_path, payments=PAYMENTS).facts()}
    mean, source = facts["mean_30d"], facts["transactions"]
    assert (mean.kind, mean.file, mean.line, mean.inputs) == (
        "feature",
        "definitions/payments.py",
        21,
        ("transactions", "customer"),
    )
    assert mean.code.startswith('@feature(transactions, by=customer, window="30d")\ndef mean_30d(tx):')
    assert mean.code.endswith("\nRATE = 2\n")
    assert (mean.description, mean.parameters["windows"]) == ("Mean amount, USD.", ["30d"])
    assert (source.description, source.parameters["delay"]) == ("One card payment.", "5m")
    assert source.parameters["columns"]["merchant"] == "str | null"
    assert facts["score"].inputs == ("ratio", "count")
    assert json.loads(json.dumps([asdict(fact) for fact in facts.values()]))[-1]["name"] == "fraud"


def test_lineage_goes_both_ways(tmp_path: Path) -> None:
    registry = registry_of(tmp_path, payments=PAYMENTS)
    assert registry.lineage("ratio").upstream == ("customer", "mean_30d", "transactions")
    assert registry.lineage("ratio").downstream == ("fraud", "score")
    assert registry.lineage("count_1d") == registry.lineage("count")
    assert registry.lineage("transactions").downstream == ("count", "fraud", "mean_30d", "ratio", "score")
    with pytest.raises(UnknownService, match=r"Nothing is named 'ration'. Did you mean 'ratio'?"):
        registry.lineage("ration")
