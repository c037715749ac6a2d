"""The table of a run, as text and as Markdown."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING, Final

from benchmarks.bars import bars_of
from benchmarks.threads import MANY

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from benchmarks.bars import Bar
    from benchmarks.results import Results

HEAD: Final = ("case", "library", "store", "best", "over bare", "median", "over bare", "besides")
BARS_HEAD: Final = ("bar", "measured", "allowed", "verdict", "besides")
#: Columns of numbers, which stand on the right.
NUMBERS: Final = {"best", "over bare", "median", "measured", "allowed"}
#: Around what `--markdown` replaces in a page.
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"

Row = tuple[str, ...]


def time(nanoseconds: float) -> str:
    """Return three digits of a time, with its unit."""
    for limit, divisor, unit in ((1e3, 1, "ns"), (1e6, 1e3, "µs"), (float("inf"), 1e6, "ms")):
        if abs(nanoseconds) < limit * 0.9995:
            value = nanoseconds / divisor
            digits = 0 if unit == "ns" or abs(value) >= 100 else 1 if abs(value) >= 10 else 2
            return f"{value:.{digits}f} {unit}"
    raise AssertionError


def rate(per_second: float) -> str:
    return f"{float(f'{per_second:.3g}'):,.0f}/s"


def rows(results: Results) -> Iterator[Row]:
    """Return a row for each contestant in each case, with all cells of HEAD."""
    for item in results.calls:
        bare = results.find("calls", item.case, "bare call", "")
        over = ("", "") if item is bare else (time(item.best - bare.best), time(item.median - bare.median))
        yield item.case, item.library, item.store, time(item.best), over[0], time(item.median), over[1], ""
    for chunks in results.streams:
        best, median = min(chunks.samples), statistics.median(chunks.samples)
        yield chunks.case, chunks.library, chunks.store, time(best), "", time(median), "", "per chunk"
    yield from _threads(results)
    for fleet in results.processes:
        besides = f"p50 {time(statistics.median(fleet.p50))}, p99 {time(statistics.median(fleet.p99))}"
        if fleet.failures is not None:
            besides += f", lost {fleet.lost:,} of {fleet.failures:,}"
        yield _rates(fleet.case, fleet.library, fleet.store, fleet.samples, besides)
    for counted in results.commands:
        per_million = f"{counted.commands / counted.calls * 1e6:,.0f} per million calls"
        besides = f"{counted.commands:,} in {counted.calls:,} calls, {counted.seconds:.2f} s"
        yield counted.case, counted.library, counted.store, "", "", "", "", f"{per_million} ({besides})"
    for size in results.sizes:
        yield size.case, size.library, size.store, "", "", "", "", f"{size.size:,.0f} bytes, with a decorated function"


def _threads(results: Results) -> Iterator[Row]:
    by_contestant = {(item.case, item.library, item.store, item.threads): item.samples for item in results.threads}
    for (case, library, store, threads), samples in by_contestant.items():
        besides = "1 thread"
        if threads == MANY:
            ratio = max(samples) / max(by_contestant[case, library, store, 1])
            besides = f"{MANY} threads: {ratio:.2f} x"
        yield _rates(case, library, store, samples, besides)


def _rates(case: str, library: str, store: str, samples: list[float], besides: str) -> Row:
    return case, library, store, rate(max(samples)), "", rate(statistics.median(samples)), "", besides


def number(value: float | None) -> str:
    if value is None:
        return ""
    return f"{value:,.0f}" if isinstance(value, int) or value >= 100 else f"{value:.2f}"


def bar_row(bar: Bar) -> Row:
    limit = f"{'at least' if bar.at_least else 'at most'} {number(bar.allowed)}"
    besides = ""
    if bar.over_bare is not None:
        besides = f"{number(bar.over_bare)} without the bare call"
    elif bar.half is not None:
        besides = f"{number(bar.half[0])} to {number(bar.half[1])} in half of the rounds"
    return bar.text, number(bar.measured), limit, bar.verdict, besides


def as_text(results: Results) -> str:
    """Return everything for a terminal."""
    heading = "\n".join(f"{name + ':':13}{value}" for name, value in results.machine.items())
    table = _aligned(HEAD, list(_grouped(rows(results))))
    bars = _aligned(BARS_HEAD, [bar_row(bar) for bar in bars_of(results)])
    return f"{heading}\n\n{table}\n\nBars\n\n{bars}\n"


def as_markdown(results: Results) -> str:
    """Return everything for a page, which is narrower: single calls, the rest and the bars apart."""
    heading = "\n".join(f"- {name}: {value}" for name, value in results.machine.items())
    everything = list(_grouped(rows(results)))
    single = len(results.calls)
    calls = _markdown(HEAD[:7], [row[:7] for row in everything[:single]])
    others = _markdown((*HEAD[:4], *HEAD[5:8:2]), [(*row[:4], *row[5:8:2]) for row in everything[single:]])
    bars = _markdown(BARS_HEAD, [bar_row(bar) for bar in bars_of(results)])
    return f"{heading}\n\n{calls}\n\n{others}\n\n{bars}\n"


def write_markdown(results: Results, path: Path) -> None:
    """Replace what stands between the two marks of a page; without a page, or marks in it, write a new one."""
    text = as_markdown(results)
    page = path.read_text("utf-8") if path.exists() else ""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    path.write_text(f"{before}{begin}\n\n{text}\n{end}{after}" if end else text, "utf-8")


def _grouped(all_rows: Iterator[Row]) -> Iterator[Row]:
    """Name each case once."""
    last = ""
    for case, *cells in all_rows:
        yield ("" if case == last else case, *cells)
        last = case


def _aligned(head: Row, body: Sequence[Row]) -> str:
    widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
    lines = []
    for row in (head, *body):
        if row[0] and row is not head and head is HEAD:
            lines.append("")
        cells = zip(head, row, widths, strict=True)
        aligned = (cell.rjust(width) if name in NUMBERS else cell.ljust(width) for name, cell, width in cells)
        lines.append("  ".join(aligned).rstrip())
    return "\n".join(lines)


def _markdown(head: Row, body: Sequence[Row]) -> str:
    rule = ["---:" if name in NUMBERS else "---" for name in head]
    kept = NUMBERS | {"library", "store"}  # on one line, by no-break spaces
    cells = [
        [cell.replace(" ", "\u00a0") if name in kept else cell for name, cell in zip(head, row, strict=True)]
        for row in body
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *cells))
