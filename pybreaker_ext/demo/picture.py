"""The picture of one run or two: how calls ended over time, with and without a shared decision."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.demo.comparison import figures
from pybreaker_ext.demo.plan import BIN, OURS
from pybreaker_ext.demo.store import UNUSABLE, DemoError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from pybreaker_ext.demo.verdict import Result

#: Endings of names that tell which picture is wanted.
FORMATS: Final = (".svg", ".png")

#: Colours that people who see fewer of them can tell apart, too (Okabe and Ito), in the order of a tally's bins.
_PARTS: Final = (
    ("#56B4E9", "answered well"),
    ("#D55E00", "reached the backend in vain"),
    ("#CCCCCC", "rejected at once, the backend saw nothing"),
)

SICK: Final = "the backend is sick"


def drawing(path: Path) -> Callable[[Sequence[Result]], None]:
    """Return what draws runs into a file; find out now whether it will be able to.

    Raises:
        DemoError: matplotlib isn't installed, the name's ending tells no format, or nobody may write there.
    """
    if path.suffix.lower() not in FORMATS:
        message = f"--plot must name a file that ends in {' or '.join(FORMATS)}, not {str(path)!r}"
        raise DemoError(message, UNUSABLE)
    if not os.access(path if path.exists() else path.parent, os.W_OK) or path.is_dir():
        message = f"can't write {str(path)!r}: is its directory there, and writable?"
        raise DemoError(message, UNUSABLE)
    try:
        import matplotlib as mpl  # noqa: PLC0415  an extra, and slow to import
    except ImportError as error:
        message = '--plot needs matplotlib, which comes with: pip install "pybreaker-ext[plot]"'
        raise DemoError(message, UNUSABLE) from error
    mpl.use("Agg")
    mpl.rcParams.update({"svg.hashsalt": "pybreaker_ext", "font.size": 10.5})
    return functools.partial(_draw, path)


def _draw(path: Path, results: Sequence[Result]) -> None:
    from matplotlib import pyplot as plt  # noqa: PLC0415  an extra

    figure, rows = plt.subplots(
        len(results),
        figsize=(10, 1.2 + 2.6 * len(results)),
        sharex=True,
        sharey=True,
        squeeze=False,
        layout="constrained",
    )
    for axes, result in zip(rows[:, 0], results, strict=True):
        _draw_run(axes, result)
    rows[-1, 0].set_xlabel("seconds")
    handles, labels = rows[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    # No date: the same run gives the same file.
    metadata = {"Date": None} if path.suffix.lower() == ".svg" else None
    figure.savefig(path, dpi=150, facecolor="white", metadata=metadata)
    plt.close(figure)


def _draw_run(axes: Any, result: Result) -> None:
    length = max(result.tally.bins, default=0) + 1
    edges = [number * BIN for number in range(length + 1)]
    below = [0.0] * length
    for part, (colour, label) in enumerate(_PARTS):
        counts = (result.tally.bins.get(number, (0, 0, 0))[part] for number in range(length))
        above = [low + count / BIN for low, count in zip(below, counts, strict=True)]
        axes.stairs(above, edges, baseline=below, fill=True, color=colour, label=label, linewidth=0)
        below = above
    for number, (begin, end) in enumerate(result.plan.outages):
        axes.axvspan(begin, end, color="#F0E442", alpha=0.35, lw=0, zorder=0, label="" if number else SICK)
    axes.set_xlim(0, result.end - result.start)
    axes.set_ylabel("calls a second")
    axes.set_title(_title(result), loc="left")
    axes.spines[["top", "right"]].set_visible(False)


def _title(result: Result) -> str:
    shown = figures(result)
    probes = shown["most_probes_at_once"]
    return (
        f"{_circuits(result)}: {shown['sick_calls']} calls reached the sick backend, "
        f"{probes} {'probe' if probes == 1 else 'probes'} at once"
    )


def _circuits(result: Result) -> str:
    if result.plan.library == OURS:
        return f"pybreaker_ext, one circuit for {result.workers} workers"
    if result.plan.url.startswith("sqlite:"):
        return f"pybreaker, a circuit in each of {result.workers} workers"
    return f"pybreaker, one circuit in Redis for {result.workers} workers"
