"""What a guard adds to each chunk of very many streams that are open at once."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import import_module
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, Final

import pybreaker_ext
from benchmarks.bars import BARE, CACHED, IN_MEMORY, PASSED_ON, STREAMS
from benchmarks.contestants import DEFAULT, FAR, our_breaker
from benchmarks.results import Chunks
from benchmarks.timing import without_gc

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from benchmarks.effort import Effort
    from benchmarks.stage import Stage

CHUNKS: Final = 20


async def chunks() -> AsyncIterator[int]:
    """A backend: other streams get their turn before each chunk."""
    for number in range(CHUNKS):
        await asyncio.sleep(0)
        yield number


async def passed_on() -> AsyncIterator[int]:
    """Do nothing with the chunks but pass them on."""
    async for chunk in chunks():
        yield chunk


async def consume(make: Callable[[], Any]) -> int:
    number = 0
    async for _ in make():
        number += 1
    return number


async def at_once(make: Callable[[], Any], streams: int) -> int:
    """Return the nanoseconds that so many streams took, all open at the same time."""
    start = perf_counter_ns()
    read = await asyncio.gather(*(consume(make) for _ in range(streams)))
    took = perf_counter_ns() - start
    if read != [CHUNKS] * streams:
        raise RuntimeError("a stream is not whole")
    return took


@dataclass(frozen=True)
class StreamsCase:
    """Everybody takes turns."""

    name: str = STREAMS

    def run(self, stage: Stage, effort: Effort) -> list[Chunks]:
        samples: dict[tuple[str, str], list[float]] = {}
        for _ in range(effort.stream_rounds):
            for who, make in contestants(stage).items():
                with without_gc():
                    took = stage.runner.run(at_once(make, effort.streams))
                samples.setdefault(who, []).append(took / effort.streams / CHUNKS)
        return [Chunks(self.name, *who, taken) for who, taken in samples.items()]


def contestants(stage: Stage) -> dict[tuple[str, str], Callable[[], Any]]:
    breaker = pybreaker_ext.CircuitBreaker(FAR)
    other = import_module("circuitbreaker").CircuitBreaker(failure_threshold=FAR, name=stage.name())
    return {
        BARE: chunks,
        PASSED_ON: passed_on,
        IN_MEMORY: breaker(chunks),
        ("pybreaker_ext, stream()", "memory"): lambda: breaker.stream(chunks),
        ("pybreaker_ext, complete=", "memory"): lambda: breaker.stream(chunks, complete=bool),
        CACHED: our_breaker("Redis", DEFAULT, stage)(chunks),
        ("circuitbreaker", "memory"): other(chunks),
    }


OPEN_AT_ONCE: Final = StreamsCase()
