"""Timing: loops around a call, how often to loop, and rounds in which subjects take turns."""

from __future__ import annotations

import contextlib
import gc
from itertools import repeat
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

from benchmarks.contestants import PROBE, SUCCESS

if TYPE_CHECKING:
    from asyncio import Runner
    from collections.abc import Callable, Iterator

    from benchmarks.contestants import Subject, Wanted

#: Untimed calls before each timed batch: a view that got too old while others had their turn is
#: refreshed here, as it would be by the calls before in a program that calls all the time.
WARM_UP: Final = 3


def results(call: Any, _prepare: Any, count: int) -> int:
    start = perf_counter_ns()
    for _ in repeat(None, count):
        call()
    return perf_counter_ns() - start


def errors(call: Any, _prepare: Any, count: int) -> int:
    start = perf_counter_ns()
    for _ in repeat(None, count):
        try:  # noqa: SIM105  `suppress` costs more than many a call
            call()
        except Exception:  # noqa: BLE001, S110  each library has its own
            pass
    return perf_counter_ns() - start


def prepared(call: Any, prepare: Any, count: int) -> int:
    total = 0
    for _ in repeat(None, count):
        prepare()
        start = perf_counter_ns()
        call()
        total += perf_counter_ns() - start
    return total


async def results_async(call: Any, _prepare: Any, count: int) -> int:
    start = perf_counter_ns()
    for _ in repeat(None, count):
        await call()
    return perf_counter_ns() - start


async def errors_async(call: Any, _prepare: Any, count: int) -> int:
    start = perf_counter_ns()
    for _ in repeat(None, count):
        try:  # noqa: SIM105  see above
            await call()
        except Exception:  # noqa: BLE001, S110  each library has its own
            pass
    return perf_counter_ns() - start


async def prepared_async(call: Any, prepare: Any, count: int) -> int:
    total = 0
    for _ in repeat(None, count):
        await prepare()
        start = perf_counter_ns()
        await call()
        total += perf_counter_ns() - start
    return total


async def _awaited(function: Callable[[], Any]) -> Any:
    return await function()


class Timer:
    """Times batches of one subject's calls."""

    def __init__(self, subject: Subject, wanted: Wanted, runner: Runner) -> None:
        self._subject = subject
        self._runner = runner if wanted.in_loop else None
        names = {SUCCESS: (results, results_async), PROBE: (prepared, prepared_async)}
        self._loop: Any = names.get(wanted.kind, (errors, errors_async))[wanted.in_loop]
        self.good = wanted.kind in names
        self.kind = wanted.kind

    def once(self) -> BaseException | None:
        """Make one untimed call; return what it raised.

        An error's traceback is dropped: some raise the same error again and again, and each time
        Python adds to its traceback.
        """
        try:
            if self._subject.prepare:
                self._run(self._subject.prepare)
            self._run(self._subject.call)
        except Exception as error:  # noqa: BLE001  each library has its own
            error.__traceback__ = None
            return error
        return None

    def _run(self, function: Callable[[], Any]) -> None:
        if self._runner:
            self._runner.run(_awaited(function))
        else:
            function()

    def batch(self, count: int) -> int:
        """Return the nanoseconds that `count` calls took."""
        timed = self._loop(self._subject.call, self._subject.prepare, count)
        return int(self._runner.run(timed) if self._runner else timed)

    def count_for(self, nanoseconds: int) -> int:
        """Return how many calls, with what is done before them, take about so long."""
        count, took = 1, 0
        while took < nanoseconds / 4:
            count *= 2 if took == 0 else max(2, min(10, round(nanoseconds / 2 / took)))
            start = perf_counter_ns()
            self.batch(count)
            took = perf_counter_ns() - start
        return max(1, round(count * nanoseconds / took))


@contextlib.contextmanager
def without_gc() -> Iterator[None]:
    """Collect garbage between batches, not in one library's batch or another's."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def in_turns(timers: dict[str, Timer], rounds: int, nanoseconds: int) -> dict[str, list[float]]:
    """Return the nanoseconds per call of each subject in each round.

    Args:
        timers: The subjects.
        rounds: How often each has its turn; every other round goes backwards.
        nanoseconds: About how long a turn is.
    """
    counts = {key: timer.count_for(nanoseconds) for key, timer in timers.items()}
    samples: dict[str, list[float]] = {key: [] for key in timers}
    for number in range(rounds):
        for key in list(timers) if number % 2 == 0 else reversed(timers):
            with without_gc():
                for _ in range(WARM_UP):
                    timers[key].once()
                samples[key].append(timers[key].batch(counts[key]) / counts[key])
    return samples
