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
from pybreaker_ext.storage.history import LIMIT
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.testing.clock import Clock
from pybreaker_ext.testing.outcomes import Outcomes, Recorder, outcomes_of
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
        #: Of the breakers of each name: programs may have several, in several stores.
        self._recorders: dict[str, list[Recorder]] = {}
        self._taken: list[Takeover] = []
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
        recorders = self._recorders.get(name)
        if recorders is None:
            known = ", ".join(map(repr, self._recorders)) or "none"
            message = f"nobody has asked for a breaker called {name!r}; known are: {known}"
            raise LookupError(message)
        changes = [change for change in self._storage(name).history(LIMIT) if change.new_state != change.old_state]
        return outcomes_of(recorders, tuple(change.new_state for change in changes))

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
            known = self._living.get(called)
            if known is not None and known is not breaker:
                message = f"name must be no other breaker's, and there is another one called {called!r}"
                raise ValueError(message)
            if known is None:
                self._take(called, breaker)
                self._remember(called, breaker)
        return breaker

    @contextlib.contextmanager
    def installed(self) -> Iterator[None]:
        """Have `get_circuit_breaker` give this registry's breakers in the block, whatever URL it is given.

        Breakers that it has given before, at import time for instance, are taken over.
        """
        before = factory._registries
        for breaker in [breaker for registry in before.known() for breaker in registry._held()]:
            self._take(str(breaker.name), breaker)
        factory._registries = _Instead(self, before)
        try:
            yield
        finally:
            factory._registries = before

    def close(self) -> None:
        """Forget all breakers, and give back those that were taken over. Can be called again."""
        super().close()
        while self._taken:
            self._taken.pop().give_back()

    def _storage(self, name: str) -> CircuitMemoryStorage:
        return self._memories.setdefault(name, CircuitMemoryStorage(clock=self.clock))

    def _take(self, name: str, breaker: CircuitBreaker) -> None:
        """Put a breaker onto the circuit of a name, which may be that of others already; once is enough."""
        if any(taken.breaker is breaker for taken in self._taken):
            return
        taken = Takeover(breaker, self._storage(name))
        self._taken.append(taken)
        self._recorders.setdefault(name, []).append(taken.recorder)

    def _make(self, name: str, given: dict[str, Any]) -> CircuitBreaker:
        breaker = super()._make(name, given)
        recorder = Recorder()
        breaker.add_listener(recorder)
        self._recorders.setdefault(name, []).append(recorder)
        return breaker

    def _compare(self, name: str, breaker: CircuitBreaker, given: dict[str, Any]) -> None:
        if hasattr(breaker, "_made_with"):  # else it was taken over, and its settings are its maker's business
            super()._compare(name, breaker, given)


class _Instead(factory._Registries):
    """The process-wide registries while another one is installed."""

    def __init__(self, registry: CircuitBreakers, before: factory._Registries) -> None:
        super().__init__()
        self._registry = registry
        self._before = before

    def get(self, url: str | None, name: str, given: dict[str, Any]) -> CircuitBreaker:
        """Return the breaker that the URL's own registry has, which was taken over; else the installed one's."""
        own = self._before._by_url.get(url)
        return (own if own is not None and name in own._living else self._registry).get(name, **given)

    def take_all(self) -> list[CircuitBreakerRegistry]:
        """Reset all circuits of the one that is installed; it stays."""
        for storage in self._registry._memories.values():
            storage.apply(Event("reset"), Policy())
        return []
