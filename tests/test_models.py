"""Model versions: what is written down, what is refused before anything is unpickled, aliases."""

import ast
import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
import sklearn
from risk import SERVICE, filled, pipeline, rewrite, row_of
from shop import Clock
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LinearRegression, LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import featurestore
from featurestore import FeatureStore
from featurestore.errors import (
    FeatureStoreError,
    MissingExtra,
    NewerFormat,
    OperationError,
    RequestError,
    StoreDamaged,
    UnknownService,
)
from featurestore.models import ModelVersion, artifact, sealed
from featurestore.training import TrainingSet

Open = Callable[..., FeatureStore]


@pytest.fixture
def store(open_store: Open) -> FeatureStore:
    return open_store([SERVICE])


@pytest.fixture
def training(store: FeatureStore, clock: Clock) -> TrainingSet:
    return filled(store, clock)


@pytest.fixture
def saved(store: FeatureStore, training: TrainingSet) -> ModelVersion:
    return store.train("risk", training, pipeline(), label="fraud", cv=2, threshold=0.25)


class Canary:
    """Writes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def plant(version: ModelVersion, path: Path) -> dict[str, Any]:
    """Put a canary in place of the estimator; gives the manifest's ``file`` that goes with it."""
    content = artifact.dump(Canary(path))
    (version.path / "pipeline.joblib").write_bytes(content)
    return artifact.sizes(content)


def test_a_manifest_says_how_the_model_was_made(saved: ModelVersion, training: TrainingSet) -> None:
    said = json.loads((saved.path / "manifest.json").read_text())
    assert (said["name"], said["version"], said["created_at"]) == ("risk", "v1", "2026-06-30T00:00:00.000000Z")
    assert said["environment"]["scikit-learn"] == sklearn.__version__
    assert said["environment"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert said["training_set"]["content_hash"] == training.manifest["content_hash"]
    assert (said["training_set"]["rows"], said["service"]["name"]) == (120, "shop")
    assert [(one["name"], one["kind"]) for one in said["features"]] == [
        ("number", "int"),
        ("spent", "float"),
        ("latest", "float"),
        ("share", "float"),
    ]
    assert {one["name"]: one["fingerprint"] for one in said["features"]} == training.manifest["fingerprints"]
    assert (said["label"], said["threshold"]) == ({"column": "fraud", "classes": [False, True]}, 0.25)
    assert [step for _, step in said["estimator"]["steps"]] == ["SimpleImputer", "StandardScaler", "LogisticRegression"]
    assert said["file"]["size"] == (saved.path / "pipeline.joblib").stat().st_size
    assert len(said["golden"]["rows"]) == len(said["golden"]["expected"]) == 20


def test_the_commit_of_the_project_is_written_down(store: FeatureStore, training: TrainingSet, tmp_path: Path) -> None:
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b.c"]
    (tmp_path / ".gitignore").write_text("home\ndata\n")
    for words in (["init", "-q"], ["add", ".gitignore"], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *words], check=True)
    commit = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    clean = store.train("risk", training, pipeline(), label="fraud", cv=False)
    assert clean.manifest["git"] == {"commit": commit, "dirty": False}
    (tmp_path / "new.py").write_text("")
    assert store.train("risk", training, pipeline(), label="fraud", cv=False).manifest["git"]["dirty"] is True


def test_versions_count_up_and_never_change(store: FeatureStore, training: TrainingSet, saved: ModelVersion) -> None:
    assert saved.version == "v1"
    assert store.train("risk", "history", pipeline(), label="fraud", cv=False).version == "v2"
    assert store.train("risk", training, pipeline(), label="fraud", cv=False, version="1.0-a").version == "1.0-a"
    before = (saved.path / "manifest.json").read_bytes()
    with pytest.raises(RequestError, match="has a version 'v1' already, and versions never change"):
        store.train("risk", training, pipeline(), label="fraud", cv=False, version="v1")
    assert (saved.path / "manifest.json").read_bytes() == before
    assert [one.reference for one in store.models()] == ["risk@1.0-a", "risk@v1", "risk@v2"]


@pytest.mark.parametrize("name", ["", "Risk", "../risk", "a/b", "1a", "a" * 64, "ri sk", "risk\n"])
def test_a_model_is_named_like_a_folder_that_nobody_minds(
    store: FeatureStore, training: TrainingSet, name: str
) -> None:
    with pytest.raises(RequestError, match="is no name for a model"):
        store.train(name, training, pipeline(), label="fraud")
    with pytest.raises(UnknownService, match="No model named"):
        store.predict(name, {"customer": "c1", "amount": 1.0})


