"""The mean cost of a call after 1, 2, 5, 10, ... calls in a row: what the picture is drawn from."""

from __future__ import annotations

import statistics
import time
from itertools import repeat
from time import perf_counter_ns
from typing import TYPE_CHECKING, Final

from benchmarks import contestants as ours
from benchmarks.contestants import DEFAULT, SUCCESS, Contestant, Wanted
from benchmarks.results import Curve
from benchmarks.timing import without_gc

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.effort import Effort
    from benchmarks.stage import Stage

#: Points per power of ten.
DENSITY: Final = 8
CONTESTANTS: Final = (ours.OURS_STRICT, ours.PYBREAKER_ON_REDIS, ours.OURS_ON_REDIS, ours.PYBREAKER)


def marks(last: int) -> list[int]:
    """Return numbers of calls, evenly spread over a logarithmic axis."""
    numbers = {round(10 ** (step / DENSITY)) for step in range(DENSITY * 7)}
    return [*sorted(number for number in numbers if number < last), last]


def run_of(call: Callable[[], object], at: list[int], limit: float) -> list[float]:
    """Call in a row; return the mean nanoseconds per call at each mark that is reached in time."""
    means: list[float] = []
    done = spent = 0
    with without_gc():
        keep_busy(2 * DEFAULT)  # what is known is too old then
        for mark in at:
            if spent > limit * 1e9:
                break
            start = perf_counter_ns()
            for _ in repeat(None, mark - done):
                call()
            spent += perf_counter_ns() - start
            done = mark
            means.append(spent / done)
    return means


def keep_busy(seconds: float) -> None:
    """Wait without letting the processor fall asleep."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


class CurvesCase:
    name: Final = "cost by number of calls"

    def run(self, stage: Stage, effort: Effort) -> list[Curve]:
        return [self._curve(one, stage, effort) for one in CONTESTANTS]

    def _curve(self, contestant: Contestant, stage: Stage, effort: Effort) -> Curve:
        call = contestant.make(Wanted(SUCCESS), stage).call
        at = marks(effort.curve_calls)
        runs = []
        for _ in range(effort.curve_rounds):
            for _ in range(3):  # connections and scripts are there, as in a program that runs
                call()
            runs.append(run_of(call, at, effort.curve_limit))
        reached = zip(*runs, strict=False)  # the shortest run ends the curve
        points = [[mark, statistics.median(means)] for mark, means in zip(at, reached, strict=False)]
        return Curve(self.name, contestant.library, contestant.store, points)


CURVES: Final = CurvesCase()
