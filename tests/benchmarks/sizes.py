"""How many bytes a breaker needs, with its storage and everything else that is made for it."""

from __future__ import annotations

import gc
import tracemalloc
from typing import TYPE_CHECKING, Final

from benchmarks import contestants as ours
from benchmarks import peers
from benchmarks.contestants import SUCCESS, Wanted
from benchmarks.results import Size

if TYPE_CHECKING:
    from benchmarks.contestants import Contestant
    from benchmarks.effort import Effort
    from benchmarks.stage import Stage

CONTESTANTS: Final = (
    ours.OURS_IN_MEMORY,
    ours.OURS_ON_REDIS,
    ours.PYBREAKER,
    ours.PYBREAKER_ON_REDIS,
    peers.CIRCUITBREAKER,
    peers.AIOBREAKER,
    peers.PURGATORY,
    peers.INTERLOCK,
)


class SizesCase:
    name: Final = "bytes per breaker"

    def run(self, stage: Stage, effort: Effort) -> list[Size]:
        return [Size(self.name, one.library, one.store, size_of(one, stage, effort.breakers)) for one in CONTESTANTS]


def size_of(contestant: Contestant, stage: Stage, number: int) -> float:
    """Return the bytes that are kept per breaker that was used once, with its decorated function."""
    wanted = Wanted(SUCCESS)
    contestant.make(wanted, stage).call()
    gc.collect()
    tracemalloc.start()
    kept = []
    before = tracemalloc.get_traced_memory()[0]
    for _ in range(number):
        kept.append(contestant.make(wanted, stage))
        kept[-1].call()
    gc.collect()
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return (after - before) / number


SIZES: Final = SizesCase()
