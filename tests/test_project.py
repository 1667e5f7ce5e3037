"""Importing a folder's files without a trace."""

import sys
from pathlib import Path
from types import ModuleType

import pytest
from declaring import SHARED, USING, folder_of, names

from featurestore.collect import collect


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    return folder_of(
        tmp_path / "definitions",
        shared=SHARED,
        a=USING.format(shared="definitions.shared", name="a"),
        b=USING.format(shared="shared", name="b"),
        c=USING.format(shared=".shared", name="c"),
    )


@pytest.mark.parametrize(
    "statement",
    [
        "import shared\nfound = shared.customer",
        "import shared as s\nfound = s.customer",
        "import definitions.shared\nfound = definitions.shared.customer",
        "import definitions.shared as s\nfound = s.customer",
        "from definitions import shared\nfound = shared.customer",
        "from . import shared\nfound = shared.customer",
        "from .shared import *\nfound = customer",
        "from definitions.shared import customer as found",
        "def late():\n    from shared import customer\n    return customer\nfound = late()",
    ],
)
def test_every_form_of_import_finds_the_neighbour(tmp_path: Path, statement: str) -> None:
    collected = collect(folder_of(tmp_path / "definitions", use=statement, shared=SHARED))
    assert collected.problems == ()
    assert len(collected.entities) == 1


def test_an_import_inside_a_function_works_after_collecting(definitions: Path) -> None:
    head = "from featurestore.definition import feature\n"
    body = f"{head}@feature\ndef late() -> str:\n    import shared\n    return shared.customer.name\n"
    collected = collect(folder_of(definitions, late=body))
    (late,) = (one for one in collected.features if one.name == "late")
    assert late() == "customer"


def test_collecting_leaves_nothing_under_the_users_names(definitions: Path) -> None:
    before = set(sys.modules)
    path = list(sys.path), list(sys.meta_path)
    collect(definitions)
    assert {name for name in set(sys.modules) - before if "@" not in name} == set()
    assert path == (sys.path, sys.meta_path)
    assert not list(definitions.rglob("__pycache__"))


def test_two_folders_of_one_name_do_not_meet(tmp_path: Path) -> None:
    for side, name in (("left", "one"), ("right", "two")):
        folder_of(
            tmp_path / side / "definitions", shared=SHARED, use=USING.format(shared="definitions.shared", name=name)
        )
    left, right = (collect("definitions", root=tmp_path / side) for side in ("left", "right"))
    assert (names(left), names(right)) == (["one"], ["two"])
    assert left.sources[0] is not right.sources[0]


def test_the_programs_own_import_stays_its_own(definitions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = ModuleType("definitions")
    monkeypatch.setitem(sys.modules, "definitions", own)
    monkeypatch.setitem(sys.modules, "shared", own)
    assert names(collect(definitions)) == ["a", "b", "c"]
    assert sys.modules["definitions"] is sys.modules["shared"] is own
    assert not hasattr(own, "customer")


def test_collecting_again_gives_the_new_content(tmp_path: Path) -> None:
    text = "from featurestore.definition import feature\n@feature\ndef f() -> int: return {}\n"
    files = (folder_of(tmp_path / "definitions", f=text.format(value)) for value in (1, 2, 3))
    values = [[one() for one in collect(folder).features] for folder in files]
    assert values == [[1], [2], [3]]


def test_modules_of_the_project_around_can_be_imported(tmp_path: Path) -> None:
    folder_of(tmp_path / "p", acme__money="RATE = 3\n")
    text = (
        "from acme.money import RATE\nfrom featurestore.definition import Entity\ne = Entity(f'rate_{RATE}', key='k')\n"
    )
    collected = collect("definitions", root=folder_of(tmp_path / "p", definitions__e=text))
    assert [one.name for one in collected.entities] == ["rate_3"]
    assert "acme" not in sys.modules


def test_a_file_named_like_the_standard_library_hides_nothing(tmp_path: Path) -> None:
    text = "import json\nfrom featurestore.definition import Entity\ne = Entity(json.loads('\"e\"'), key='k')\n"
    assert collect(folder_of(tmp_path / "definitions", json=text)).entities[0].name == "e"


def test_string_annotations_of_a_schema_are_resolved(tmp_path: Path) -> None:
    later = "from __future__ import annotations\n" + SHARED
    collected = collect(folder_of(tmp_path / "definitions", shared=later))
    assert collected.problems == ()
    collected.sources[0].schema(customer_id="c", at="2026-01-01T00:00:00", amount=1)
