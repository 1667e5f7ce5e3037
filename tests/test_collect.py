"""Collecting declarations from folders, files, modules and lists."""

import sys
from pathlib import Path
from types import ModuleType

import pytest

from featurestore.collect import Collected, collect
from featurestore.definition import Entity, Feature, FeatureService, Source, feature
from featurestore.errors import DefinitionError

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


def folder_of(path: Path, **files: str) -> Path:
    """Write modules into a folder; ``a__b`` is ``a/b.py``."""
    for name, text in files.items():
        file = path.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return path


def names(collected: Collected) -> list[str]:
    return [one.name for one in collected.features]


@pytest.fixture
def definitions(tmp_path: Path) -> Path:
    return folder_of(
        tmp_path / "definitions",
        shared=SHARED,
        a=USING.format(shared="definitions.shared", name="a"),
        b=USING.format(shared="shared", name="b"),
        c=USING.format(shared=".shared", name="c"),
    )


def test_neighbours_imported_by_any_name_are_the_same_objects(definitions: Path) -> None:
    collected = collect(definitions)
    assert collected.problems == ()
    assert names(collected) == ["a", "b", "c"]
    assert [one.name for one in collected.sources] == ["payments"]
    assert [one.name for one in collected.entities] == ["customer"]


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


def test_a_file_that_fails_is_a_problem_with_its_line_and_others_go_on(definitions: Path) -> None:
    folder_of(
        definitions, aa="import bad\n", bad="x = 1\ny = x / 0\n", worse="def f(:\n", exits="raise SystemExit(3)\n"
    )
    collected = collect(definitions)
    assert names(collected) == ["a", "b", "c"]
    assert [problem.replace(str(definitions), "") for problem in collected.problems] == [
        "/bad.py:2: ZeroDivisionError: division by zero",
        "/exits.py:1: SystemExit: 3",
        "/worse.py:1: SyntaxError: invalid syntax",
    ]


def test_a_problem_of_a_declaration_names_the_line_once(definitions: Path) -> None:
    entity = "from featurestore.definition import Entity\nEntity('1', key='k')\n"
    row = "from featurestore.definition import feature\n\n@feature\ndef f(a): return a\n"
    first, second = collect(folder_of(definitions, e=entity, w=row)).problems
    assert first.startswith(f"{definitions / 'e.py'}:2: '1' cannot name")
    assert second.startswith(f"{definitions / 'w.py'}:3: feature 'f': annotate")


def test_a_missing_neighbour_is_named_with_the_importing_line(definitions: Path) -> None:
    (problem,) = collect(folder_of(definitions, z="\nfrom definitions.nowhere import x\n")).problems
    assert problem.startswith(f"{definitions / 'z.py'}:2: ModuleNotFoundError: No module named 'definitions.nowhere'")


def test_underscored_files_count_only_through_others(tmp_path: Path) -> None:
    using = USING.format(shared="_shared", name="a")
    unused = USING.format(shared="_shared", name="unused")
    collected = collect(folder_of(tmp_path / "definitions", _shared=SHARED, _unused=unused, a=using))
    assert names(collected) == ["a"]
    assert [one.name for one in collected.sources] == ["payments"]


def test_subfolders_and_packages_count(tmp_path: Path) -> None:
    folder = folder_of(
        tmp_path / "definitions",
        shared=SHARED,
        cards__one=USING.format(shared="..shared", name="one"),
        shops____init__=USING.format(shared="definitions.shared", name="two"),
        shops__three=USING.format(shared="definitions.shared", name="three"),
    )
    collected = collect(folder)
    assert collected.problems == ()
    assert names(collected) == ["one", "two", "three"]


def test_one_file_brings_what_it_imports_and_no_more(definitions: Path) -> None:
    collected = collect(definitions / "a.py")
    assert names(collected) == ["a"]
    assert len(collected.sources) == 1


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


def test_places_are_where_things_are_declared_not_where_they_are_imported(definitions: Path) -> None:
    collected = collect(definitions)
    assert str(collected.place(collected.entities[0])) == f"{definitions / 'shared.py'}:11"
    assert (
        collected.place(collected.sources[0]).code == 'payments = Source("payments", schema=Payment, event_time="at")\n'
    )
    assert str(collected.place(collected.features[0])) == f"{definitions / 'a.py'}:5"


def test_lists_and_what_services_hold_count(tmp_path: Path) -> None:
    text = USING.format(shared="shared", name="a") + (
        "made = [aggregations(payments.by(customer), columns=['amount'], functions=['min', 'max'], windows=['1d'])]\n"
        "fraud = FeatureService('fraud', features=[*on('buyer', a)])\n"
    )
    collected = collect(folder_of(tmp_path / "definitions", shared=SHARED, a=text))
    assert names(collected) == ["a", "amount_min", "amount_max"]
    assert [one.outputs for one in collected.roles] == [("buyer__a",)]
    assert collected.place(collected.features[1]).line == 8


def test_a_list_of_declarations_brings_what_they_use() -> None:
    @feature
    def double(amount: float) -> float:
        return amount * 2

    service = FeatureService("s", features=[double])
    collected = collect([[service], double, Entity("e", key="k")])
    assert (collected.features, collected.services) == ((double,), (service,))
    assert collected.place(double).file == __file__


def test_a_module_and_its_package_are_taken_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder_of(tmp_path / "owned", shared=SHARED, a=USING.format(shared="owned.shared", name="a"))
    monkeypatch.syspath_prepend(tmp_path)
    import owned  # type: ignore[import-not-found]
    import owned.a  # type: ignore[import-not-found]

    collected = collect(owned)
    assert collected.features == (owned.a.a,)
    assert len(collected.sources) == 1


def test_what_is_no_definition_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DefinitionError, match=r"nothing is there. Name a folder of .py files"):
        collect(tmp_path / "nowhere")
    with pytest.raises(DefinitionError, match="3 is no declaration"):
        collect([3])


def test_kinds_are_kept_apart(definitions: Path) -> None:
    collected = collect(definitions)
    assert all(isinstance(one, Source) for one in collected.sources)
    assert all(isinstance(one, Feature) for one in collected.features)
