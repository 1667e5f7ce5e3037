"""One measurement: ``python -m benchmarks.worker rivals:polars_rolling '{"folder": ...}'`` prints it as a line of JSON.

A task prepares (imports, opens) and gives a function; only that function's time counts. It returns what was found.
"""

import importlib
import json
import resource
import sys
import time
from pathlib import Path


def main() -> None:
    """Run the task that the command line names."""
    module, _, function = sys.argv[1].partition(":")
    timed = getattr(importlib.import_module(f"benchmarks.{module}"), function)(**json.loads(sys.argv[2]))
    begun = time.perf_counter()
    found = timed()
    seconds = time.perf_counter() - begun
    sys.stdout.write("\n" + json.dumps({"seconds": seconds, "rss_mb": peak_mb(), "found": found or {}}) + "\n")


def peak_mb() -> float:
    """Most memory that this process has had, megabytes."""
    status = Path("/proc/self/status")
    if status.exists():  # the other number counts what the parent had when it started this process
        line = next(one for one in status.read_text().splitlines() if one.startswith("VmHWM"))
        return int(line.split()[1]) / 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1_000_000 if sys.platform == "darwin" else 1_000)


if __name__ == "__main__":
    main()
