"""What is applied, what would change, and what has changed."""

import dataclasses
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from featurestore.applied import AppliedRegistry
from featurestore.errors import NewerFormat, StoreBusy, StoreDamaged
from featurestore.facts import Fact

SOURCE = Fact("source", "payments", "s1", "d/p.py", 3, "payments = Source(...)\n", {"delay": "5m"}, (), "")
MEAN = Fact(
    "feature",
    "mean",
    "m1",
    "d/p.py",
    5,
    "def mean(tx):\n    return 1\n",
    {"of": "window", "windows": ["30d"]},
    ("payments",),
    "Mean.",
)
RATIO = Fact("feature", "ratio", "r1", "d/p.py", 9, "def ratio(mean): ...\n", {"of": "row"}, ("mean",), "")
FRAUD = Fact("service", "fraud", "f1", "d/p.py", 12, "fraud = ...\n", {"outputs": ["ratio"]}, ("ratio",), "")
ALL = [SOURCE, MEAN, RATIO, FRAUD]


@pytest.fixture
def applied(tmp_path: Path) -> AppliedRegistry:
    return AppliedRegistry(tmp_path / "home" / "registry.sqlite")


def test_nothing_is_applied_at_first(applied: AppliedRegistry) -> None:
    assert (applied.current(), applied.history()) == ([], [])
    assert [(one.name, one.action, one.before, one.after) for one in applied.plan([MEAN])] == [
        ("mean", "added", None, "m1")
    ]
    assert not applied.path.exists()


def test_facts_come_back_as_they_were(applied: AppliedRegistry) -> None:
    assert applied.apply(ALL, at=7) == 1
    assert applied.current() == ALL
    assert AppliedRegistry(applied.path).current() == ALL
    assert applied.plan(ALL) == []


def test_applying_the_same_again_is_no_news(applied: AppliedRegistry) -> None:
    assert [applied.apply(ALL, at=7), applied.apply(ALL, at=8)] == [1, 1]
    assert [(one.number, one.at) for one in applied.history()] == [(1, 7)]


def test_a_changed_body_is_shown_and_what_depends_on_it_is_explained(applied: AppliedRegistry) -> None:
    applied.apply(ALL, at=7)
    after = [
        SOURCE,
        dataclasses.replace(MEAN, fingerprint="m2", code="def mean(tx):\n    return 2\n"),
        dataclasses.replace(RATIO, fingerprint="r2"),
        dataclasses.replace(FRAUD, fingerprint="f2"),
    ]
    mean, ratio, fraud = applied.plan(after)
    assert mean.diff.splitlines() == [
        "--- feature mean",
        "+++ feature mean",
        "@@ -1,2 +1,2 @@",
        " def mean(tx):",
        "-    return 1",
        "+    return 2",
    ]
    assert (mean.before, mean.after, mean.because) == ("m1", "m2", ())
    assert (ratio.diff, ratio.because) == ("", ("feature mean",))
    assert (fraud.diff, fraud.because) == ("", ("feature ratio",))


def test_a_changed_parameter_is_shown(applied: AppliedRegistry) -> None:
    applied.apply(ALL, at=7)
    (change,) = applied.plan(
        [SOURCE, dataclasses.replace(MEAN, fingerprint="m2", parameters={"windows": ["7d"]}), RATIO, FRAUD]
    )
    assert '-  "30d"' in change.diff
    assert '+  "7d"' in change.diff


def test_a_changed_source_is_the_reason_for_its_features(applied: AppliedRegistry) -> None:
    applied.apply([SOURCE, MEAN], at=7)
    source, mean = dataclasses.replace(SOURCE, fingerprint="s2"), dataclasses.replace(MEAN, fingerprint="m2")
    assert applied.plan([source, mean])[1].because == ("source payments",)


def test_what_is_gone_is_removed(applied: AppliedRegistry) -> None:
    applied.apply(ALL, at=7)
    assert applied.apply([SOURCE], at=9) == 2
    assert [one.name for one in applied.current()] == ["payments"]
    assert [(one.name, one.action) for one in applied.history()[1].changes] == [
        ("mean", "removed"),
        ("ratio", "removed"),
        ("fraud", "removed"),
    ]


def test_words_alone_are_kept_without_a_new_number(applied: AppliedRegistry) -> None:
    applied.apply([MEAN], at=7)
    said = dataclasses.replace(MEAN, description="The mean.", line=50)
    assert applied.plan([said]) == []
    assert applied.apply([said], at=8) == 1
    assert applied.current() == [said]


def test_an_apply_that_fails_leaves_everything_as_it_was(applied: AppliedRegistry) -> None:
    applied.apply([MEAN], at=7)
    with pytest.raises(TypeError):
        applied.apply([SOURCE, dataclasses.replace(RATIO, parameters={"no": object()})], at=8)
    assert applied.current() == [MEAN]
    assert [one.number for one in applied.history()] == [1]


def test_applies_from_several_threads_are_numbered_one_by_one(applied: AppliedRegistry) -> None:
    applied.apply([], at=0)
    versions = [[dataclasses.replace(MEAN, fingerprint=f"m{number}")] for number in range(8)]
    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(lambda facts: applied.apply(facts, at=1), versions))
    assert sorted(numbers) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(applied.history()) == 8


def test_a_later_format_is_refused_in_words(applied: AppliedRegistry) -> None:
    applied.apply(ALL, at=7)
    connection = sqlite3.connect(applied.path)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NewerFormat, match="has format 99; this version reads up to 1"):
        applied.current()


def test_a_damaged_file_is_named(applied: AppliedRegistry) -> None:
    applied.path.parent.mkdir()
    applied.path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreDamaged, match=r"registry.sqlite is damaged"):
        applied.plan(ALL)


def test_a_file_that_another_process_holds_is_said_to_be_busy(
    applied: AppliedRegistry, monkeypatch: pytest.MonkeyPatch
) -> None:
    applied.apply(ALL, at=7)
    monkeypatch.setattr("featurestore.applied._WAIT_S", 0.0)
    holder = sqlite3.connect(applied.path, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreBusy, match="held by another process"):
        applied.apply([SOURCE], at=8)
    assert applied.current() == ALL
    holder.close()
