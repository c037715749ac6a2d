"""What the runs have shown, as figures: beside each other, or for scripts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.demo.plan import PLAIN
from pybreaker_ext.demo.report import Screen, verdict

if TYPE_CHECKING:
    from pybreaker_ext.demo.verdict import Result

#: Seconds before the end of a run, or before the next outage, in which trouble has not ended yet.
TOO_LATE: Final = 0.5

#: Figures as they are told, and what scripts call them.
_NAMES: Final = {
    "sick_calls": "calls that reached the sick backend",
    "sick_attempts": "without a breaker it would have been",
    "most_probes_at_once": "most probes at the same time",
    "waves": "probes that came together, each time",
    "recovery": "from healed to well for all users",
    "errors": "errors users saw",
    "rejections": "rejections",
}

#: Characters of a column.
_COLUMN: Final = 17


def figures(result: Result) -> dict[str, Any]:
    """Return what a run has shown. Durations are seconds; `recovery` has one for each outage, None for not in this run.

    `waves` are numbers of probes that began within half an open time of the first of them.
    """
    tally, plan = result.tally, result.plan
    return {
        "library": plan.library,
        "outages": plan.outages,
        "sick_calls": sum(result.sick_calls.values()),
        "sick_attempts": tally.sick_attempts,
        "most_probes_at_once": tally.most_probes_at_once(),
        "waves": tally.waves(),
        "recovery": [_recovery(result, outage) for outage in range(len(plan.outages))],
        "errors": tally.errors,
        "rejections": tally.rejections,
    }


def _recovery(result: Result, outage: int) -> float | None:
    """Return the seconds from the end of an outage to the last call that still ended in an error or a rejection."""
    _, healed = result.plan.outages[outage]
    following = result.plan.outages[outage + 1 :]
    end = following[0][0] if following else result.end - result.start
    last = result.tally.troubles.get(outage, healed)
    return None if last > end - TOO_LATE else round(max(0.0, last - healed), 3)


def comparison(screen: Screen, plain: Result, ours: Result) -> bool:
    """Print both runs beside each other, and return whether ours has shown what it should."""
    left, right = figures(plain), figures(ours)
    screen.line()
    screen.line(f"  {'':<40}{'pybreaker':<{_COLUMN}}pybreaker_ext")
    for key, name in _NAMES.items():
        screen.line(f"  {name:<40}{_told(left[key]):<{_COLUMN}}{_told(right[key])}".rstrip())
    screen.line()
    for number, fate in sorted(plain.lost.items()):
        screen.paragraph(f"In the run of {PLAIN}, worker {number} {fate}.")
    return verdict(screen, ours)


def _told(figure: Any) -> str:
    """Return a figure as the table has it: of a list that is too long for its column, the least and the most."""
    if not isinstance(figure, list):
        return str(figure)
    if None in figure:
        return "not in this run"
    unit = " s" if any(isinstance(part, float) for part in figure) else ""
    parts = [f"{part:.1f}" if unit else str(part) for part in figure]
    text = ", ".join(parts) or "none"
    return (text if len(text) < _COLUMN - len(unit) else f"{min(parts, key=float)} to {max(parts, key=float)}") + unit