@pytest.mark.parametrize("version", ["", ".", "..", "a..b", "../v1", "a/b", "-v", "v" * 64, "champion", "v1\n"])
def test_a_version_is_named_like_a_folder_that_nobody_minds(
    store: FeatureStore, training: TrainingSet, version: str
) -> None:
    with pytest.raises(RequestError, match=r"is no name for a version|is an alias"):
        store.train("risk", training, pipeline(), label="fraud", version=version)
    assert not (store.home / "models").exists()


def test_of_many_who_save_one_version_at_once_exactly_one_wins(store: FeatureStore, training: TrainingSet) -> None:
    fitted = store.saved_models.load(store.train("risk", training, pipeline(), label="fraud", cv=False).name).estimator
    outcomes: list[str] = []

    def save(version: str | None) -> None:
        try:
            outcomes.append(store.save_model("risk", fitted, training, label="fraud", version=version).version)
        except RequestError:
            outcomes.append("refused")

    threads = [threading.Thread(target=save, args=(version,)) for version in ["same"] * 6 + [None] * 4]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == sorted(["refused"] * 5 + ["same", "v2", "v3", "v4", "v5"])
    assert not [one for one in (store.home / "models" / "risk").iterdir() if one.name.startswith(".")]


def test_of_200_flipped_bits_none_is_loaded(open_store: Open, saved: ModelVersion) -> None:
    made = random.Random(7)
    folder = saved.path.parent
    files = [saved.path / "pipeline.joblib", saved.path / "manifest.json", folder / "aliases.json"]
    for number in range(200):
        path = files[number % 3]
        whole = path.read_bytes()
        broken = bytearray(whole)
        broken[made.randrange(len(whole))] ^= 1 << made.randrange(8)
        path.write_bytes(bytes(broken))
        with pytest.raises(StoreDamaged), open_store([SERVICE]) as other:
            other.saved_models.verify("risk")
        path.write_bytes(whole)
    assert open_store([SERVICE]).saved_models.verify("risk").version == "v1"


def test_damage_is_words_that_say_what_to_do(open_store: Open, saved: ModelVersion) -> None:
    path = saved.path / "pipeline.joblib"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreDamaged, match=r"pipeline.joblib is damaged.*Nothing of it was loaded. Restore it"):
        open_store([SERVICE]).predict("risk", {"customer": "c1", "amount": 1.0})
    path.unlink()
    with pytest.raises(StoreDamaged, match="cannot be read"):
        open_store([SERVICE]).predict("risk", {"customer": "c1", "amount": 1.0})


def test_a_foreign_estimator_is_not_unpickled(open_store: Open, saved: ModelVersion, tmp_path: Path) -> None:
    plant(saved, tmp_path / "ran")
    with pytest.raises(StoreDamaged, match="do not match the manifest's digest"):
        open_store([SERVICE]).predict("risk", {"customer": "c1", "amount": 1.0})
    assert not (tmp_path / "ran").exists()


def test_other_libraries_are_named_and_nothing_is_unpickled(
    open_store: Open, saved: ModelVersion, tmp_path: Path
) -> None:
    told = plant(saved, tmp_path / "ran")
    there = {**saved.manifest["environment"], "scikit-learn": "1.2.3", "numpy": "1.26.0"}
    rewrite(saved, {"environment": there, "file": told})
    both = rf"scikit-learn 1\.2\.3 \(here {sklearn.__version__}\), numpy 1\.26\.0 \(here {np.__version__}\)"
    with pytest.raises(OperationError, match=both):
        open_store([SERVICE]).predict("risk", {"customer": "c1", "amount": 1.0})
    assert not (tmp_path / "ran").exists()
    joblib.load(saved.path / "pipeline.joblib")
    assert (tmp_path / "ran").exists()  # the canary does run where it is unpickled


def test_a_patch_release_of_what_scikit_learn_stands_on_is_no_obstacle(open_store: Open, saved: ModelVersion) -> None:
    major, minor, _ = np.__version__.split(".", 2)
    rewrite(saved, {"environment": {**saved.manifest["environment"], "numpy": f"{major}.{minor}.999"}})
    assert open_store([SERVICE]).predict("risk", {"customer": "c1", "amount": 1.0}).version == "v1"


