"""Circuits of one process."""

from __future__ import annotations

import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import CLOSED, DONE, Decision, Event, Policy, Record, decide, missing
from pybreaker_ext.storage.classic import DEFAULTS, ClassicStorage, check_state
from pybreaker_ext.storage.history import LIMIT, Change, change_of, check_limit, check_worker
from pybreaker_ext.storage.view import UNKNOWN, ExactView

if TYPE_CHECKING:
    from collections.abc import Callable


class CircuitMemoryStorage(ClassicStorage):
    """Keeps one circuit in this process's memory.

    Args:
        state: The state to begin in: `"closed"`, `"open"` (due for a probe at once) or `"half-open"`.
        clock: Returns seconds that never go back. Tests pass their own.
        history: Changes of state that are kept, 0 to 1,000,000; 0: none.
        worker: What the history calls this worker; `host:pid` by default.

    Raises:
        TypeError: `history` is no number, or `worker` no text.
        ValueError: `state` is none of the three, `history` or `worker` out of its range.
    """

    def __init__(
        self,
        state: str = CLOSED,
        *,
        clock: Callable[[], float] = time.monotonic,
        history: int = LIMIT,
        worker: str | None = None,
    ) -> None:
        super().__init__("memory")
        self._limit = check_limit(history)
        self._worker = check_worker(worker)
        self._changes: deque[Change] | None = None
        self._initial = check_state("state", state)
        self._clock = clock
        #: What is stored, as breakers look at it: one thing, so that record and view can't part.
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
                found = self.shown.view
                decision = decide(self._record, event, policy, self._now(), self._initial)
                view = self.shown.of(decision.after) if decision.write else found
                if self.shown.view is found:  # nobody came in between, see the lock
                    self.shown.view = view
                    self._remember(change_of(decision, self._worker))
                    return decision

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""
        return self.apply(event, policy)

    def history(self, limit: int) -> list[Change]:
        """Return the last `limit` changes of state, the oldest first."""
        with self._lock:
            return list(self._changes or ())[-limit:]

    async def history_async(self, limit: int) -> list[Change]:
        """Return the last `limit` changes of state, the oldest first."""
        return self.history(limit)

    def _remember(self, change: Change | None) -> None:
        if change is not None and self._limit:
            if self._changes is None:  # an empty one already takes as much as all the rest
                self._changes = deque(maxlen=self._limit)
            self._changes.append(change)

    def go_on_with(self, record: Record) -> None:
        """Go on with `record`."""
        self.shown.view = self.shown.of(record)

    @property
    def _record(self) -> Record | None:
        return None if self.shown.view is UNKNOWN else self.shown.view.record

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()

    def _now(self) -> int:
        return int(self._clock() * 1_000_000)

    def _rewrite(self, rewritten: Callable[[Record, int], Record]) -> None:
        with self._lock:
            now = self._now()
            before = self._record or missing(self._initial, now)
            after = rewritten(before, now // 1000)
            self.go_on_with(after)
            decision = Decision(
                DONE, before.state, before.generation, after, write=True, retry_after=0, now=now // 1000
            )
            self._remember(change_of(decision, self._worker))
