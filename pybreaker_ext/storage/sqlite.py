"""Circuits of one machine: one SQLite file for many processes and many circuits.

A writer that is killed leaves nothing locked and nothing half-written: the locks are the operating
system's and go with the process, the transaction is undone from the write-ahead log. The clock is
SQLite's own, which is the machine's.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.machine import (
    CLOSED,
    DONE,
    FOREVER,
    REASONS,
    STATES,
    Decision,
    Event,
    Policy,
    Record,
    decide,
    missing,
)
from pybreaker_ext.storage import permits
from pybreaker_ext.storage.cancellation import carried_out
from pybreaker_ext.storage.classic import DEFAULTS, ClassicStorage, check_namespace, check_state
from pybreaker_ext.storage.history import LIMIT, Change, change_of, check_limit, check_worker, not_read, understood
from pybreaker_ext.storage.outage import StandIn
from pybreaker_ext.storage.shared import SharedObjects
from pybreaker_ext.storage.sqlite_file import FileBusyError, SQLiteFile, Transaction

if TYPE_CHECKING:
    from collections.abc import Callable

logger = logging.getLogger("pybreaker_ext.storage")

#: One row always comes back; its first column is SQLite's clock in microseconds since the epoch.
SELECT: Final = """
SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000,
    namespace, state, generation, fail_counter, success_counter, opened_at, open_until, trips, reason, permits
FROM (SELECT 1) LEFT JOIN circuits ON namespace = ?"""

REPLACE: Final = """
INSERT OR REPLACE INTO circuits
    (namespace, state, generation, fail_counter, success_counter, opened_at, open_until, trips, reason, permits)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""

REMEMBER: Final = """
INSERT INTO circuit_changes (namespace, at, old_state, new_state, reason, worker) VALUES (?, ?, ?, ?, ?, ?)"""

FORGET: Final = """
DELETE FROM circuit_changes WHERE namespace = ? AND id <=
    (SELECT id FROM circuit_changes WHERE namespace = ? ORDER BY id DESC LIMIT 1 OFFSET ?)"""

LAST: Final = """
SELECT at, old_state, new_state, reason, worker FROM circuit_changes WHERE namespace = ? ORDER BY id DESC LIMIT ?"""

#: Two writes that leave nothing. No circuit has an empty name.
TRIAL: Final = ("", "", 0, 0, 0, 0, 0, 0, "", "")
TRIAL_UNDONE: Final = "DELETE FROM circuits WHERE namespace = ''"

#: Events that often change nothing: a plain look decides them, without a write lock.
QUIET: Final = frozenset({"ask", "success", "neutral", "renew", "read"})


