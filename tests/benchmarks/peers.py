"""Who takes part besides: circuitbreaker, aiobreaker, purgatory and interlock-cb.

Most of them can't be opened by hand. They are opened by one failure, with a threshold of one.
"""

from __future__ import annotations

import contextlib
from importlib import import_module, metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from benchmarks import functions
from benchmarks.contestants import FAILURE, FAR, HOUR, PROBE, REJECTION, SUCCESS, Contestant, Subject, Wanted, steered

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stage import Stage

#: What the `bench` extra installs: distribution and module.
EXTRA: Final = {
    "circuitbreaker": "circuitbreaker",
    "aiobreaker": "aiobreaker",
    "purgatory": "purgatory",
    "interlock-cb": "interlock",
    "matplotlib": "matplotlib",
}
#: Seconds of an open time that is over before the next call. Some don't take 0.
INSTANT: Final = 1e-9


def missing() -> list[str]:
    """Return the distributions of the `bench` extra that are not installed."""
    return [distribution for distribution, module in EXTRA.items() if find_spec(module) is None]


def versions() -> dict[str, str]:
    names = ("pybreaker-ext", "pybreaker", *(name for name in EXTRA if name != "matplotlib"))
    return {name: metadata.version(name) for name in names}


def opened_by_failing(protect: Callable[[Any], Any], wanted: Wanted, stage: Stage) -> Subject:
    """Return a subject of a breaker that one failure opens, if it shall be open at all."""
    call = protect(wanted.function)
    failing = protect(functions.fail_async if wanted.in_loop else functions.fail)

    def trip() -> None:
        with contextlib.suppress(Exception):
            failing()

    async def trip_async() -> None:
        with contextlib.suppress(Exception):
            await failing()

    if wanted.kind == REJECTION:
        if wanted.in_loop:
            stage.runner.run(trip_async())
        else:
            trip()
    if wanted.kind == PROBE:
        return Subject(call, trip_async if wanted.in_loop else trip)
    return Subject(call)


def limits(wanted: Wanted) -> tuple[int, float]:
    """Return after how many failures to open, and for how many seconds."""
    if wanted.kind in (SUCCESS, FAILURE):
        return FAR, HOUR
    return 1, HOUR if wanted.kind == REJECTION else INSTANT


def circuitbreaker(wanted: Wanted, stage: Stage) -> Subject:
    threshold, seconds = limits(wanted)
    breaker = import_module("circuitbreaker").CircuitBreaker(threshold, seconds, name=stage.name())
    return opened_by_failing(breaker, wanted, stage)


def aiobreaker(wanted: Wanted, _stage: Stage) -> Subject:
    return steered(import_module("aiobreaker").CircuitBreaker(FAR), wanted)


def purgatory(wanted: Wanted, stage: Stage) -> Subject:
    colour = "Async" if wanted.in_loop else "Sync"
    return _purgatory(wanted, stage, getattr(import_module("purgatory"), f"{colour}InMemoryUnitOfWork")())


def purgatory_on_redis(wanted: Wanted, stage: Stage) -> Subject:
    unit_of_work = import_module("purgatory").AsyncRedisUnitOfWork(stage.server.url)
    stage.runner.run(unit_of_work.initialize())
    stage.at_end(lambda: stage.runner.run(unit_of_work.contexts.redis.aclose()))
    return _purgatory(wanted, stage, unit_of_work)


def _purgatory(wanted: Wanted, stage: Stage, unit_of_work: Any) -> Subject:
    colour = "Async" if wanted.in_loop else "Sync"
    factory = getattr(import_module("purgatory"), f"{colour}CircuitBreakerFactory")(uow=unit_of_work)
    threshold, seconds = limits(wanted)
    # It compares wall-clock times by "later than": an instant may still be the same one.
    seconds = -1.0 if seconds == INSTANT else seconds
    return opened_by_failing(factory(stage.name(), threshold=threshold, ttl=seconds), wanted, stage)


def interlock(wanted: Wanted, stage: Stage) -> Subject:
    return opened_by_failing(_interlock(wanted, stage, None), wanted, stage)


def interlock_on_redis(wanted: Wanted, stage: Stage) -> Subject:
    storage = import_module("interlock.integrations.redis").RedisStorage(stage.client)
    breaker = _interlock(wanted, stage, storage)
    stage.at_end(breaker.close)
    return opened_by_failing(breaker, wanted, stage)


def _interlock(wanted: Wanted, stage: Stage, storage: Any) -> Any:
    module = import_module("interlock")
    threshold, seconds = limits(wanted)
    config = module.Config(
        failure_rate_threshold=1.0,
        minimum_number_of_calls=threshold,
        # Its default, out of which a rate is computed; one call, where one failure shall open.
        window_size=100 if threshold == FAR else 1,
        permitted_calls_in_half_open=1,
        wait_duration_in_open=seconds,
    )
    return module.CircuitBreaker(name=stage.name(), config=config, storage=storage)


#: Those on Redis can be brought into these without waiting.
CLOSED: Final = (SUCCESS, FAILURE)
CIRCUITBREAKER: Final = Contestant("circuitbreaker", "memory", circuitbreaker)
AIOBREAKER: Final = Contestant("aiobreaker", "memory", aiobreaker)
PURGATORY: Final = Contestant("purgatory", "memory", purgatory)
#: Its plain class on Redis uses the asyncio client, without awaiting it: 3.0.1 can't make a single call.
PURGATORY_ON_REDIS: Final = Contestant(
    "purgatory", "Redis", purgatory_on_redis, round_trip=True, kinds=CLOSED, colours=(True,)
)
INTERLOCK: Final = Contestant("interlock-cb", "memory", interlock)
#: Its decisions come from a local view that a background thread refreshes.
INTERLOCK_ON_REDIS: Final = Contestant("interlock-cb", "Redis", interlock_on_redis, kinds=CLOSED, colours=(False,))
