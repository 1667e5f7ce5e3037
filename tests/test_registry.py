"""The registry: all declarations checked together."""

from pathlib import Path

import pytest
from declaring import HEAD, PAYMENTS, registry_of

from featurestore.definition import Entity, RoleFeature
from featurestore.errors import DefinitionProblems, UnknownService
from featurestore.registry import Registry


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
"""
    found = " | ".join(problems_of(tmp_path, extra))
    assert "feature output 'count_1d' is given by 'count" in found
    assert "feature output 'customer_id' has the name of a key of entity 'customer'" in found
    assert "feature output 'as_of' has the name of the row's own time" in found


def test_a_role_may_be_asked_for_twice_but_not_taken_by_another_feature(tmp_path: Path) -> None:
    service = "{0} = FeatureService('{0}', features=on('buyer', count))\n"
    twice = service.format("one") + service.format("two")
    registry = registry_of(tmp_path / "fine", payments=PAYMENTS, more=f"from payments import *\n{twice}")
    assert isinstance(registry.outputs["buyer__count_1h"], RoleFeature)
    assert registry.service_fingerprints["one"] == registry.service_fingerprints["two"]
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


def test_a_service_may_have_the_name_of_a_feature(tmp_path: Path) -> None:
    before = registry_of(tmp_path / "a", payments=PAYMENTS)
    extra = "from payments import feature\n@feature\ndef fraud(amount: float) -> float: return amount\n"
    after = registry_of(tmp_path / "b", payments=PAYMENTS, more=extra)
    assert after.service("fraud").name == after.feature("fraud").name == "fraud"
    assert after.service_fingerprints == before.service_fingerprints
    assert after.fingerprints == {**before.fingerprints, "fraud": after.fingerprints["fraud"]}
    assert after.fingerprints["fraud"] != after.service_fingerprints["fraud"]


def test_a_changed_constant_changes_what_depends_on_it_and_nothing_else(tmp_path: Path) -> None:
    before = registry_of(tmp_path / "a", payments=PAYMENTS)
    after = registry_of(tmp_path / "b", payments=PAYMENTS.replace("RATE = 2", "RATE = 3"))
    assert list(before.fingerprints) == ["mean_30d", "count_1h", "count_1d", "ratio", "score"]
    changed = {name for name in before.fingerprints if before.fingerprints[name] != after.fingerprints[name]}
    assert changed == {"mean_30d", "ratio", "score"}
    assert before.service_fingerprints["fraud"] != after.service_fingerprints["fraud"]


def test_a_column_more_at_the_end_of_a_source_changes_the_source_alone(tmp_path: Path) -> None:
    last = "    merchant: str | None = None\n"
    more = PAYMENTS.replace(last, f"{last}    city: str | None = None\n")
    before, after = (registry_of(tmp_path / str(len(text)), payments=text) for text in (PAYMENTS, more))
    assert after.fingerprints == before.fingerprints
    assert after.service_fingerprints == before.service_fingerprints
    old = {(fact.kind, fact.name): fact.fingerprint for fact in before.facts()}
    assert [fact.name for fact in after.facts() if fact.fingerprint != old[fact.kind, fact.name]] == ["transactions"]


def test_the_request_schema_and_the_order_of_outputs_are_the_services(tmp_path: Path) -> None:
    versions = [
        PAYMENTS,
        PAYMENTS.replace("    amount: float\n\n", "    amount: int\n\n"),
        PAYMENTS.replace("mean_30d, count,", "count, mean_30d,"),
    ]
    made = [registry_of(tmp_path / str(number), payments=text) for number, text in enumerate(versions)]
    assert len({one.service_fingerprints["fraud"] for one in made}) == 3
    assert len({one.fingerprints["score"] for one in made}) == 1


def test_a_feature_that_a_later_one_of_its_name_hides_is_a_problem(tmp_path: Path) -> None:
    body = "@feature(payments, by=customer, window='7d')\ndef spent(tx):\n    return tx.amount.sum()\n"
    (tmp_path / "defs.py").write_text(HEAD + body + body)
    with pytest.raises(DefinitionProblems, match=r"defs\.py:\d+: 'spent' is hidden by another of its name in line \d+"):
        Registry.of(tmp_path / "defs.py")
