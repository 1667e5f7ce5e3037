"""Collecting declarations from folders, files, modules and lists."""

from pathlib import Path

import pytest
from declaring import SHARED, USING, folder_of, names

from featurestore.collect import collect
from featurestore.definition import Entity, Feature, FeatureService, Source, feature
from featurestore.errors import DefinitionError


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


def test_a_name_within_a_class_or_a_function_is_not_where_a_declaration_stands(tmp_path: Path) -> None:
    text = SHARED + "class Other:\n    customer: str = 'c'\ndef g():\n    payments = 3\n"
    collected = collect(folder_of(tmp_path / "definitions", shared=text))
    assert collected.place(collected.entities[0]).line == 11
    assert collected.place(collected.sources[0]).line == 12
