"""Training sets of more events than the memory that they are given."""

import subprocess
import sys
from pathlib import Path

import pytest
from limited import ROWS, fill

EVENTS = 6_000_000
OF_EVENTS = EVENTS * 32  # bytes of what is read: customer, two instants, amount
LEAST, PLENTY = 100_000_000, 10**10


def trained(home: Path, memory: int, room: int) -> tuple[str, int]:
    """Content hash, and how much more memory the process had at most than before."""
    (home / "training_sets.duckdb").unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__).with_name("limited.py")), str(home), str(memory), str(room)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    digest, rows, more = done.stdout.split()
    assert int(rows) == ROWS
    return digest, int(more)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="what a process had at most is Linux's to say")
@pytest.mark.parametrize("ordered", [True, False])
def test_more_events_than_memory_holds_are_worked_on_in_parts(tmp_path: Path, ordered: bool) -> None:  # noqa: FBT001
    fill(tmp_path, events=EVENTS, loads=3, ordered=ordered)
    digest, more = trained(tmp_path, LEAST, room=600_000_000)
    assert more < OF_EVENTS
    assert trained(tmp_path, PLENTY, room=3_000_000_000)[0] == digest
