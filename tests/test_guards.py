"""Guards of the layout: imports go down only, the public names, a light import, no stored code."""

import ast
import subprocess
import sys
from pathlib import Path

import featurestore

PACKAGE = Path(featurestore.__file__).parent
FLOORS = (
    ("errors",),
    ("times", "settings", "memory", "parallel", "exact", "ahead"),
    (
        "values",
        "schema",
        "hashing",
        "events",
        "fold",
        "quantiles",
        "longranges",
        "spans",
        "extremes",
        "moments",
        "terms",
        "arithmetic",
        "grouping",
        "elementwise",
        "operand",
        "elements",
        "statistics",
        "column",
        "window",
        "visibility",
        "definition",
        "keys",
        "layout",
        "packing",
        "unpacking",
    ),
    (
        "syntax",
        "written",
        "constraints",
        "used",
        "impure",
        "scopes",
        "purity",
        "fingerprint",
        "project",
        "collect",
        "facts",
        "plan",
        "registry",
        "applied",
        "alone",
        "hot",
        "evaluate",
        "made",
        "validation",
        "carriers",
        "casting",
        "frames",
        "refusals",
        "rowwise",
        "rules",
        "reading",
        "spine",
        "view",
        "deliveries",
        "stamps",
        "specimens",
    ),
    ("log", "online", "engine"),
    (
        "arrivals",
        "compatible",
        "conflicts",
        "difference",
        "known",
        "forget",
        "forgotten",
        "handful",
        "ingest",
        "filling",
        "materialize",
        "maturity",
        "merging",
        "splits",
        "spill",
        "spines",
        "contents",
        "provenance",
        "training",
        "kept",
        "lookup",
        "explain",
        "models",
        "monitoring",
        "apikeys",
        "simulate",
        "verify",
        "metamorphic",
        "fresh",
        "trials",
        "leaks",
    ),
    ("store",),
    ("status", "cli", "server", "demo", "scaffold", "testing", "__init__", "__main__"),
)
FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}


def modules() -> dict[Path, str]:
    return {path: path.relative_to(PACKAGE).with_suffix("").parts[0] for path in sorted(PACKAGE.rglob("*.py"))}


def imported(path: Path) -> set[str]:
    """Dotted names within the package that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names if alias.name.startswith("featurestore")}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            if node.module == "featurestore":
                names |= {f"featurestore.{alias.name}" for alias in node.names}
            elif node.module and node.module.startswith("featurestore."):
                names |= {_module(node.module, alias.name) for alias in node.names}
    return names


def _module(package: str, name: str) -> str:
    """The submodule of that name if there is one, else the package that defines it."""
    folder = PACKAGE.parent / package.replace(".", "/")
    return f"{package}.{name}" if (folder / f"{name}.py").exists() else package


def test_every_module_has_a_floor() -> None:
    assert {part for part in modules().values() if part not in FLOOR} == set()


def test_imports_go_down_only() -> None:
    wrong = [
        f"{path.relative_to(PACKAGE)} imports {name}"
        for path, part in modules().items()
        for name in imported(path)
        if name.count(".") and FLOOR.get(name.split(".")[1], -1) > FLOOR[part]
    ]
    assert wrong == []


def test_no_imports_run_in_a_circle() -> None:
    edges: dict[str, set[str]] = {}
    for path in modules():
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        name = ".".join(("featurestore", *(part for part in parts if part != "__init__")))
        edges[name] = {other for other in imported(path) if other != name}
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join([*path, name])
        if name not in done:
            for other in edges.get(name, ()):
                visit(other, (*path, name))
            done.add(name)

    for name in edges:
        if name != "featurestore":
            visit(name, ())


def test_the_package_never_imports_definitions() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not [name for name in names if name.split(".")[0] == "definitions"], path


def test_nothing_stored_is_ever_run() -> None:
    for path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and path.name != "project.py":
                assert node.func.id not in {"eval", "exec"}, path  # project.py runs the files that its caller names
            if isinstance(node, ast.Import):
                assert not {alias.name for alias in node.names} & {"pickle", "dill", "cloudpickle", "marshal"}, path


def test_the_oracle_uses_nothing_of_what_it_is_held_against() -> None:
    assert imported(PACKAGE / "testing/oracle.py") == set()


def test_public_names() -> None:
    assert featurestore.__all__ == [
        "Entity",
        "FeatureService",
        "FeatureStore",
        "FeatureStoreError",
        "Source",
        "aggregations",
        "feature",
        "label",
        "on",
    ]
    assert all(hasattr(featurestore, name) for name in featurestore.__all__)


def test_import_is_light() -> None:
    heavy = (
        "fastapi",
        "sklearn",
        "scipy",
        "pyspark",
        "redis",
        "pandas",
        "polars",
        "duckdb",
        "typer",
        "rich",
        "uvicorn",
    )
    code = f"import sys; from featurestore import FeatureStore; print([one for one in {heavy} if one in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_no_module_is_called_after_nothing() -> None:
    assert not set(modules().values()) & {"utils", "helpers", "common", "base", "misc"}
