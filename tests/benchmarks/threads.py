"""Calls per second of one and of eight threads that share a breaker."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from benchmarks import contestants as ours
from benchmarks import functions, peers
from benchmarks.contestants import SUCCESS, Contestant, Wanted
from benchmarks.results import Rates
from benchmarks.timing import without_gc

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.effort import Effort
    from benchmarks.stage import Stage

MANY: Final = 8
#: Seconds that the waiting function waits, as a backend's answer would be waited for.
WAIT: Final = 0.002
#: Calls between two looks at the clock.
BATCH: Final = 50

CONTESTANTS: Final = (
    ours.BARE,
    ours.OURS_IN_MEMORY,
    ours.OURS_ON_REDIS,
    ours.PYBREAKER,
    peers.CIRCUITBREAKER,
    peers.AIOBREAKER,
    peers.PURGATORY,
    peers.INTERLOCK,
)


def wait() -> int:
    time.sleep(WAIT)
    return 1


class Waiting(Wanted):
    """A closed success of a function that waits."""

    @property
    def function(self) -> Callable[[], Any]:
        return wait


def rate(call: Callable[[], Any], threads: int, seconds: float, batch: int) -> float:
    """Return the calls per second that so many threads make together in about `seconds`."""
    barrier = threading.Barrier(threads + 1)
    counts: list[int] = []

    def work() -> None:
        done = 0
        barrier.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            for _ in repeat(None, batch):
                call()
            done += batch
        counts.append(done)

    # Daemons: an interrupted run doesn't wait for them.
    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    barrier.wait()
    start = time.perf_counter()
    for worker in workers:
        worker.join()
    if len(counts) < threads:
        raise RuntimeError("a thread has failed")
    return sum(counts) / (time.perf_counter() - start)


@dataclass(frozen=True)
class ThreadsCase:
    """Everybody takes turns with one thread and with many."""

    name: str
    wanted: Wanted
    batch: int

    def run(self, stage: Stage, effort: Effort) -> list[Rates]:
        calls = [(one, one.make(self.wanted, stage).call) for one in CONTESTANTS]
        rates: dict[tuple[Contestant, int], list[float]] = {}
        try:
            for _ in range(effort.thread_rounds):
                for one, call in calls:
                    for threads in (1, MANY):
                        call()
                        with without_gc():
                            measured = rate(call, threads, effort.thread_turn, self.batch)
                        rates.setdefault((one, threads), []).append(measured)
        finally:
            stage.clear()
        return [Rates(self.name, one.library, one.store, threads, rates[one, threads]) for one, threads in rates]


TRIVIAL: Final = ThreadsCase("threads, empty function", Wanted(SUCCESS), BATCH)
SLEEPING: Final = ThreadsCase(f"threads, function that waits {WAIT * 1000:.0f} ms", Waiting(SUCCESS), 1)
THREADS: Final = (TRIVIAL, SLEEPING)
assert functions.succeed is TRIVIAL.wanted.function
