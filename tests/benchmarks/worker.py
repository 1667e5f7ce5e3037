"""One measurement: ``python -m benchmarks.worker rivals:polars_rolling '{"folder": ...}'`` prints it as a line of JSON.

A task prepares (imports, opens) and gives a function; only that function's time counts. It returns what was found.
A virtual machine gets memory from its host when it is first touched, and gives it back when it has lain free for some
time: up to four seconds for a gigabyte, in one run and not in the next. So each process touches some at first.
"""

import importlib
import json
import mmap
import os
import resource
import sys
import time
from pathlib import Path

TOUCHED = int(os.environ.get("BENCHMARKS_TOUCHED", str(3 << 30)))
"""Bytes: as much as most of what is measured takes."""
PROCESS = Path("/proc/self")


def main() -> None:
    """Run the task that the command line names."""
    touch()
    module, _, function = sys.argv[1].partition(":")
    timed = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**json.loads(sys.argv[2]))
    begun = time.perf_counter()
    found = timed()
    seconds = time.perf_counter() - begun
    sys.stdout.write("\n" + json.dumps({"seconds": seconds, "rss_mb": peak_mb(), "found": found or {}}) + "\n")


def touch() -> None:
    """Touch memory and let it go, so that it is at hand; the most that this process has had is counted from here."""
    if sys.platform == "linux":
        size = min(TOUCHED, mmap.PAGESIZE * os.sysconf("SC_AVPHYS_PAGES") // 2)
        with mmap.mmap(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as memory:
            memory.madvise(mmap.MADV_HUGEPAGE)
            for place in range(0, size, mmap.PAGESIZE):
                memory[place] = 1
        (PROCESS / "clear_refs").write_text("5")


def peak_mb() -> float:
    """Most memory that this process has had, megabytes."""
    status = PROCESS / "status"
    if status.exists():  # the other number counts what the parent had when it started this process
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1_000_000 if sys.platform == "darwin" else 1_000)


if __name__ == "__main__":
    main()
