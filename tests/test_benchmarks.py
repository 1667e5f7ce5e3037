"""Each benchmark runs, small, and its document has the figures that its page shows."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).with_name("benchmarks")


def document(script: str, *words: str) -> Any:
    command = [sys.executable, str(BENCHMARKS / script), "--json", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.slow
def test_one_row_is_split_into_its_parts() -> None:
    told = document("one_row.py", "--events", "3000", "--requests", "100")
    for kind, model in (("lookup", False), ("prediction", True)):
        parts = told["microseconds"][kind]
        assert set(parts) == {"parse", "read", "evaluate", "model", "answer", "between", "HTTP", "inside", "whole"}
        assert all(parts[name]["p50"] > 0 for name in ("parse", "read", "evaluate", "answer", "between", "whole"))
        assert (parts["model"]["p50"] > 0) == model