def test_a_model_that_answers_its_golden_rows_otherwise_is_not_served(open_store: Open, saved: ModelVersion) -> None:
    golden = json.loads(json.dumps(saved.manifest["golden"]))
    golden["expected"][3][0] = float(np.nextafter(golden["expected"][3][0], 2.0))
    rewrite(saved, {"golden": golden})
    with pytest.raises(OperationError, match="answers golden row 4 of 20 otherwise than when it was saved"):
        open_store([SERVICE]).predict("risk", {"customer": "c1", "amount": 1.0})


def test_a_version_moved_by_hand_and_a_later_format_are_refused(open_store: Open, saved: ModelVersion) -> None:
    shutil.copytree(saved.path, saved.path.with_name("v7"))
    with pytest.raises(StoreDamaged, match="holds risk@v1: versions are not moved by hand"):
        open_store([SERVICE]).predict("risk@v7", {"customer": "c1", "amount": 1.0})
    rewrite(saved, {"format": 2})
    with pytest.raises(NewerFormat, match="has format 2; this version reads up to 1: upgrade"):
        open_store([SERVICE]).predict("risk", {"customer": "c1", "amount": 1.0})


@pytest.mark.parametrize("lacking", ["environment", "golden", "file", "features", "service", "facts", "input"])
def test_a_manifest_that_lacks_something_is_damage(open_store: Open, saved: ModelVersion, lacking: str) -> None:
    path = saved.path / "manifest.json"
    manifest = {name: value for name, value in saved.manifest.items() if name != lacking}
    path.write_bytes(sealed.seal(manifest))
    with pytest.raises(StoreDamaged, match=f"manifest.json lacks {lacking}"):
        open_store([SERVICE]).predict("risk", {"customer": "c1", "amount": 1.0})


@pytest.mark.usefixtures("saved")
def test_the_first_version_is_champion_until_another_is_promoted(
    store: FeatureStore, open_store: Open, training: TrainingSet
) -> None:
    row, other = {"customer": "c1", "amount": 1.0}, open_store([SERVICE])
    second = store.train("risk", training, DummyClassifier(), label="fraud", cv=False)
    assert (store.predict("risk", row).version, other.predict("risk", row).version) == ("v1", "v1")
    assert store.promote("risk", second.version).version == "v2"
    assert (store.predict("risk", row).version, other.predict("risk", row).version) == ("v2", "v2")
    assert other.rollback("risk").version == "v1"
    assert (store.predict("risk", row).version, other.predict("risk", row).version) == ("v1", "v1")
    with pytest.raises(RequestError, match="Nothing to roll back to"):
        store.rollback("risk")
    assert [(one.version, one.action) for one in store.saved_models.history("risk")] == [
        ("v1", "promote"),
        ("v2", "promote"),
        ("v1", "rollback"),
    ]


@pytest.mark.usefixtures("saved")
def test_an_alias_is_asked_for_by_name_and_is_no_versions_name(store: FeatureStore, training: TrainingSet) -> None:
    store.train("risk", training, DummyClassifier(), label="fraud", cv=False)
    store.promote("risk", "v2", "challenger")
    assert store.predict("risk@challenger", {"customer": "c1", "amount": 1.0}).version == "v2"
    assert store.saved_models.aliases("risk") == {"champion": "v1", "challenger": "v2"}
    with pytest.raises(RequestError, match="'v1' is no alias"):
        store.promote("risk", "v2", "v1")
    with pytest.raises(RequestError, match="'challenger' is an alias of model 'risk'"):
        store.train("risk", training, pipeline(), label="fraud", version="challenger")
    with pytest.raises(UnknownService, match=r"no alias or version 'chalenger'"):
        store.predict("risk@chalenger", {"customer": "c1", "amount": 1.0})


@pytest.mark.usefixtures("saved")
def test_a_version_that_cannot_be_loaded_is_not_promoted(store: FeatureStore, training: TrainingSet) -> None:
    second = store.train("risk", training, pipeline(), label="fraud", cv=False)
    (second.path / "pipeline.joblib").write_bytes(b"")
    with pytest.raises(StoreDamaged):
        store.promote("risk", "v2")
    assert store.saved_models.aliases("risk") == {"champion": "v1"}


