"""Who takes part: a contestant is a library on a store. Here: the bare call, ours and pybreaker.

Each makes *subjects*: a function, decorated by a new circuit breaker that was brought into the wanted state.
Where a threshold shall not be reached it is `FAR` away, where time shall not pass it is an `HOUR`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pybreaker

import pybreaker_ext
from benchmarks import functions

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.stage import Stage

FAR: Final = 10**9
HOUR: Final = 3600.0
#: What `max_staleness` is when nobody sets it.
DEFAULT: Final = 0.1

SUCCESS: Final = "closed success"
FAILURE: Final = "failure"
REJECTION: Final = "rejection"
PROBE: Final = "probe"
KINDS: Final = (SUCCESS, FAILURE, REJECTION, PROBE)


@dataclass(frozen=True)
class Wanted:
    """What a subject shall do at each call."""

    kind: str
    in_loop: bool = False
    listeners: int = 0

    @property
    def function(self) -> Callable[[], Any]:
        """The function to protect. That of a rejection is never run."""
        if self.kind == FAILURE:
            return functions.fail_async if self.in_loop else functions.fail
        return functions.succeed_async if self.in_loop else functions.succeed


@dataclass(frozen=True)
class Subject:
    """What is called and timed; for probes also what half-opens the circuit before, untimed."""

    call: Callable[[], Any]
    prepare: Callable[[], Any] | None = None


@dataclass(frozen=True)
class Contestant:
    library: str
    store: str
    make: Callable[[Wanted, Stage], Subject]
    #: Whether each call talks to another process or to a file. Such contestants take turns among themselves.
    round_trip: bool = False
    kinds: tuple[str, ...] = KINDS
    #: False: plain functions, True: coroutine functions.
    colours: tuple[bool, ...] = (False, True)
    listeners: bool = False

    def can(self, wanted: Wanted) -> bool:
        told = self.listeners or not wanted.listeners
        return wanted.kind in self.kinds and wanted.in_loop in self.colours and told


def bare(wanted: Wanted, _stage: Stage) -> Subject:
    """The function without a breaker, in the same loop."""

    def nothing() -> None:
        pass

    async def nothing_async() -> None:
        pass

    prepare = None if wanted.kind != PROBE else nothing_async if wanted.in_loop else nothing
    return Subject(wanted.function, prepare)


def one_trip(_wanted: Wanted, stage: Stage) -> Subject:
    """The shortest round trip through the same client, to compare the others with."""
    return Subject(lambda: stage.client.get("nothing"))


def our_storage(store: str, stage: Stage) -> Any:
    if store == "SQLite":
        return pybreaker_ext.CircuitSQLiteStorage(stage.file(), stage.name())
    if store == "Redis":
        return pybreaker_ext.CircuitRedisStorage("closed", stage.client, stage.name())
    return pybreaker_ext.CircuitMemoryStorage()


def our_breaker(store: str, staleness: float, stage: Stage, listeners: int = 0) -> Any:
    """Return a breaker of ours that does not open by itself."""
    told = [functions.Listener() for _ in range(listeners)]
    return pybreaker_ext.CircuitBreaker(
        FAR, HOUR, listeners=told, state_storage=our_storage(store, stage), max_staleness=staleness
    )


def pybreaker_breaker(store: str, stage: Stage, listeners: int = 0) -> Any:
    """Return a breaker of pybreaker's that does not open by itself."""
    storage = None
    if store == "Redis":
        storage = pybreaker.CircuitRedisStorage("closed", stage.client, stage.name())
    told = [functions.Listener() for _ in range(listeners)]
    return pybreaker.CircuitBreaker(FAR, HOUR, listeners=told, state_storage=storage)


def steered(breaker: Any, wanted: Wanted) -> Subject:
    """Return a subject of a breaker that can be opened and half-opened by hand."""
    call = breaker(wanted.function)
    if wanted.kind == REJECTION:
        breaker.open()
    if wanted.kind != PROBE:
        return Subject(call)
    if not wanted.in_loop:
        return Subject(call, breaker.half_open)

    async def prepare() -> None:
        if hasattr(breaker, "half_open_async"):
            await breaker.half_open_async()
        else:
            breaker.half_open()

    return Subject(call, prepare)


def _ours(store: str, staleness: float) -> Contestant:
    def make(wanted: Wanted, stage: Stage) -> Subject:
        return steered(our_breaker(store, staleness, stage, wanted.listeners), wanted)

    mode = "" if store == "memory" else ", strict" if staleness == 0 else ", default"
    return Contestant("pybreaker_ext", store + mode, make, round_trip=staleness == 0, listeners=True)


def _pybreakers(store: str) -> Contestant:
    def make(wanted: Wanted, stage: Stage) -> Subject:
        return steered(pybreaker_breaker(store, stage, wanted.listeners), wanted)

    plain = (False,)  # its own call_async needs Tornado
    return Contestant("pybreaker", store, make, round_trip=store == "Redis", colours=plain, listeners=store == "memory")


BARE: Final = Contestant("bare call", "", bare, listeners=True)
ONE_GET: Final = Contestant("bare GET", "Redis", one_trip, round_trip=True, kinds=(SUCCESS,), colours=(False,))
OURS_IN_MEMORY: Final = _ours("memory", DEFAULT)
OURS_ON_REDIS: Final = _ours("Redis", DEFAULT)
OURS_STRICT: Final = _ours("Redis", 0.0)
OURS_ON_SQLITE: Final = _ours("SQLite", DEFAULT)
OURS_ON_SQLITE_STRICT: Final = _ours("SQLite", 0.0)
PYBREAKER: Final = _pybreakers("memory")
PYBREAKER_ON_REDIS: Final = _pybreakers("Redis")
