"""Run a benchmark: ``python tests/benchmarks training-set``, or ``all``; ``--help`` says the rest."""

import sys
from pathlib import Path

sys.path[0] = str(Path(__file__).resolve().parents[1])  # this folder's own names shall shadow nobody's

from benchmarks.command import main  # noqa: E402 - found on the path above

main()
