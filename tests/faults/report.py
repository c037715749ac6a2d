"""What a run has shown, as text, as Markdown and as data."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import redis
import servers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from faults.fault import Finding
    from faults.soak import Soak

HEAD: Final = ("fault", "half", "99 %", "slowest", "late", "alone", "well again", "verdict")
#: Of `Vitals`.
OTHERS: Final = ("threads", "tasks", "files", "children")
#: Around what `--markdown` replaces in a page.
BEGIN, END = "<!-- faults: begin -->", "<!-- faults: end -->"


@dataclass
class Report:
    """All of it."""

    findings: list[Finding] = field(default_factory=list)
    soak: Soak | None = None
    machine: dict[str, str] = field(default_factory=dict)

    @property
    def problems(self) -> list[str]:
        found = [f"{finding.title}: {problem}" for finding in self.findings for problem in finding.problems]
        return found + (self.soak.problems if self.soak else [])

    def to_data(self) -> dict[str, Any]:
        return asdict(self)


def machine() -> dict[str, str]:
    program = servers.redis_server_program()
    version = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False).stdout
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "cores": str(os.cpu_count()),
        "Python": platform.python_version(),
        "redis-py": redis.__version__,
        "redis-server": version.split("v=")[-1].split()[0] if "v=" in version else "none",
    }


def rows(findings: Sequence[Finding]) -> Iterator[tuple[str, ...]]:
    """Return a row for each finding, with all cells of HEAD."""
    for one in findings:
        if one.skipped:
            yield (one.title, *[""] * 6, f"skipped: {one.skipped}")
            continue
        times = (f"{value:.1f} ms" if value < 10 else f"{value:.0f} ms" for value in (one.median, one.p99, one.worst))
        verdict = "ok" if not one.problems else f"{len(one.problems)} problems"
        yield (one.title, *times, f"{one.late:.1f}/s", f"{one.alone:.0%}", f"{one.healed:.1f} s", verdict)


def as_text(report: Report) -> str:
    table = [HEAD, *rows(report.findings)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]
    return "\n".join([*(lines if report.findings else []), *_about(report), *report.problems, ""])


def write_markdown(report: Report, path: Path) -> None:
    """Write the tables, or replace them in a page that has the marks."""
    new = "\n".join([BEGIN, "", *_markdown(report), END])
    old = path.read_text("utf-8") if path.exists() else ""
    if BEGIN in old and END in old:
        before, after = old.split(BEGIN)[0], old.split(END)[1]
        path.write_text(before + new + after, "utf-8")
    else:
        path.write_text(new + "\n", "utf-8")


def _markdown(report: Report) -> Iterator[str]:
    if report.findings:
        yield f"| {' | '.join(HEAD)} |"
        yield "|---|" + "--:|" * 6 + "---|"
        for row in rows(report.findings):
            yield f"| {' | '.join(row)} |"
        yield ""
    yield from (line + "\n" for line in _about(report))


def _about(report: Report) -> Iterator[str]:
    yield "Measured with " + ", ".join(f"{name} {value}" for name, value in report.machine.items()) + "."
    unsound = [finding.title for finding in report.findings if not finding.sound and not finding.skipped]
    if unsound:
        yield (
            "While these broke and were mended, an open circuit that one process had been told of was not taken for "
            f"known to all, because the store may lose what it has told, or find it again: {'; '.join(unsound)}."
        )
    soak = report.soak
    if soak is not None:
        faults = ", ".join(f"{number} {kind}" for kind, number in soak.faults.items())
        worst = ", ".join(f"{delay:.0f} ms {kind}" for kind, delay in soak.worst.items())
        yield (
            f"Soak of {soak.seconds / 60:.1f} minutes: {soak.calls:,} calls, {sum(soak.faults.values())} faults "
            f"({faults}), {len(soak.problems)} problems. Slowest calls: {worst}. The worker that grew most grew by "
            f"{soak.growth:,} bytes."
        )
        yield from (_used(kind, moments) for kind, moments in soak.used.items())


def _used(kind: str, moments: Sequence[dict[str, int]]) -> str:
    """Return what a place's workers used at the start, in the middle and at the end."""
    memory = ", ".join(f"{moment['memory'] / 1e6:.1f}" for moment in moments)
    others = (f"{', '.join(str(moment[name]) for moment in moments)} {name}" for name in OTHERS)
    return (
        f"{kind}: {moments[0]['workers']} workers used, at the start, in the middle and at the end, {memory} MB; "
        f"{'; '.join(others)}."
    )
