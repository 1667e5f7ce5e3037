"""Features as a model was trained on them, and refusing to serve it when they have changed (S12).

The manifest keeps what :mod:`featurestore.facts` says of them, as text: it is shown as a difference and never run.
"""

import difflib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from featurestore import facts
from featurestore.errors import FeaturesChanged, RequestError
from featurestore.fingerprint import fingerprint_schema, plain
from featurestore.plan import RowStep, compile_service
from featurestore.registry import Registry

_Facts = Mapping[tuple[str, str], Mapping[str, Any]]


def pin(registry: Registry, service: str, features: Sequence[str]) -> dict[str, Any]:
    """Fingerprints of features, and the text of everything that they are made of.

    ``request`` is the fingerprint of the service's request schema where a feature needs one of its fields: a validator
    may change what a caller passes.
    """
    known = registry.facts()
    names = {plain(registry.outputs[name]).name for name in features}
    above = {one for name in names for one in facts.lineage(name, known).upstream}
    kept = [
        one
        for one in known
        if (one.kind == "service" and one.name == service)
        or (one.kind == "feature" and one.name in names | above)
        or (one.kind in ("source", "entity") and one.name in above)
    ]
    return {
        "fingerprint": registry.service_fingerprints[service],
        "features": {name: registry.fingerprints[name] for name in features},
        "request": _request(registry, service, features),
        "facts": [asdict(one) for one in kept],
    }


def check_training_set(registry: Registry, manifest: Mapping[str, Any], features: Sequence[str], label: str) -> None:
    """Refuse a training set that was built with other features, or another label, than are declared.

    Raises
    ------
    RequestError
        If so.
    """
    changed = [one for one in features if registry.fingerprints.get(one) != manifest["fingerprints"][one]]
    labels = {one["name"]: one["fingerprint"] for one in manifest.get("labels", ())}
    if label in labels and registry.label_fingerprints.get(label) != labels[label]:
        changed.append(label)
    if changed:
        raise RequestError(
            f"Training set {manifest['name']!r} was built with other definitions of {', '.join(changed)} than there "
            "are now: build it again."
        )


def check(registry: Registry, model: str, service: str, pinned: Mapping[str, Any]) -> None:
    """Refuse a model whose features are not what it was trained on.

    Raises
    ------
    FeaturesChanged
        Naming each feature that has changed, with the difference.
    """
    listed = registry.services[service].outputs if service in registry.services else ()
    told = {name: _news(registry, name, listed, was) for name, was in pinned["features"].items()}
    changed = {name: news for name, news in told.items() if news}
    if not changed and service in registry.services:
        request = _request(registry, service, list(told))
        if request != pinned["request"]:
            changed[f"request schema of {service}"] = "has changed"
    if not changed:
        return
    before: _Facts = {(one["kind"], one["name"]): one for one in pinned["facts"]}
    after: _Facts = {(one.kind, one.name): asdict(one) for one in registry.facts()}
    shown = "\n".join(_differences(before, after))
    raise FeaturesChanged(
        f"Model {model} was trained on features that have changed since, so it is not served.\n"
        + "".join(f"  {name}: {news}\n" for name, news in changed.items())
        + (f"{shown}\n" if shown else "")
        + "Train a new version on the features as they are, or restore the definitions. To keep both, give the changed "
        "feature a name of its own."
    )


def _news(registry: Registry, name: str, listed: Sequence[str], was: str) -> str:
    if name not in registry.outputs:
        return "is declared no more"
    if registry.fingerprints[name] != was:
        return f"was {was[:12]}, is {registry.fingerprints[name][:12]}"
    return "" if name in listed else "is listed by the service no more"


def _differences(before: _Facts, after: _Facts) -> Iterator[str]:
    """Unified differences of code and parameters, of each declaration that the model stands on."""
    for key, old in before.items():
        new = after.get(key, {"code": "", "parameters": {}, "fingerprint": None})
        if new["fingerprint"] == old["fingerprint"]:
            continue
        title = " ".join(key)
        for what, one, other in (("", _code(old), _code(new)), (" parameters", _settings(old), _settings(new))):
            yield from difflib.unified_diff(
                one, other, f"{title}{what} (trained on)", f"{title}{what} (now)", n=2, lineterm=""
            )


def _code(fact: Mapping[str, Any]) -> list[str]:
    return list(fact["code"].splitlines())


def _settings(fact: Mapping[str, Any]) -> list[str]:
    return json.dumps(fact["parameters"], indent=1, sort_keys=True).splitlines() if fact["parameters"] else []


def _request(registry: Registry, service: str, features: Sequence[str]) -> str | None:
    """Fingerprint of the request schema if any of the features needs one of its fields."""
    declared = registry.services[service]
    plan = compile_service(declared, registry.outputs)
    needed = set(features)
    for step in reversed(plan.steps):
        if isinstance(step, RowStep) and step.output in needed:
            needed.update(step.inputs)
    uses = any(column.role == "request" and column.name in needed for column in plan.columns)
    return fingerprint_schema(declared.request) if uses and declared.request is not None else None