class CircuitSQLiteStorage(ClassicStorage):
    """Keeps one circuit in an SQLite file that any number of processes of one machine share.

    Constructing does no I/O; the file is made at the first use. The file must lie on a local
    disk: SQLite's locks can't be relied upon over a network file system.

    Args:
        path: The file. Its directory must exist and be writable.
        namespace: Names the circuit within the file.
        fallback_circuit_state: The state in which each process goes on by itself while the file
            can't be used: `"closed"` counts and trips locally, `"open"` rejects.
        history: Changes of state that the file keeps of this circuit, 0 to 1,000,000; 0: none.
        worker: What the history calls this worker; `host:pid` by default.

    Raises:
        TypeError: `path`, `namespace` or `worker` is no text, or `history` no number.
        ValueError: `namespace` or `path` is empty, `path` names a memory database,
            `fallback_circuit_state` is no state, `history` or `worker` out of its range.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        namespace: str,
        *,
        fallback_circuit_state: str = CLOSED,
        history: int = LIMIT,
        worker: str | None = None,
    ) -> None:
        super().__init__("sqlite")
        self._limit = check_limit(history)
        self._worker = check_worker(worker)
        self._namespace = check_namespace(namespace)
        self._file = files.get(_check_path(path), SQLiteFile)
        self._warned = False
        self.outage = self._file.outage
        self._stand_in = StandIn(self.outage, check_state("fallback_circuit_state", fallback_circuit_state))

    @property
    def namespace(self) -> str:
        """Names the circuit within the file."""
        return self._namespace

    def apply(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""
        return self._stand_in.apply(self._attempt, event, policy)

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""
        try:
            return self._stand_in.apply(self._attempt_now, event, policy)
        except FileBusyError:  # another process is writing: wait, and let the loop go on
            command = self._stand_in.apply_async(self._attempt_async, event, policy)
            return await carried_out(command, self, event, policy)

    def history(self, limit: int) -> list[Change]:
        """Return the last `limit` changes of state, the oldest first.

        Raises:
            StoreUnavailableError: The file can't be read, and isn't known to be away.
        """
        if self.outage.epoch % 2:
            return self._stand_in.history(limit)
        try:
            return self._file.run(self._last(limit))
        except StoreUnavailableError as error:
            raise not_read(error) from error.__cause__

    async def history_async(self, limit: int) -> list[Change]:
        """Return the last `limit` changes of state, the oldest first.

        Raises:
            StoreUnavailableError: The file can't be read, and isn't known to be away.
        """
        if self.outage.epoch % 2:
            return self._stand_in.history(limit)
        try:
            return await self._file.run_async(self._last(limit))
        except StoreUnavailableError as error:
            raise not_read(error) from error.__cause__

    def _last(self, limit: int) -> Callable[[Transaction], list[Change]]:
        def step(transaction: Transaction) -> list[Change]:
            rows = transaction.execute(LAST, (self._namespace, limit)).fetchall()
            return understood(reversed(rows))

        return step

    def _attempt(self, event: Event, policy: Policy) -> Decision:
        return self._file.run(self._steps(event, policy))

    async def _attempt_async(self, event: Event, policy: Policy) -> Decision:
        return await self._file.run_async(self._steps(event, policy))

    def _attempt_now(self, event: Event, policy: Policy) -> Decision:
        return self._file.run_now(self._steps(event, policy))

    def _steps(self, event: Event, policy: Policy) -> Callable[[Transaction], Decision]:
        if policy is not DEFAULTS:
            self._policy = policy
        trial = event.epoch % 2 == 1

        def decided(record: Record | None, now: int) -> Decision:
            return decide(record, event, policy, now)

        def step(transaction: Transaction) -> Decision:
            if event.kind in QUIET and not trial:
                decision = decided(*self._load(transaction))
                if not decision.write:
                    return decision
            return self._write(transaction, decided, trial=trial)  # anew: another writer may have been faster

        return step

    def _write(
        self, transaction: Transaction, decided: Callable[[Record | None, int], Decision], *, trial: bool = False
    ) -> Decision:
        transaction.begin()
        decision = self._decided_undisturbed(transaction, decided)
        if trial and not decision.write:  # after an outage: does the file take writes again?
            transaction.execute(REPLACE, TRIAL)
            transaction.execute(TRIAL_UNDONE)
        transaction.commit()
        return decision

    def _decided_undisturbed(
        self, transaction: Transaction, decided: Callable[[Record | None, int], Decision]
    ) -> Decision:
        """Decide and save; again, if a finalizer or signal handler has joined the transaction in between."""
        while True:
            seen = self._file.writes
            decision = decided(*self._load(transaction))
            values = (self._namespace, *decision.after[:8], permits.to_text(decision.after.permits))
            if self._file.writes == seen:
                if decision.write:
                    self._file.writes += 1
                    transaction.execute(REPLACE, values)
                    self._remember(transaction, change_of(decision, self._worker))
                return decision

    def _remember(self, transaction: Transaction, change: Change | None) -> None:
        if change is not None and self._limit:
            transaction.execute(REMEMBER, (self._namespace, *change))
            transaction.execute(FORGET, (self._namespace, self._namespace, self._limit))

    def _rewrite(self, rewritten: Callable[[Record, int], Record]) -> None:
        def decided(record: Record | None, now: int) -> Decision:
            before = record or missing(CLOSED, now)
            after = rewritten(before, now // 1000)
            return Decision(DONE, before.state, before.generation, after, write=True, retry_after=0, now=now // 1000)

        def attempt(_event: Event, _policy: Policy) -> Decision:
            return self._file.run(lambda transaction: self._write(transaction, decided))

        self._stand_in.apply(attempt, Event("read"), Policy())

    def _load(self, transaction: Transaction) -> tuple[Record | None, int]:
        now, namespace, *fields = transaction.execute(SELECT, (self._namespace,)).fetchone()
        if namespace is None:
            return None, now
        record = understood_record(fields)
        if record is None and not self._warned:
            self._warned = True
            logger.warning(
                "A row is not understood, and treated as missing: %s in %s", self._namespace, self._file.path
            )
        return record, now


def understood_record(fields: list[Any]) -> Record | None:
    """Return a row as a record; None when it holds something that no circuit can."""
    state, *numbers, reason, held = fields
    good = state in STATES and reason in REASONS and isinstance(held, str)
    if not good or not all(isinstance(number, int) and 0 <= number <= FOREVER for number in numbers):
        return None
    try:
        return Record._make((state, *numbers, reason, permits.from_text(held)))
    except ValueError:
        return None


files: SharedObjects[str, SQLiteFile] = SharedObjects()


def _check_path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        message = f"path must be a text or a path object, not {path!r}"
        raise TypeError(message)
    if not text or text.startswith(":memory:") or "\0" in text:
        message = f"path must name a file (CircuitMemoryStorage needs none), not {text!r}"
        raise ValueError(message)
    return os.path.realpath(text)