@pytest.mark.usefixtures("saved")
def test_a_model_that_overfits_is_promoted_by_force_alone(store: FeatureStore, training: TrainingSet) -> None:
    deep = store.train("risk", training, DecisionTreeClassifier(random_state=0), label="fraud", cv=3)
    said = deep.manifest["overfit"]
    assert said["gap"] == said["train"] - said["test"] > 0.15
    assert (said["score"], said["verdict"]) == ("f1", "overfitting")
    with pytest.raises(RequestError, match=r"risk@v2 overfits: f1 is 0\.\d+ in training"):
        store.promote("risk", "v2")
    assert store.promote("risk", "v2", force=True).version == "v2"


def test_what_another_process_could_not_load_is_not_saved(store: FeatureStore, training: TrainingSet) -> None:
    for estimator, words in (
        (
            make_pipeline(FunctionTransformer(lambda x: np.nan_to_num(x, nan=0.5)), LogisticRegression()),
            "cannot import",
        ),
        (LinearSVC(), "neither a regressor nor a classifier with predict_proba"),
        (FunctionTransformer(), "neither a regressor nor a classifier"),
        (LogisticRegression(), "cannot be fitted on these rows: Input X contains NaN"),
    ):
        with pytest.raises(RequestError, match=words):
            store.train("risk", training, estimator, label="fraud", cv=False)
    assert store.models() == []


def test_a_model_without_what_prepared_its_features_is_not_saved(store: FeatureStore, training: TrainingSet) -> None:
    fitted = store.saved_models.load(store.train("risk", training, pipeline(), label="fraud", cv=False).name).estimator
    with pytest.raises(RequestError, match=r"fitted on 6 features, and 4 are given.*belongs in a Pipeline"):
        store.save_model("risk", fitted[-1], training, label="fraud")
    with pytest.raises(RequestError, match="is not fitted"):
        store.save_model("risk", LogisticRegression(), training, label="fraud")


def test_an_estimator_fitted_elsewhere_is_saved_with_the_names_it_was_fitted_on(
    store: FeatureStore, training: TrainingSet
) -> None:
    frame = training.to_pandas()
    names = ["share", "spent"]
    fitted = pipeline().fit(frame[names], frame["fraud"])
    assert store.save_model("risk", fitted, training, label="fraud").features == ("share", "spent")
    row = frame.iloc[5]
    found = store.predict("risk", row_of(row), as_of=row["event_time"])
    assert found.probabilities is not None
    assert found.probabilities["true"] == fitted.predict_proba(frame[names].iloc[[5]])[0, 1]


def test_labels_and_features_that_do_not_fit_are_refused(store: FeatureStore, training: TrainingSet) -> None:
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"label": "frod"}, "has no column 'frod'. Did you mean 'fraud'"),
        ({"label": "spent"}, "'spent' is a feature of the training set"),
        ({"label": "fraud", "features": ["amount"]}, "has no feature 'amount'"),
        ({"label": "fraud", "features": []}, "give one or more"),
        ({"label": "fraud", "threshold": 1.5}, "is no probability"),
        ({"label": "customer", "threshold": 0.5, "cv": False}, "decides between two classes"),
        ({"label": "event_time"}, "give booleans, numbers or strings"),
        ({"label": "fraud", "cv": 500}, "cannot split 120 rows"),
    ]
    for options, words in wrong:
        with pytest.raises(RequestError, match=words):
            store.train("risk", training, pipeline(), **{"cv": 2, **options})
    with pytest.raises(UnknownService, match="No training set named 'hist'"):
        store.train("risk", "hist", pipeline(), label="fraud")


def test_a_regression_needs_numbers_and_gives_no_classes(store: FeatureStore, training: TrainingSet) -> None:
    with pytest.raises(RequestError, match="is text: a regressor needs numbers"):
        store.train("loss", training, LinearRegression(), label="customer", features=["number"])
    made = store.train("loss", training, LinearRegression(), label="loss", features=["number", "spent"], cv=2)
    assert made.manifest["label"] == {"column": "loss", "classes": None}
    assert made.metrics is not None
    assert set(made.metrics["test"]) == {"r2", "mae", "rmse"}


def test_folds_lie_in_order_of_time_and_ties_are_on_one_side(store: FeatureStore, clock: Clock) -> None:
    filled(store, clock)
    spine = [
        {"customer": "c1", "amount": float(number % 7), "fraud": number % 3 == 0, "event_time": f"2026-05-{day:02}"}
        for number, day in enumerate([1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 6, 6] * 2)
    ]
    made = store.train("risk", store.training_set("shop", spine), DummyClassifier(), label="fraud")
    assert made.metrics is not None
    folds = made.metrics["folds"]
    assert len(folds) == 5
    assert all(fold["train_until"] < fold["test_from"] for fold in folds if "train_until" in fold)


