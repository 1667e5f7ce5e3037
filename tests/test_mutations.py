"""The auditor is itself tested: each cause of skew is planted, each rule broken once, and the right checks see it.

``MUTATIONS.md`` shows what catches what; ``FEATURESTORE_WRITE_MUTATIONS=1`` writes it anew, in one process:
``pytest tests/test_mutations.py -m "slow or not slow"``.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from mutations import Answers, Found, answered, audit
from plants import PLANTS, Plant
from rulebreaks import SLIPS  # with those of the module itself
from slips import Slipped

TABLE = Path(__file__).with_name("MUTATIONS.md")
HEAD = """# What catches what

Each cause of skew that others have had (K1 to K15) is planted, each rule of the semantics (S1 to S16) is broken; all
checks look, and `test_mutations.py` holds that these see it and that without the fault none does. Faults of the product
are planted in `plants.py`, and where they need labels, changed helpers or forgotten customers in `rulebreaks.py`; those
that a user brings in `slips.py`.

- `oracle`: every value against the rules in plain loops (`oracle.py`).
- `verify training-set`, `verify served`: the store's own proof, run by the product that has the fault.
- `verify training-set, built before`: the same for a training set from before the fault, as an upgrade would bring it.
  A rule broken for both callers alike is the same bytes for both: this, the oracle and `leaks` see it.
- `leaks`: the training table with the fault, told from outside by a sound store.
- `check`, `opening the store`, `refused at the door`: definitions asked in many ways, read, and typed refusals.

What is told is how much of the scenario's rows and features shows the fault; seconds are for all checks together on two
busy cores, filling the store included.

| rule | fault | caught by | how | seconds |
|---|---|---|---|---|
"""
FIRST = [next(one for one in PLANTS if one.rule == rule) for rule in dict.fromkeys(each.rule for each in PLANTS)]
QUICK = [one for one in FIRST if one.rule[0] == "K"]
MARKED = [pytest.param(one, id=repr(one), marks=() if one in QUICK else pytest.mark.slow) for one in PLANTS]


@pytest.fixture(scope="module")
def sound() -> Iterator[Answers]:
    """A store without any fault."""
    with answered() as found:
        yield found


def test_without_a_fault_every_check_is_silent(sound: Answers) -> None:
    assert audit(lambda _: None, sound) == {}


@pytest.mark.parametrize("one", MARKED)
def test_each_fault_of_the_product_is_caught_by_the_checks_that_can_see_it(one: Plant, sound: Answers) -> None:
    began = time.perf_counter()
    found = audit(one.put, sound)
    assert tuple(found) == one.caught, found
    noted(one, found, time.perf_counter() - began)


@pytest.mark.parametrize("one", SLIPS, ids=repr)
def test_each_slip_of_a_user_is_caught_by_the_checks_that_can_see_it(one: Slipped, tmp_path: Path) -> None:
    folders = [tmp_path / "without", tmp_path / "with"]
    for folder in folders:
        folder.mkdir()
    assert one.make(folders[0], faulty=False) == {}
    began = time.perf_counter()
    found = one.make(folders[1], faulty=True)
    assert tuple(found) == one.caught, found
    noted(one, found, time.perf_counter() - began)


def test_every_cause_of_skew_is_planted_and_every_rule_is_broken() -> None:
    rules = {one.rule for one in _listed()}
    assert rules == {f"K{number}" for number in range(1, 16)} | {f"S{number}" for number in range(1, 17)}
    assert all(one.caught for one in _listed())


def test_the_table_shows_these_faults_and_checks() -> None:
    rows = [line.split(" | ")[:3] for line in TABLE.read_text().splitlines() if line.startswith(("| K", "| S"))]
    assert rows == [_cells(one)[:3] for one in _listed()]


def _listed() -> list[Any]:
    """Causes of skew, then rules, each by number."""
    return sorted([*PLANTS, *SLIPS], key=lambda one: (one.rule[0], int(one.rule[1:])))


def _cells(one: Any, how: str = "", seconds: str = "") -> list[str]:
    return [f"| {one.rule}", one.words, ", ".join(one.caught), how, seconds]


def noted(one: Any, found: Found, seconds: float) -> None:
    """Write a fault's row into the table, if that is asked for; one process alone."""
    if not os.environ.get("FEATURESTORE_WRITE_MUTATIONS"):
        return
    before = TABLE.read_text().splitlines() if TABLE.exists() else []
    old = {tuple(line.split(" | ")[:2]): line for line in before if line.startswith(("| K", "| S"))}
    how = "; ".join(dict.fromkeys(found.values()))
    old[_cells(one)[0], one.words] = " | ".join(_cells(one, how, f"{seconds:.1f} |"))
    rows = [old[_cells(each)[0], each.words] for each in _listed() if (_cells(each)[0], each.words) in old]
    TABLE.write_text(HEAD + "\n".join(rows) + "\n")
