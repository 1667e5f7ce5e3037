"""The same trials in a process of its own, with another hash seed and nothing kept.

Trials and answers go through Arrow files in a temporary folder; the definitions are read anew there.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
from pyarrow import feather

from featurestore.definition import AS_OF
from featurestore.errors import DefinitionError
from featurestore.evaluate import Spine
from featurestore.metamorphic import Trial, answers_of
from featurestore.plan import ServicePlan, compile_service
from featurestore.registry import Registry
from featurestore.values import ARROW_TYPES, Values, from_arrow

_WAIT_S = 300.0
_CODE = "import sys; from featurestore.fresh import answer; answer(sys.argv[1])"


class Fresh:
    """A process that is answering trials of the definitions in a folder or file, while this one goes on."""

    def __init__(self, definitions: Path, root: Path, trials: Sequence[Trial]) -> None:
        self._trials = trials
        self._folder = tempfile.TemporaryDirectory()
        told = [{"service": one.plan.service.name, "asked": one.asked, "origin": one.origin} for one in trials]
        job = {"definitions": str(definitions), "root": str(root), "trials": told}
        for number, trial in enumerate(trials):
            _write(self._path(number, "spine"), _spine_table(trial))
            for source, table in trial.tables.items():
                _write(self._path(number, f"events-{source}"), table)
        Path(self._folder.name, "job.json").write_text(json.dumps(job))
        seed = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
        around = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        self._process = subprocess.Popen(  # noqa: S603 - this Python, fixed words
            [sys.executable, "-c", _CODE, self._folder.name],
            env=around,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def answers(self) -> list[Mapping[str, Values]]:
        """Answers to each trial, by output.

        Raises
        ------
        DefinitionError
            If the definitions cannot be read there, or do not answer.
        """
        try:
            _, said = self._process.communicate(timeout=_WAIT_S)
        except subprocess.TimeoutExpired as error:
            raise DefinitionError(f"In another process the features gave no answer within {_WAIT_S:.0f} s.") from error
        if self._process.returncode:
            last = said.strip().rpartition("\n")[2]
            raise DefinitionError(f"In another process the definitions cannot be read or asked: {last}")
        return [self._answers_to(number, trial) for number, trial in enumerate(self._trials)]

    def _answers_to(self, number: int, trial: Trial) -> dict[str, Values]:
        table = feather.read_table(self._path(number, "answers"), memory_map=False)
        kinds = trial.plan.kinds
        return {name: from_arrow(table.column(name), kinds[name][0]) for name in table.column_names}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()
        self._folder.cleanup()

    def _path(self, number: int, what: str) -> Path:
        return _path(Path(self._folder.name), number, what)


def answer(folder: str) -> None:
    """Answer the trials in a folder: what the other process runs."""
    job: dict[str, Any] = json.loads(Path(folder, "job.json").read_text())
    registry = Registry.of(Path(job["definitions"]), root=Path(job["root"]))
    for number, told in enumerate(job["trials"]):
        plan = compile_service(registry.service(told["service"]), registry.outputs)
        found = answers_of(_trial(Path(folder), number, plan, told))
        _write(_path(Path(folder), number, "answers"), pa.table({name: one.to_arrow() for name, one in found.items()}))


def _trial(folder: Path, number: int, plan: ServicePlan, told: Mapping[str, Any]) -> Trial:
    asked = feather.read_table(_path(folder, number, "spine"), memory_map=False)
    as_of = from_arrow(asked.column(AS_OF), "datetime").data
    columns = {one.name: from_arrow(asked.column(one.name), one.kind, nullable=one.nullable) for one in plan.columns}
    names = {view.source.name for view in plan.views}
    tables = {name: feather.read_table(_path(folder, number, f"events-{name}"), memory_map=False) for name in names}
    return Trial(plan, tables, Spine(as_of, columns), told["asked"], told["origin"])


def _spine_table(trial: Trial) -> pa.Table:
    at = pa.array(trial.spine.as_of).cast(ARROW_TYPES["datetime"])
    return pa.table({AS_OF: at, **{name: one.to_arrow() for name, one in trial.spine.columns.items()}})


def _path(folder: Path, number: int, what: str) -> Path:
    return folder / f"{number}-{what}.arrow"


def _write(path: Path, table: pa.Table) -> None:
    feather.write_feather(table, path, compression="uncompressed")
