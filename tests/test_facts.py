"""Facts of declarations, and what they are made of."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from declaring import PAYMENTS, registry_of

from featurestore.errors import UnknownService


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


def test_lineage_tells_declarations_of_one_name_apart(tmp_path: Path) -> None:
    extra = """
from payments import FeatureService, Payment, feature
@feature
def fraud(amount: float) -> float: return amount
@feature
def alarm(fraud: float) -> bool: return fraud > 1
service = FeatureService("alarm", features=[alarm], request=Payment)
"""
    registry = registry_of(tmp_path, payments=PAYMENTS, more=extra)
    assert registry.lineage("mean_30d").downstream == ("fraud", "ratio", "score")
    assert registry.lineage("alarm").upstream == ("fraud",)
    assert registry.lineage("fraud").downstream == ("alarm",)
    assert registry.lineage("fraud").upstream == ("count", "customer", "mean_30d", "ratio", "score", "transactions")


def test_a_source_and_an_entity_may_share_a_name(tmp_path: Path) -> None:
    text = PAYMENTS.replace('Source("transactions"', 'Source("customer"')
    registry = registry_of(tmp_path, payments=text)
    (mean,) = (fact for fact in registry.facts() if fact.name == "mean_30d")
    assert mean.inputs == ("customer",)
    assert mean.made_of == (("source", "customer"), ("entity", "customer"))
    assert registry.lineage("count").upstream == ("customer",)
