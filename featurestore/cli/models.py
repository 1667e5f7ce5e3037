"""Commands about models: predict, and models list, show, verify, promote, rollback."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from featurestore.cli import asked
from featurestore.cli.session import Session
from featurestore.cli.terminal import Answer, Table, counted
from featurestore.errors import OperationError

SWITCH_INTERRUPTED = "An alias is switched wholly or not at all: see models show MODEL."

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.")]
Reference = Annotated[str, typer.Argument(metavar="MODEL", help="NAME (its champion), NAME@ALIAS or NAME@VERSION.")]
Alias = Annotated[str, typer.Option(help="The alias that is switched.")]


def list_(session: Session) -> Answer:
    """List the models and their versions, oldest first."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        found = store.models()
        pointed = {name: store.saved_models.aliases(name) for name in {one.name for one in found}}
    if not found:
        return Answer({"models": []}, ["There are no models yet: store.train(...) saves one."], "training-sets")
    listed = [_summary(one.manifest, pointed[one.name]) for one in found]
    rows = [
        (
            one["name"],
            one["version"],
            ", ".join(one["aliases"]),
            one["estimator"],
            one["score"] or "",
            one["verdict"] or "",
            one["created_at"],
        )
        for one in listed
    ]
    table = Table(("model", "version", "alias", "estimator", "test", "overfit", "created"), rows)
    return Answer({"models": listed}, [table], "models show MODEL (how it was made)")


def show(session: Session, model: Reference) -> Answer:
    """Show how a version was made: data, features, scores, libraries. Nothing of it is loaded."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        found = store.saved_models.get(model)
        pointed, switches = store.saved_models.aliases(found.name), store.saved_models.history(found.name)
    said = found.manifest
    history = [{"alias": s.alias, "version": s.version, "at": s.at, "action": s.action} for s in switches]
    document = {**{name: value for name, value in said.items() if name not in ("golden", "facts")}, "history": history}
    facts = [
        ("made", said["created_at"]),
        ("aliases", ", ".join(alias for alias, version in pointed.items() if version == found.version) or None),
        ("estimator", " > ".join(kind for _, kind in said["estimator"]["steps"]) or said["estimator"]["class"]),
        ("label", said["label"]["column"]),
        ("classes", ", ".join(map(str, said["label"]["classes"] or ())) or None),
        ("threshold", None if said["threshold"] is None else repr(said["threshold"])),
        ("training set", f"{said['training_set']['name']}, {counted(said['training_set']['rows'], 'row')}"),
        ("from, to", ", ".join(said["training_set"]["time_range"])),
        ("service", said["service"]["name"]),
        ("commit", said["git"]["commit"] and said["git"]["commit"] + (" with changes" if said["git"]["dirty"] else "")),
        ("libraries", ", ".join(f"{name} {version}" for name, version in said["environment"].items())),
        ("size", f"{said['file']['size']:,} bytes"),
    ]
    features = [(one["name"], one["kind"], one["fingerprint"][:12]) for one in said["features"]]
    blocks = [f"Model {found.reference}", Table(("", ""), facts), *_scores(said)]
    return Answer(document, [*blocks, Table(("feature", "type", "fingerprint"), features)], f"models verify {model}")


def verify(
    session: Session,
    model: Annotated[str | None, typer.Argument(metavar="MODEL", help="Default: every version of all.")] = None,
) -> Answer:
    """Load versions as serving does: digest, libraries, features, golden rows."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store, session.progress("verifying models") as progress:
        saved = store.saved_models
        asked = (
            [model]
            if model
            else [f"{name}@{one}" for name in saved.shelf.names() for one in saved.shelf.versions(name)]
        )
        problems: dict[str, str] = {}
        for one in asked:
            progress(one)
            try:
                saved.verify(one)
            except OperationError as error:
                problems[one] = str(error)
    if problems:
        told = "\n".join(f"{one}: {words}" for one, words in problems.items())
        raise OperationError(f"{counted(len(problems), 'model version')} of {len(asked)} cannot be served.\n{told}")
    return Answer({"verified": asked}, [f"{counted(len(asked), 'model version')} verified."], "models list")


