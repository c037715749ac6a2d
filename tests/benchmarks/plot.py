"""The picture: mean cost per call against the number of calls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.results import Results

#: Colours that people who see fewer of them can tell apart, too (Okabe and Ito), and dashes.
STYLES: Final = {
    ("pybreaker_ext", "Redis, strict"): ("#D55E00", "-", "pybreaker_ext on Redis, max_staleness=0 (strict)"),
    ("pybreaker", "Redis"): ("#E69F00", "--", "pybreaker on Redis"),
    ("pybreaker", "memory"): ("#56B4E9", "--", "pybreaker in memory, not shared"),
    ("pybreaker_ext", "Redis, default"): ("#0072B2", "-", "pybreaker_ext on Redis, max_staleness=0.1 (default)"),
}


def draw(results: Results, path: Path) -> None:
    """Write a picture of the run's curves; the ending of the name says in which format."""
    import matplotlib as mpl  # slow to import, and only wanted here

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    mpl.rcParams.update({"svg.hashsalt": "pybreaker_ext", "font.size": 10.5})
    figure, axes = plt.subplots(figsize=(10, 6.2), layout="constrained")
    for curve in results.curves:
        colour, dashes, label = STYLES[curve.library, curve.store]
        calls, means = zip(*curve.points, strict=True)
        axes.plot(calls, [mean / 1000 for mean in means], dashes, color=colour, label=label, linewidth=2)
    axes.set(xscale="log", yscale="log")
    axes.set_xlabel("number of calls in a row, from the first one on")
    axes.set_ylabel("mean cost of a call up to there, in µs")
    axes.set_title("What a closed call costs on average")
    axes.grid(visible=True, which="major", color="#cccccc")
    axes.grid(visible=True, which="minor", color="#eeeeee")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,g}")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    # No date: the same figures give the same file.
    metadata = {"Date": None} if path.suffix == ".svg" else None
    figure.savefig(path, dpi=150, facecolor="white", metadata=metadata)
    plt.close(figure)
