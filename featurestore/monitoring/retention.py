"""Keeping the served log's folder in order: spools of ended processes are sealed, what is too old or too much goes."""

import contextlib
from pathlib import Path

from featurestore import times
from featurestore.monitoring import spool


def keep_up(folder: Path, retain: str, max_mb: int, now: int) -> None:
    """Do all of it once. Several processes may, at the same time.

    Raises
    ------
    OSError
        If the disk does not take it; what is there stays readable.
    """
    for path in sorted(folder.glob(f"*{spool.OPEN}")):
        spool.seal(path)
    oldest = now - times.duration(retain)
    for path in folder.glob(f"*{spool.SEALED}"):
        ends = spool.newest(path)
        if ends is not None and ends < oldest:
            path.unlink(missing_ok=True)
    _shrink(folder, max_mb * 1_000_000)


def _shrink(folder: Path, most: int) -> None:
    sizes: dict[Path, int] = {}
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):
            sizes[path] = path.stat().st_size
    total = sum(sizes.values())
    for path in sorted(sizes):  # names begin with the time of the first row
        if total <= most:
            return
        if path.suffix == spool.SEALED and not path.name.startswith("."):
            path.unlink(missing_ok=True)
            total -= sizes[path]
