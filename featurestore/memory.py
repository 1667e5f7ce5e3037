"""How much memory work on data may take: a size such as ``"2GB"``, by default half of what the machine gives."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

_UNITS = {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]B)\s*", re.IGNORECASE)
LEAST = 100_000_000
"""What work takes in any case, bytes."""
_CGROUPS = Path("/sys/fs/cgroup")


def size(text: str) -> int:
    """Bytes of ``"500MB"`` or ``"2.5GB"``, powers of ten.

    Raises
    ------
    ValueError
        If the text is not a size, or less than work takes in any case.

    Examples
    --------
    >>> size("2.5GB")
    2500000000
    """
    found = _SIZE.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a size such as '500MB' or '2GB'.")
    given = int(float(found[1]) * _UNITS[found[2].upper()])
    if given < LEAST:
        raise ValueError(f"{text!r} is too little: {LEAST // _UNITS['MB']}MB is the least.")
    return given


def usual() -> int:
    """Half of what the machine has, or of what its control group (a container's limit) lets this process have."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(min([machine, *_limits()]) // 2, LEAST)


def _limits(groups: Path = Path("/proc/self/cgroup"), folder: Path = _CGROUPS) -> Iterator[int]:
    """Limits of the process's control groups and of those that they lie in, of both versions."""
    for line in groups.read_text().splitlines() if groups.exists() else ():
        _, controllers, path = line.split(":", 2)
        if controllers in ("", "memory"):
            top, name = (folder / controllers, "memory.limit_in_bytes") if controllers else (folder, "memory.max")
            own = top / path.lstrip("/")
            for group in (own, *(one for one in own.parents if one.is_relative_to(top))):
                yield from _limit(group / name)


def _limit(file: Path) -> Iterator[int]:
    try:
        text = file.read_text().strip()
    except OSError:
        return
    if text.isdecimal():  # else "max": there is none
        yield int(text)
