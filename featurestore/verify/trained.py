"""A training set, served again: each row through the online path as of its instant, bit for bit."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from featurestore import spine, times, values
from featurestore.errors import RequestError, SpineError, suggest
from featurestore.events import IntArray
from featurestore.plan import ServicePlan
from featurestore.training import TrainingSet
from featurestore.verify import causes
from featurestore.verify.asking import Ask
from featurestore.verify.bits import same
from featurestore.verify.causes import Pinned, Present, Seen
from featurestore.verify.verification import Cause, Difference, Verification, verification

_OPEN = "more rows differ than are explained"


def verify(
    training: TrainingSet, present: Present, ask: Ask, *, sample: int | None = None, seed: int = 0
) -> Verification:
    """Ask for rows of a training set again, and compare every bit.

    Parameters
    ----------
    sample
        So many rows, drawn by ``seed``; by default all.

    Raises
    ------
    RequestError
        If the training set sees another position in each row.
    """
    began = time.perf_counter()
    manifest = training.manifest
    if not isinstance(manifest["position"], int):
        raise RequestError(
            f"Training set {training.name!r} was built with a position per row, which it does not keep: build it at "
            "one position, or verify what was served."
        )
    chosen = drawn(len(training), sample, seed)
    table = training.to_arrow().take(pa.array(chosen))
    rows, as_of = asked(present.service.plan, table, manifest["time"])
    then = features_of(table, manifest)
    skipped: Counter[str] = Counter()
    features: Counter[str] = Counter()
    first: dict[int, tuple[str, Any]] = {}
    for number, answer in enumerate(ask(rows, as_of.tolist())):
        if isinstance(answer, str):
            skipped[answer] += 1
            continue
        differing = [name for name in then if not same(then[name][number], answer.get(name, _Missing))]
        features.update(differing)
        if differing:
            first[number] = differing[0], answer.get(differing[0])
    pinned = Pinned(manifest["fingerprints"], manifest["environment"], times.to_micros(manifest["created_at"]))
    why = _explained(present, pinned, manifest["position"], first, rows, as_of)
    differences = [
        Difference(
            int(chosen[number]) + 1,
            rows[number],
            times.to_datetime(int(as_of[number])),
            manifest["position"],
            name,
            then[name][number],
            now,
            *why[number][:2],
            **vars_of(why[number][2]),
        )
        for number, (name, now) in first.items()
    ]
    compared = len(rows) - sum(skipped.values())
    return verification(
        f"training set {training.name}: {compared} of {len(training)} rows, position {manifest['position']}",
        rows=compared,
        values=compared * len(then),
        skipped=skipped,
        features=features,
        differences=differences,
        seconds=time.perf_counter() - began,
    )


def drawn(rows: int, sample: int | None, seed: int) -> IntArray:
    """Numbers of the rows drawn, ascending; all without a sample."""
    if sample is None or sample >= rows:
        return np.arange(rows)
    return np.sort(np.random.default_rng(seed).choice(rows, sample, replace=False))


def asked(plan: ServicePlan, table: pa.Table, time_column: str) -> tuple[list[dict[str, Any]], IntArray]:
    """Keys and request fields of a training set's rows, and their instants."""
    keys = [column.name for column in plan.columns if column.role == "key"]
    names = [column.name for column in plan.columns if column.name in table.column_names]  # others have defaults
    missing = [name for name in (*keys, time_column) if name not in table.column_names]
    if missing:
        raise SpineError(
            f"The training set lacks {', '.join(missing)}, which {plan.service.name!r} needs now."
            f"{suggest(missing[0], table.column_names)} Its service has changed: build it anew."
        )
    return table.select(names).to_pylist(), spine.instants(table.column(time_column), time_column)


def features_of(table: pa.Table, manifest: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Feature values of a training set as Python scalars, null as ``None``."""
    return {
        one["name"]: values.from_arrow(table.column(one["name"]), one["type"]).to_list()
        for one in manifest["feature_types"]
    }


def vars_of(seen: Seen) -> dict[str, Any]:
    """Fields that a difference has of what two sides saw."""
    return {"step": seen.step, "shared": seen.shared, "only_then": seen.only_then, "only_now": seen.only_now}


def _explained(
    present: Present,
    pinned: Pinned,
    position: int,
    first: Mapping[int, tuple[str, Any]],
    rows: Sequence[Mapping[str, Any]],
    as_of: IntArray,
) -> dict[int, tuple[Cause, str, Seen]]:
    """Why each differing row differs, by its number."""
    why: dict[int, tuple[Cause, str, Seen]] = {}
    for number, (feature, _) in first.items():
        changed = causes.of_definition(feature, pinned, present)
        why[number] = ("changed definition", changed, Seen("")) if changed else ("something else", _OPEN, Seen(""))
    left = [number for number in first if why[number][0] == "something else"][: causes.MOST]
    cases = [(rows[number], int(as_of[number]), first[number][0]) for number in left]
    if cases:
        why |= dict(zip(left, causes.caused(present, pinned, cases, position), strict=True))
    return why


class _Missing:
    """What a feature that is not served any more is compared with: nothing equals it."""
