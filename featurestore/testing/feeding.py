"""Declarations fed with drawn files in place of their own data: the same functions, views, windows and rules."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from featurestore import times
from featurestore.definition import FeatureService, Listed, RoleFeature, RowFeature, Source, SourceBy, WindowFeature
from featurestore.fingerprint import plain
from featurestore.plan import ServicePlan, WindowStep, compile_service
from featurestore.registry import Registry
from featurestore.values import KINDS, Kind


@dataclass(frozen=True)
class Fed:
    """A service as declared, resolved, and ``declarations`` that read ``SOURCE/*.parquet`` below the store's root."""

    plan: ServicePlan
    declarations: tuple[Any, ...]

    @property
    def sources(self) -> dict[str, Source]:
        """Sources as declared, by name."""
        return {view.source.name: view.source for view in self.plan.views}

    @property
    def lengths(self) -> list[str]:
        """What moves an edge: windows, offsets, both together, delays."""
        found = {source.delay for source in self.sources.values()}
        for step in self.plan.steps:
            if isinstance(step, WindowStep):
                offset = step.feature.offset
                found |= {offset, *(window + offset for window in step.feature.windows if window is not None)}
        return [times.format_duration(one) for one in sorted(found - {0})]

    def named(self, source: str, kind: Kind) -> list[Any]:
        """Constants of a kind that functions over a source name: what they compare with should occur."""
        steps = [step for step in self.plan.steps if isinstance(step, WindowStep)]
        functions = [step.feature.function for step in steps if step.keyed.view.source.name == source]
        found = [one for function in functions for one in _constants(function)]
        floats = [float(one) for one in found if kind == "float" and type(one) is int]
        return list(dict.fromkeys([*floats, *(one for one in found if KINDS.get(type(one)) == kind)]))


def fed(registry: Registry, service: FeatureService) -> Fed:
    """Feed a service's sources with files that are still to be written."""
    plan = compile_service(service, registry.outputs)
    sources = {view.source.name: _fed_source(view.source) for view in plan.views}
    known: dict[int, Any] = {}

    def of(listed: Listed) -> Any:
        """One copy of each declaration: a feature that is listed twice stays one."""
        if id(listed) not in known:
            if isinstance(listed, RoleFeature):
                known[id(listed)] = replace(listed, feature=of(listed.feature))
            else:
                known[id(listed)] = _fed_feature(listed, sources) if isinstance(listed, WindowFeature) else listed
        return known[id(listed)]

    there = [one for one in registry.outputs.values() if _is_fed(one, sources)]
    made = FeatureService(service.name, features=[of(one) for one in service.features], request=service.request)
    return Fed(plan, (*dict.fromkeys(of(one) for one in there), made))


def _is_fed(listed: Listed, sources: dict[str, Source]) -> bool:
    feature = plain(listed)
    return isinstance(feature, RowFeature) or (
        isinstance(feature, WindowFeature) and feature.view.source.name in sources
    )


def _fed_source(source: Source) -> Source:
    made = copy.copy(source)
    path = None if source.fed_by_ingest else f"{source.name}/*.parquet"
    for name, one in (("path", path), ("query", None), ("frame", None), ("on_invalid", "stop")):
        object.__setattr__(made, name, one)
    return made


def _fed_feature(feature: WindowFeature, sources: dict[str, Source]) -> WindowFeature:
    made = copy.copy(feature)
    made.view = SourceBy(sources[feature.view.source.name], feature.view.entity)
    return made


def _constants(function: Callable[..., Any]) -> Iterator[Any]:
    code = getattr(function, "__code__", None)
    if code is not None:
        yield from code.co_consts[1 if code.co_consts[:1] == (function.__doc__,) else 0 :]
        around = function.__globals__
        yield from (around[name] for name in code.co_names if name in around)