def test_scores_are_scikit_learns_own(store: FeatureStore, training: TrainingSet) -> None:
    from sklearn.metrics import accuracy_score, f1_score, log_loss, roc_auc_score
    from sklearn.model_selection import TimeSeriesSplit

    made = store.train("risk", training, pipeline(), label="fraud", cv=3)
    frame = training.to_pandas().sort_values("event_time", kind="stable")
    inputs, labels = frame[list(made.features)].to_numpy(float, na_value=np.nan), frame["fraud"].to_numpy()
    train, test = list(TimeSeriesSplit(3).split(inputs))[2]
    fitted = pipeline().fit(inputs[train], labels[train])
    found, chance = fitted.predict(inputs[test]), fitted.predict_proba(inputs[test])
    assert made.metrics is not None
    told = made.metrics["folds"][2]["test"]
    assert told["accuracy"] == accuracy_score(labels[test], found)
    assert told["f1"] == f1_score(labels[test], found)
    assert told["log_loss"] == pytest.approx(log_loss(labels[test], chance), rel=1e-12)
    assert told["roc_auc"] == pytest.approx(roc_auc_score(labels[test], chance[:, 1]), rel=1e-12)
    mean = float(np.mean([fold["test"]["f1"] for fold in made.metrics["folds"]]))
    assert made.metrics["test"]["f1"]["mean"] == pytest.approx(mean, rel=1e-12)


def test_several_classes_and_folds_that_have_not_met_them_all(store: FeatureStore, clock: Clock) -> None:
    table = filled(store, clock).to_pandas().drop(columns=["number", "spent", "latest", "share"])
    table = table.sort_values("event_time")
    table["result"] = (["home", "away"] * 40) + (["home", "draw"] * 20)
    made = store.train("result", store.training_set("shop", table), pipeline(), label="result", cv=2)
    assert made.manifest["label"]["classes"] == ["away", "draw", "home"]
    found = store.predict("result", {"customer": "c1", "amount": 3.0})
    assert found.probabilities is not None
    assert list(found.probabilities) == ["away", "draw", "home"]
    assert found.label == max(found.probabilities, key=lambda name: dict(found.probabilities or {})[name])


def test_a_forest_is_trained_as_given_and_served_on_one_thread(store: FeatureStore, training: TrainingSet) -> None:
    forest = make_pipeline(RandomForestClassifier(n_estimators=10, random_state=42, n_jobs=-1))
    made = store.train("risk", training, forest, label="fraud", cv=False)
    served = store.saved_models.load("risk").estimator
    assert served[-1].n_jobs == 1
    assert made.manifest["estimator"]["parameters"]["randomforestclassifier__n_jobs"] == -1
    assert forest[-1].n_jobs == -1
    assert not hasattr(forest[-1], "classes_")


def test_without_the_extra_it_is_named(
    store: FeatureStore, training: TrainingSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "joblib", None)
    with pytest.raises(MissingExtra, match=r"pip install featurestore\[ml\]"):
        store.train("risk", training, pipeline(), label="fraud")


def test_what_is_no_estimator_is_said_to_be_none(store: FeatureStore, training: TrainingSet) -> None:
    with pytest.raises(RequestError, match="is no scikit-learn estimator: give an instance"):
        store.train("odd", training, object(), label="fraud")


def test_estimators_are_unpickled_in_one_place() -> None:
    package = Path(featurestore.__file__).parent
    calls = [
        (path.name, node.func.attr)
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
        if isinstance(node.func.value, ast.Name) and node.func.value.id in {"joblib", "sklearn"}
    ]
    assert sorted(calls) == [("artifact.py", "dump"), ("artifact.py", "load")]


def test_every_refusal_is_one_of_ours(store: FeatureStore, saved: ModelVersion) -> None:
    for reference in ("", "@", "risk@", "risk@@", "risk@../v1", "@v1", "risk@v1@v1", "nobody", "risk/v1"):
        if reference == "risk@":
            assert store.predict(reference, {"customer": "c1", "amount": 1.0}).version == saved.version
            continue
        with pytest.raises(FeatureStoreError):
            store.predict(reference, {"customer": "c1", "amount": 1.0})
