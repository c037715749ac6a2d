"""Circuits of one process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import CLOSED, Decision, Event, Policy, Record, decide, missing
from pybreaker_ext.storage.classic import DEFAULTS, ClassicStorage, check_state
from pybreaker_ext.storage.view import ExactView

if TYPE_CHECKING:
    from collections.abc import Callable


class CircuitMemoryStorage(ClassicStorage):
    """Keeps one circuit in this process's memory.

    Args:
        state: The state to begin in: `"closed"`, `"open"` (due for a probe at once) or `"half-open"`.
        clock: Returns seconds that never go back. Tests pass their own.

    Raises:
        ValueError: `state` is none of the three.
    """

    def __init__(self, state: str = CLOSED, *, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__("memory")
        self._initial = check_state("state", state)
        self._clock = clock
        self._record: Record | None = None
        #: Exact, for breakers that use this storage.
        self.shown = ExactView(clock)
        # Re-entrant: a finalizer or a signal handler may report while this thread decides.
        self._lock = threading.RLock()
        renew_after_fork(self)

    def apply(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""
        if policy is not DEFAULTS:
            self._policy = policy
        with self._lock:
            while True:
                found = self._record
                decision = decide(found, event, policy, self._now(), self._initial)
                if self._record is found:  # nobody came in between, see the lock
                    if decision.write:
                        self.go_on_with(decision.after)
                    return decision

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""
        return self.apply(event, policy)

    def go_on_with(self, record: Record) -> None:
        """Go on with `record`."""
        self._record = record
        self.shown.show(record)

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    def _rewrite(self, rewritten: Callable[[Record, int], Record]) -> None:
        with self._lock:
            now = self._now()
            self.go_on_with(rewritten(self._record or missing(self._initial, now), now // 1000))
