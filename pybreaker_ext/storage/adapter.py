"""Any other pybreaker storage that a user wrote.

pybreaker's storage API is a handful of separate reads and writes, so what it can't say (generation,
permits, back-off) is kept in this process, and one event is atomic among this process's threads
only. What others write to the storage is adopted, as in Redis.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import CLOSED, OPEN, STATES, Decision, Event, Policy, Record, adopt, decide, missing
from pybreaker_ext.storage.outage import Outage, StandIn
from pybreaker_ext.storage.shared import SharedObjects

if TYPE_CHECKING:
    import pybreaker


class StorageAdapter:
    """Gives a `pybreaker.CircuitBreakerStorage` our one verb.

    Its API has no clock, so this machine's is used.
    """

    def __init__(self, storage: pybreaker.CircuitBreakerStorage) -> None:
        self._storage: Any = storage
        self._stand_in = StandIn(Outage(f"storage {type(storage).__name__}"), CLOSED)
        self._record: Record | None = None
        self._opened_at: datetime | None = None
        self._lock = threading.RLock()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()

    def apply(self, event: Event, policy: Policy) -> Decision:
        """Apply one event, atomic within this process, and return the decision."""
        return self._stand_in.apply(self._attempt, event, policy)

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        """Apply one event and return the decision; the user's storage is called as it is, in the loop."""
        return self.apply(event, policy)

    def _attempt(self, event: Event, policy: Policy) -> Decision:
        with self._lock:
            try:
                record, adopted_from = self._load(policy)
                decision = decide(record, event, policy, time.time_ns() // 1000, adopted_from=adopted_from)
                if decision.write:
                    self._save(record, decision.after)
            except Exception as error:
                raise StoreUnavailableError from error
            return decision

    def _load(self, policy: Policy) -> tuple[Record, int | None]:
        now = time.time_ns() // 1000
        state, opened_at = str(self._storage.state), self._storage.opened_at
        if state not in STATES:
            state = CLOSED
        known = self._record or missing(state, now)
        record = known._replace(
            fail_counter=int(self._storage.counter or 0), success_counter=int(self._storage.success_counter or 0)
        )
        if self._record and known.state == state and (state != OPEN or opened_at == self._opened_at):
            return record, None
        return adopt(
            record, state, _milliseconds(opened_at), policy, now // 1000
        ), known.generation if self._record else 0

    def _save(self, before: Record, after: Record) -> None:
        """Write what differs; first when, then what, as pybreaker's own breaker does."""
        _count(before.fail_counter, after.fail_counter, self._storage.increment_counter, self._storage.reset_counter)
        _count(
            before.success_counter,
            after.success_counter,
            self._storage.increment_success_counter,
            self._storage.reset_success_counter,
        )
        if after.opened_at and after.opened_at != before.opened_at:
            self._storage.opened_at = datetime.fromtimestamp(after.opened_at / 1000, UTC)
        if after.state != before.state or self._record is None:
            self._storage.state = after.state
        self._record = after
        self._opened_at = self._storage.opened_at  # as the storage gives it back, seconds perhaps


adapters: Final[SharedObjects[int, StorageAdapter]] = SharedObjects()


def adapted(storage: pybreaker.CircuitBreakerStorage) -> StorageAdapter:
    """Return the adapter that all breakers with this storage object share.

    An adapter holds its storage, so the `id` can't be another object's while the adapter exists.
    """
    return adapters.get(id(storage), lambda _: StorageAdapter(storage))


def _count(before: int, after: int, increment: Any, reset: Any) -> None:
    if after < before:
        reset()
        before = 0
    for _ in range(after - before):
        increment()


def _milliseconds(moment: datetime | None) -> int:
    if moment is None:
        return 0
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max(1, int(aware.timestamp() * 1000))
