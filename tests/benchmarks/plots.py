"""A plot for each axis of growth, as SVG beside the page."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COLOURS = {"ours": "#b5541c", "asof": "#555555", "polars_packed": "#2a6f97"}
LABELS = {"window": "window, events", "rows": "rows of the spine"}


def write(raw: Mapping[str, Any], folder: Path) -> Sequence[Path]:
    """Draw what was measured, both axes logarithmic: at 45 degrees, twice as much takes twice as long."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams.update({"svg.hashsalt": "benchmarks", "svg.fonttype": "none", "font.size": 9})
    files = []
    for axis in dict.fromkeys(point["axis"] for point in raw["points"]):
        figure = Figure(figsize=(4.2, 3.0), layout="constrained")
        axes = figure.subplots()
        points = [point for point in raw["points"] if point["axis"] == axis]
        for tool, words in raw["tools"].items():
            drawn = [(one["value"], one["seconds"].get(tool)) for one in points]
            found = [(value, seconds) for value, seconds in drawn if seconds is not None]
            if found:
                axes.plot(*zip(*found, strict=True), marker="o", label=words, color=COLOURS[tool])
        axes.set(xscale="log", yscale="log", xlabel=LABELS.get(axis, axis), ylabel="seconds")
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend(frameon=False)
        files.append(folder / f"growth-{axis}.svg")
        figure.savefig(files[-1], metadata={"Date": None})
    return files
