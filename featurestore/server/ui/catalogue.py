"""What the pages say of declarations and models: the facts of ``GET /registry``, each with what belongs beside it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from featurestore import facts
from featurestore.applied import Change
from featurestore.errors import OperationError, UnknownService, suggest
from featurestore.fingerprint import plain
from featurestore.models import ModelVersion
from featurestore.server import about
from featurestore.store import FeatureStore

Document = Mapping[str, Any]
_PATHS = {"source": "sources", "feature": "features", "service": "services"}  # kinds that have a page
_CHAMPION = "champion"


class Catalogue:
    """Declarations of one store, which do not change while it serves, and its models, which do."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._told = about.declared(store.registry)
        self._kinds: dict[str, list[str]] = {}
        for fact in store.registry.facts():
            self._kinds.setdefault(fact.name, []).append(fact.kind)

    def all(self, search: str) -> dict[str, Any]:
        """Everything whose name holds the text, or a feature's value's name; by kind, in declared order."""

        def holds(kind: str, fact: Document) -> bool:
            names = [fact["name"], *(fact["parameters"]["outputs"] if kind == "features" else ())]
            return any(search.casefold() in name.casefold() for name in names)

        found = {kind: [one for one in declared if holds(kind, one)] for kind, declared in self._told.items()}
        models = [one for one in self.models() if search.casefold() in one["name"].casefold()]
        return {"search": search, **found, "models": models}

    def feature(self, name: str) -> dict[str, Any]:
        """A feature by its own name or that of one of its values: lineage, users, history."""
        feature = self._store.registry.feature(name).name
        users = [one["name"] for one in self._told["services"] if feature in one["inputs"]]
        models = [one["name"] for one in self.models() if feature in one["features"]]
        return {
            **self._declared("features", "feature", feature),
            "services": users,
            "models": models,
            **self._lineage(feature),
            **self._history("feature", feature),
        }

    def source(self, name: str) -> dict[str, Any]:
        """A source: what is made of it, its history."""
        self._store.registry.source(name)
        log = self._store.log
        return {
            **self._declared("sources", "source", name),
            "rows": log.rows(name),
            "quarantined": log.quarantined_count(name),
            **self._lineage(name),
            **self._history("source", name),
        }

    def service(self, name: str) -> dict[str, Any]:
        """A service and the features that give its values, in order."""
        service = self._store.registry.service(name)
        of = {output: plain(listed).name for listed in service.features for output in listed.outputs}
        features = {one["name"]: one for one in self._told["features"]}
        values = [
            {"name": output, "feature": feature, "description": _first(features[feature]["description"])}
            for output, feature in of.items()
        ]
        models = [one["name"] for one in self.models() if one["service"] == name]
        return {**self._declared("services", "service", name), "values": values, "models": models}

    def models(self) -> list[dict[str, Any]]:
        """Every model by name: its champion, or its newest version where it has none."""
        by_name: dict[str, list[ModelVersion]] = {}
        for one in self._store.models():
            by_name.setdefault(one.name, []).append(one)
        return [self._model(name, versions) for name, versions in by_name.items()]

    def model(self, name: str) -> dict[str, Any]:
        """A model's versions, newest first, with what has changed since each was trained; switches, newest first."""
        versions = [one for one in self._store.models() if one.name == name]
        if not versions:
            known = {one.name for one in self._store.models()}
            raise UnknownService(f"No model named {name!r}.{suggest(name, known)}")
        aliases = self._store.saved_models.aliases(name)
        return {
            **self._model(name, versions),
            "versions": [
                {
                    **one.manifest,
                    "aliases": [alias for alias, version in aliases.items() if version == one.version],
                    "changed": self._changed(one),
                }
                for one in reversed(versions)
            ],
            "switches": list(reversed(self._store.saved_models.history(name))),
        }

    def _model(self, name: str, versions: Sequence[ModelVersion]) -> dict[str, Any]:
        champion = self._store.saved_models.aliases(name).get(_CHAMPION)
        shown = next((one for one in versions if one.version == champion), versions[-1])
        said = shown.manifest
        return {
            "name": name,
            "champion": champion,
            "version": shown.version,
            "count": len(versions),
            "service": said["service"]["name"],
            "label": said["label"]["column"],
            "estimator": said["estimator"]["class"],
            "features": sorted({one["feature"] for one in said["features"]}),
            "overfit": said["overfit"],
            "changed": self._changed(shown),
        }

    def _changed(self, version: ModelVersion) -> list[str]:
        """Features that are no more what the version was trained on: it is not served (S12)."""
        now = self._store.registry.fingerprints
        return [one["name"] for one in version.manifest["features"] if now.get(one["name"]) != one["fingerprint"]]

    def _declared(self, kind: str, singular: str, name: str) -> dict[str, Any]:
        fact = next(one for one in self._told[kind] if one["name"] == name)
        return {"kind": singular, **fact}

    def _lineage(self, name: str) -> dict[str, Any]:
        found = facts.lineage(name, self._store.registry.facts())
        return {"upstream": self._links(found.upstream), "downstream": self._links(found.downstream)}

    def _links(self, names: Iterable[str]) -> list[dict[str, str | None]]:
        """Kind, name and page of each declaration of these names."""
        return [
            {"kind": kind, "name": name, "page": f"/ui/{_PATHS[kind]}/{name}" if kind in _PATHS else None}
            for name in names
            for kind in self._kinds[name]
        ]

    def _history(self, kind: str, name: str) -> dict[str, Any]:
        """Applies that changed it, newest first, and what is not applied yet."""

        def mine(changes: Iterable[Change]) -> Change | None:
            return next((one for one in changes if (one.kind, one.name) == (kind, name)), None)

        try:
            applied = [(one.number, one.at, mine(one.changes)) for one in self._store.applied.history()]
            waiting = mine(self._store.plan())
        except OperationError as error:  # the record is lost; what is declared can be shown all the same
            return {"history": [], "waiting": None, "unreadable": str(error)}
        history = [{"number": n, "at": at, "change": change} for n, at, change in reversed(applied) if change]
        return {"history": history, "waiting": waiting, "unreadable": None}


def _first(description: str) -> str:
    return description.partition("\n")[0]
