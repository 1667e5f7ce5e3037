"""What was measured, as a table to read, a file of results, and the tables in README.md between their markers."""

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib import metadata
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks import plots

PAGE = Path(__file__).with_name("README.md")
RESULTS = Path(__file__).with_name("results.json")
BEGIN, END = "<!-- figures: {} -->", "<!-- end of figures -->"
LIBRARIES = ("featurestore", "numpy", "pyarrow", "duckdb", "pandas", "polars", "fastapi", "uvicorn")


@dataclass(frozen=True)
class Section:
    """One table: its figures as they are shown, and ``raw`` ones behind them."""

    name: str
    about: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    raw: Mapping[str, Any]
    after: str = ""


def text(section: Section) -> str:
    """The table for a terminal."""
    lines = [section.columns, *section.rows]
    widths = [max(len(cell) for cell in column) for column in zip_longest(*lines, fillvalue="")]
    shown = ["  ".join(_aligned(line, widths)).rstrip() for line in lines]
    return "\n".join([f"{section.name}: {section.about}", "", *shown, *_after(section), ""])


def markdown(section: Section) -> str:
    """The table for a page."""
    rule = ["---", *("---:" for _ in section.columns[1:])]
    lines = ["| " + " | ".join(line) + " |" for line in (section.columns, rule, *section.rows)]
    return "\n".join([section.about, "", *lines, *_after(section)])


def keep(path: Path, section: Section) -> None:
    """Put a section into the file of results, in place of an older one."""
    known = json.loads(path.read_text()) if path.exists() else {}
    known[section.name] = {"measured": f"{datetime.now(UTC):%Y-%m-%d}", "machine": machine(), **asdict(section)}
    path.write_text(json.dumps(known, indent=1) + "\n")


def write_page(results: Path, page: Path = PAGE) -> None:
    """Write the tables of a file of results into the page, each between its markers, and the plots beside it."""
    found = json.loads(results.read_text())
    page.write_text(filled(page.read_text(), found))
    if "growth" in found:
        plots.write(found["growth"]["raw"], page.parent)


def filled(words: str, results: Mapping[str, Any]) -> str:
    """The page's words with these results; sections that were not measured stay as they are."""
    for name, told in results.items():
        begin = BEGIN.format(name)
        if begin in words:
            before, _, rest = words.partition(begin)
            _, _, after = rest.partition(END)
            fields = {one: told[one] for one in Section.__dataclass_fields__}
            made = f"{markdown(Section(**fields))}\n\nMeasured {told['measured']} on {told['machine']}."
            words = f"{before}{begin}\n{made}\n{END}{after}"
    return words


def machine() -> str:
    """Processors, memory, versions."""
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in LIBRARIES if _installed(name))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    return (
        f"{os.cpu_count()} cores, {memory:.0f} GB, {platform.system()} {platform.machine()}, "
        f"Python {platform.python_version()}, {versions}"
    )


def ratio(seconds: float | None, yardstick: float | None) -> str:
    """How many times the yardstick."""
    if seconds is None or not yardstick:
        return ""
    times = seconds / yardstick
    return f"{times:.2f}" if times < 10 else f"{times:.0f}"


def duration(seconds: float | None) -> str:
    """Seconds, or a smaller unit, with three figures."""
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{_figures(seconds / size)} {unit}"
    return f"{_figures(seconds * 1e6)} µs"


def show(section: Section) -> None:
    """Print it."""
    sys.stdout.write(text(section) + "\n")
    sys.stdout.flush()


def _figures(number: float) -> str:
    return f"{number:,.0f}" if number >= 100 else f"{number:.3g}"


def _aligned(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    return [cell.rjust(width) if place else cell.ljust(width) for place, (cell, width) in enumerate(zip(line, widths))]  # noqa: B905 - a line may be short


def _after(section: Section) -> list[str]:
    return ["", section.after] if section.after else []


def _installed(name: str) -> bool:
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False
