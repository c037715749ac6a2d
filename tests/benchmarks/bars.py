"""What must hold, as ratios within one run.

Within the process the best rounds are compared: what else the machine did can only add. Round trips
have two speeds, by where the scheduler puts the two processes, so there it is the median of the ratios
of each round. Ratios are of total times, bare call included; the ratio without it stands beside,
and is the lower one where a bar is below 1.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks.commands import COMMANDS
from benchmarks.threads import MANY, TRIVIAL

if TYPE_CHECKING:
    from benchmarks.results import Results

OURS: Final = "pybreaker_ext"
IN_MEMORY: Final = (OURS, "memory")
CACHED: Final = (OURS, "Redis, default")
STRICT: Final = (OURS, "Redis, strict")
ON_SQLITE: Final = (OURS, "SQLite, strict")
PYBREAKER: Final = ("pybreaker", "memory")
PYBREAKER_ON_REDIS: Final = ("pybreaker", "Redis")
CIRCUITBREAKER: Final = ("circuitbreaker", "memory")

#: Of the case of streams.
STREAMS: Final = "chunk of 10,000 streams, asyncio"
BARE: Final = ("bare async for", "")
PASSED_ON: Final = ("async generator", "")

Who = tuple[str, str]


@dataclass(frozen=True)
class Bar:
    """One thing that must hold.

    Args:
        text: What is compared.
        allowed: The limit.
        measured: None: the cases that it needs were not run.
        over_bare: The same with the bare call subtracted; for what stays within the process.
        half: Between these two the ratios of half of the rounds are.
        at_least: Whether the limit is the least, not the most, that is allowed.
    """

    text: str
    allowed: float
    measured: float | None = None
    over_bare: float | None = None
    half: tuple[float, float] | None = None
    at_least: bool = False

    @property
    def verdict(self) -> str:
        if self.measured is None:
            return "not run"
        good = self.measured >= self.allowed if self.at_least else self.measured <= self.allowed
        return "ok" if good else "MISSED"


def by_round(text: str, allowed: float, mine: list[float], theirs: list[float], *, at_least: bool = False) -> Bar:
    """Return a bar that is judged by the median of the ratios of each round."""
    ratios = sorted(one / other for one, other in zip(mine, theirs, strict=True))
    quarter = len(ratios) // 4
    half = (ratios[quarter], ratios[-1 - quarter]) if quarter else None
    return Bar(text, allowed, statistics.median(ratios), half=half, at_least=at_least)


def _calls(results: Results, case: str, mine: Who, theirs: Who, allowed: float, *, trips: bool = False) -> Bar:
    text = f"{case}: {', '.join(mine)} / {' in '.join(theirs) if theirs[1] == 'memory' else ' on '.join(theirs)}"
    one, other = results.find("calls", case, *mine), results.find("calls", case, *theirs)
    bare = results.find("calls", case, "bare call", "")
    if one is None or other is None or bare is None:
        return Bar(text, allowed)
    if trips:
        return by_round(text, allowed, one.samples, other.samples)
    return Bar(text, allowed, one.best / other.best, (one.best - bare.best) / (other.best - bare.best))


def _single_calls(results: Results) -> list[Bar]:
    closed, failure, rejection = "closed success, plain", "failure, plain", "rejection, plain"
    bars = []
    for mine in (CACHED, IN_MEMORY):
        bars += [
            _calls(results, closed, mine, PYBREAKER, 0.25),
            _calls(results, closed, mine, CIRCUITBREAKER, 0.6),
            _calls(results, "closed success, asyncio", mine, CIRCUITBREAKER, 0.6),
            _calls(results, f"{closed}, 1 listener", mine, PYBREAKER, 1.0),
            _calls(results, rejection, mine, PYBREAKER, 0.8),
        ]
    for case, allowed in ((closed, 1.5), (failure, 1.1), (rejection, 0.85)):
        bars.append(_calls(results, case, STRICT, PYBREAKER_ON_REDIS, allowed, trips=True))
    bars.append(_calls(results, closed, ON_SQLITE, PYBREAKER_ON_REDIS, 0.5, trips=True))
    return bars


def _commands(results: Results) -> list[Bar]:
    bars = []
    for case in COMMANDS:
        found = results.find("commands", case.name, *CACHED)
        allowed = 10 * found.seconds + 10 if found else 10.0
        text = f"{case.name}: sent in {found.calls:,} calls, {found.seconds:.2f} s" if found else case.name
        bars.append(Bar(text, allowed, found and found.commands))
    return bars


def _fleet(results: Results) -> list[Bar]:
    case = "16 processes, 10 % failing"
    mine, strict, theirs = (results.find("processes", case, *who) for who in (CACHED, STRICT, PYBREAKER_ON_REDIS))

    if not mine or not strict or not theirs:
        return [Bar(f"{case}: calls/s, p99 and failures lost", 0)]
    return [
        by_round(f"{case}: calls/s, Redis, default / pybreaker", 3.0, mine.samples, theirs.samples, at_least=True),
        by_round(f"{case}: p99, Redis, default / pybreaker", 1.0, mine.p99, theirs.p99),
        by_round(f"{case}: calls/s, Redis, strict / pybreaker", 0.7, strict.samples, theirs.samples, at_least=True),
        Bar(f"{case}: failures lost, Redis, default", 0, mine.lost),
        Bar(f"{case}: failures lost, Redis, strict", 0, strict.lost),
    ]


def _streams(results: Results) -> list[Bar]:
    case = STREAMS
    found = [results.find("streams", case, *who) for who in (BARE, PASSED_ON)]
    bars = []
    for who in (IN_MEMORY, CACHED):
        mine, text = results.find("streams", case, *who), f"{case}: {', '.join(who)}"
        if mine is None:
            bars.append(Bar(text, 1.5))
            continue
        bare, passed_on = (min(one.samples) for one in found)
        best = min(mine.samples)
        bars += [
            Bar(f"{text} / an async generator that passes chunks on", 1.5, best / passed_on),
            Bar(f"{text}, µs over a bare async for", 1.0, (best - bare) / 1000),
        ]
    return bars


def _threads(results: Results) -> list[Bar]:
    bars = []
    for mine in (CACHED, IN_MEMORY):
        found = {
            item.threads: item
            for item in results.threads
            if (item.case, item.library, item.store) == (TRIVIAL.name, *mine)
        }
        ratio = max(found[MANY].samples) / max(found[1].samples) if found else None
        text = f"{TRIVIAL.name}: calls/s of {MANY} / of 1, {', '.join(mine)}"
        bars.append(Bar(text, 0.8, ratio, at_least=True))
    return bars


def bars_of(results: Results) -> list[Bar]:
    """Return all bars, with what was measured in this run."""
    return [*_single_calls(results), *_commands(results), *_streams(results), *_fleet(results), *_threads(results)]
