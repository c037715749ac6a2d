"""A registry for tests: its circuits are in memory, its clock is advanced, and it knows how calls have ended."""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext import factory
from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN, Event, Policy
from pybreaker_ext.names import check_name
from pybreaker_ext.registry import CircuitBreakerRegistry
from pybreaker_ext.settings import duration, milliseconds
from pybreaker_ext.storage.classic import check_state
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.testing.clock import Clock
from pybreaker_ext.testing.outcomes import Outcomes, Recorder
from pybreaker_ext.testing.takeover import Takeover

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybreaker_ext.breaker import CircuitBreaker

_BY_HAND: Final = {OPEN: "open", HALF_OPEN: "half_open", CLOSED: "close"}


class CircuitBreakers(CircuitBreakerRegistry):
    """A `CircuitBreakerRegistry` for the tests of code that uses breakers.

    Hand it to code that takes a registry. `installed` puts it in the place of `get_circuit_breaker`'s, and
    `take_over` brings in a breaker that was made elsewhere.

    Args:
        defaults: As of `CircuitBreakerRegistry`.

    Attributes:
        clock: The clock of all circuits; `clock.advance(30)` is half a minute later.
    """

    def __init__(self, **defaults: Any) -> None:
        self.clock = Clock()
        self._memories: dict[str, CircuitMemoryStorage] = {}
        self._recorders: dict[str, Recorder] = {}
        self._taken: dict[str, Takeover] = {}
        super().__init__("memory://", **defaults)
        self._memories.clear()

    def force(self, name: str, state: str, seconds: float = math.inf) -> None:
        """Set a circuit, whether or not anybody has asked for its breaker yet.

        Args:
            name: The breaker's name.
            state: `"closed"`, `"open"` or `"half-open"`.
            seconds: How long an open one stays open, 0 or more; `math.inf`: until it is set again.

        Raises:
            TypeError: `name` is no text, or `seconds` no number.
            ValueError: `name` is empty, `state` none of the three, or `seconds` below 0.
        """
        kind = _BY_HAND[check_state("state", state)]
        time = milliseconds(duration("seconds", seconds)) if kind == "open" else 0
        self._storage(check_name(name)).apply(Event(kind, duration=time), Policy())

    def outcomes(self, name: str) -> Outcomes:
        """Return how the calls through the breaker called `name` have ended.

        Raises:
            LookupError: Nobody has asked for a breaker of that name.
        """
        recorder = self._recorders.get(name)
        if recorder is None:
            known = ", ".join(map(repr, self._recorders)) or "none"
            message = f"nobody has asked for a breaker called {name!r}; known are: {known}"
            raise LookupError(message)
        return recorder.outcomes

    def assert_outcomes(
        self,
        name: str,
        *,
        success: int | None = None,
        failure: int | None = None,
        neutral: int | None = None,
        rejected: int | None = None,
    ) -> None:
        """Check how many calls have ended how; what isn't given may be any number.

        Raises:
            AssertionError: It was otherwise; all four numbers are told.
            LookupError: Nobody has asked for a breaker of that name.
        """
        found = self.outcomes(name)
        wanted = {"success": success, "failure": failure, "neutral": neutral, "rejected": rejected}
        given = {outcome: number for outcome, number in wanted.items() if number is not None}
        if any(getattr(found, outcome) != number for outcome, number in given.items()):
            told = ", ".join(f"{outcome}={number}" for outcome, number in given.items())
            message = f"breaker {name!r}: expected {told}, but there were {found}"
            raise AssertionError(message)

    def assert_state(self, name: str, state: str) -> None:
        """Check in which state a circuit is.

        Raises:
            AssertionError: It is in another one.
            ValueError: `state` is none of the three.
        """
        record = self._storage(check_name(name)).apply(Event("read"), Policy()).after
        if record.state != check_state("state", state):
            message = (
                f"breaker {name!r}: expected {state}, but it is {record.state} (reason: {record.reason or 'none'})"
            )
            raise AssertionError(message)

    def take_over(self, breaker: CircuitBreaker, name: str | None = None) -> CircuitBreaker:
        """Put a breaker that was made elsewhere onto a circuit of this registry, until it is closed.

        Functions that the breaker protects already are taken along. Its settings and listeners stay.

        Args:
            breaker: The breaker.
            name: What it is called here; its own name by default.

        Returns:
            `breaker`.

        Raises:
            ValueError: It has no name and none was given, or there is another one of that name.
        """
        called = check_name(breaker.name or "" if name is None else name)
        with self._lock:
            if self._living.get(called, breaker) is not breaker:
                message = f"name must be no other breaker's, and there is another one called {called!r}"
                raise ValueError(message)
            if called not in self._taken:
                self._take(called, breaker)
        return breaker

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have `get_circuit_breaker` give this registry's breakers in the block, whatever URL it is given.

        Breakers that it has given before, at import time for instance, are taken over.
        """
        before = factory._registries
        for breaker in [breaker for registry in before.known() for breaker in registry._held()]:
            self.take_over(breaker, self._unused_name(str(breaker.name)))
        factory._registries = _Instead(self)
        try:
            yield
        finally:
            factory._registries = before

    def close(self) -> None:
        """Forget all breakers, and give back those that were taken over. Can be called again."""
        super().close()
        for name, taken in self._taken.items():
            taken.breaker.remove_listener(self._recorders[name])
            taken.give_back()
        self._taken.clear()

    def _storage(self, name: str) -> CircuitMemoryStorage:
        return self._memories.setdefault(name, CircuitMemoryStorage(clock=self.clock))

    def _take(self, name: str, breaker: CircuitBreaker) -> None:
        forced = self._memories.get(name)
        taken = self._taken[name] = Takeover(breaker, self.clock)
        if forced is not None and forced._record is not None:
            taken.storage.go_on_with(forced._record)
        self._memories[name] = taken.storage
        self._record(name, breaker)
        self._remember(name, breaker)

    def _unused_name(self, name: str) -> str:
        """Return another name for a breaker whose own is another's, in another store."""
        names = (name, *(f"{name} ({number})" for number in range(2, len(self._taken) + 3)))
        return next(name for name in names if name not in self._living)

    def _make(self, name: str, given: dict[str, Any]) -> CircuitBreaker:
        breaker = super()._make(name, given)
        self._record(name, breaker)
        return breaker

    def _record(self, name: str, breaker: CircuitBreaker) -> None:
        self._recorders[name] = Recorder()
        breaker.add_listener(self._recorders[name])

    def _compare(self, name: str, breaker: CircuitBreaker, given: dict[str, Any]) -> None:
        if name not in self._taken:  # whoever made those has settled that
            super()._compare(name, breaker, given)


class _Instead(factory._Registries):
    """The process-wide registries while another one is installed."""

    def __init__(self, registry: CircuitBreakers) -> None:
        super().__init__()
        self._registry = registry

    def of(self, url: str | None) -> CircuitBreakerRegistry:
        """Return the one that is installed."""
        del url
        return self._registry

    def take_all(self) -> list[CircuitBreakerRegistry]:
        """Reset all circuits of the one that is installed; it stays."""
        self._registry.reset_all()
        return []
