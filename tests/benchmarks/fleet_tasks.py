"""What the worker processes run. Each makes a breaker of its own for the same circuit."""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import cycle
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

import fleet
import pybreaker
import redis

import pybreaker_ext
from benchmarks.contestants import FAR, HOUR
from benchmarks.functions import FailureError

if TYPE_CHECKING:
    from collections.abc import Callable

#: Length of the drawn pattern of failures, which then repeats.
PATTERN: Final = 10_007
WARM_UP: Final = 5
#: Latencies are counted in steps of so many nanoseconds.
STEP: Final = 20


@dataclass(frozen=True)
class Circuit:
    """Which circuit, and through which library; `staleness` is None for pybreaker."""

    url: str
    namespace: str
    staleness: float | None

    def breaker(self) -> Any:
        client = redis.Redis.from_url(self.url)
        if self.staleness is None:
            return pybreaker.CircuitBreaker(
                FAR, HOUR, state_storage=pybreaker.CircuitRedisStorage("closed", client, self.namespace)
            )
        storage = pybreaker_ext.CircuitRedisStorage("closed", client, self.namespace)
        return pybreaker_ext.CircuitBreaker(FAR, HOUR, state_storage=storage, max_staleness=self.staleness)


@dataclass
class Tally:
    """What a worker has seen."""

    calls: int = 0
    seconds: float = 0.0
    failures: int = 0
    #: Calls by how long they took, in STEPs.
    latencies: Counter[int] = field(default_factory=Counter)


class Backend:
    """Fails at random, with a fixed share; counts its failures."""

    def __init__(self, failing: float, seed: int) -> None:
        chance = random.Random(seed)
        self.failures = 0
        self._fails = cycle([chance.random() < failing for _ in range(PATTERN)]).__next__

    def __call__(self) -> int:
        if self._fails():
            self.failures += 1
            raise FailureError("the backend is down")
        return 1


def package() -> str:
    """Return which pybreaker_ext a worker has imported."""
    return str(pybreaker_ext.__file__)


def protected(circuit: Circuit, failing: float, seeds: list[int]) -> tuple[Callable[[], Any], Backend]:
    """Return a warmed-up function and the backend in it; each worker takes another seed."""
    backend = Backend(failing, seeds[fleet.shared().add(0) - 1])

    def function() -> int:
        return backend()

    call = circuit.breaker()(function)
    for _ in range(WARM_UP):
        one(call)
    return call, backend


def one(call: Callable[[], Any]) -> None:
    with contextlib.suppress(FailureError):
        call()


def for_a_while(circuit: Circuit, failing: float, seeds: list[int], seconds: float) -> Tally:
    """Call as fast as possible for so many seconds, all workers at the same time."""
    call, backend = protected(circuit, failing, seeds)
    took: list[int] = []
    fleet.shared().wait_for(len(seeds))
    start = begun = perf_counter_ns()
    end = start + round(seconds * 1e9)
    while start < end:
        start = perf_counter_ns()
        try:  # noqa: SIM105  `suppress` costs more than many a call
            call()
        except FailureError:
            pass
        took.append(perf_counter_ns() - start)
    elapsed = (perf_counter_ns() - begun) / 1e9
    return Tally(len(took), elapsed, backend.failures, Counter(one // STEP for one in took))


def so_often(circuit: Circuit, failing: float, seeds: list[int], calls: int) -> Tally:
    """Make so many calls, all workers at the same time."""
    call, backend = protected(circuit, failing, seeds)
    fleet.shared().wait_for(len(seeds))
    for _ in range(calls):
        one(call)
    return Tally(calls, 0.0, backend.failures)