def promote(
    session: Session,
    model: ModelName,
    version: Annotated[str, typer.Argument(help="Version that the alias shall point at.")],
    *,
    alias: Alias = "champion",
    force: Annotated[bool, typer.Option("--force", help="Though it overfits.")] = False,
) -> Answer:
    """Point an alias at a version; servers use it from their next answer on."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        found = store.promote(model, version, alias, force=force)
    return _switched(found.name, found.version, alias, f"models rollback {model} (the version before again)")


def rollback(session: Session, model: ModelName, *, alias: Alias = "champion") -> Answer:
    """Point an alias back at the version before."""
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        found = store.rollback(model, alias)
    return _switched(found.name, found.version, alias, f"models show {model} (how it was made)")


def predict(
    session: Session,
    model: Reference,
    pairs: asked.Pairs = None,
    *,
    json_row: asked.JsonRow = None,
    as_of: asked.AsOf = None,
) -> Answer:
    """Say what a model makes of one entity, now or at an instant.

    An empty VALUE is null, but for a string: there it is the empty string.
    """
    asked.check(pairs, json_row)
    from featurestore.store import FeatureStore

    with FeatureStore.open(session.project) as store:
        service = store.saved_models.load(model).service
        made = store.predict(model, asked.row(store, service, pairs, json_row), as_of=as_of)
    if made.probabilities is None:
        said = [("value", repr(made.value))]
    else:
        said = [(f"P({name})", repr(value)) for name, value in made.probabilities.items()]
        said.append(("label", str(made.label)))
    if made.decision is not None:
        said.append(("decision", "yes" if made.decision else "no"))
    seen = f"{made.model}@{made.version}, as of {made.as_of:%Y-%m-%dT%H:%M:%S.%fZ}, position {made.position:,}."
    return Answer(made.to_dict(), [Table(("", ""), said), seen], f"lookup {service} KEY=VALUE... (its features)")


def _summary(said: Mapping[str, Any], pointed: Mapping[str, str]) -> dict[str, Any]:
    overfit = said["overfit"]
    return {
        "name": said["name"],
        "version": said["version"],
        "aliases": [alias for alias, version in pointed.items() if version == said["version"]],
        "estimator": said["estimator"]["class"],
        "score": overfit and f"{overfit['score']} {overfit['test']:.3f}",
        "verdict": overfit and overfit["verdict"],
        "created_at": said["created_at"],
    }


def _scores(said: Mapping[str, Any]) -> list[str | Table]:
    metrics, overfit = said["metrics"], said["overfit"]
    if metrics is None:
        return ["It was saved without cross-validation."]
    rows = [(name, _spread(metrics["test"][name]), _spread(metrics["train"][name])) for name in metrics["test"]]
    told: list[str | Table] = [Table(("score", "test", "train"), rows)]
    if overfit is None:
        return told
    name, test = overfit["score"], metrics["test"][overfit["score"]]
    words = {
        "normal": "a normal gap.",
        "notable": "a notable gap: simplify it, or find more data.",
        "overfitting": "the model is overfitting: reduce its complexity.",
        "identical": "identical scores: look for rows on both sides, or a feature that holds the label.",
    }
    return [
        *told,
        f"Test {name} {test['mean']:.3f} ± {test['std']:.3f}",
        f"Train {name} {overfit['train']:.3f}: {words[overfit['verdict']]}",
    ]


def _spread(found: Mapping[str, float | None]) -> str:
    return "-" if found["mean"] is None else f"{found['mean']:.3f} ± {found['std']:.3f}"


def _switched(name: str, version: str, alias: str, following: str) -> Answer:
    document = {"model": name, "alias": alias, "version": version}
    return Answer(document, [f"{alias.capitalize()} of {name}: {version}."], following)
