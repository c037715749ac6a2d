"""Circuits of one machine: one SQLite file for many processes and many circuits.

A writer that is killed leaves nothing locked and nothing half-written: the locks are the operating
system's and go with the process, the transaction is undone from the write-ahead log. The clock is
SQLite's own, which is the machine's.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from pybreaker_ext.machine import CLOSED, DONE, Decision, Event, Policy, Record, decide, missing
from pybreaker_ext.storage import permits
from pybreaker_ext.storage.cancellation import carried_out
from pybreaker_ext.storage.classic import ClassicStorage, check_namespace, check_state
from pybreaker_ext.storage.outage import StandIn
from pybreaker_ext.storage.shared import SharedObjects
from pybreaker_ext.storage.sqlite_file import FileBusyError, SQLiteFile

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable

#: One row always comes back; its first column is SQLite's clock in microseconds since the epoch.
SELECT: Final = """
SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000, c.*
FROM (SELECT 1) LEFT JOIN circuits AS c ON c.namespace = ?"""

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

    Raises:
        TypeError: `path` or `namespace` is no text.
        ValueError: `namespace` or `path` is empty, `path` names a memory database, or
            `fallback_circuit_state` is no state.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        namespace: str,
        *,
        fallback_circuit_state: str = CLOSED,
    ) -> None:
        super().__init__("sqlite")
        self._namespace = check_namespace(namespace)
        self._file = files.get(_check_path(path), SQLiteFile)
        self._stand_in = StandIn(self._file.outage, check_state("fallback_circuit_state", fallback_circuit_state))

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
            return await carried_out(self._carry_out, event, policy)

    async def _carry_out(self, event: Event, policy: Policy) -> Decision:
        return await self._stand_in.apply_async(self._attempt_async, event, policy)

    def _attempt(self, event: Event, policy: Policy) -> Decision:
        return self._file.run(self._steps(event, policy))

    async def _attempt_async(self, event: Event, policy: Policy) -> Decision:
        return await self._file.run_async(self._steps(event, policy))

    def _attempt_now(self, event: Event, policy: Policy) -> Decision:
        return self._file.run_now(self._steps(event, policy))

    def _steps(self, event: Event, policy: Policy) -> Callable[[sqlite3.Connection], Decision]:
        def decided(record: Record | None, now: int) -> Decision:
            return decide(record, event, policy, now)

        return lambda connection: self._step(connection, decided, quiet=event.kind in QUIET)

    def _step(
        self, connection: sqlite3.Connection, decided: Callable[[Record | None, int], Decision], *, quiet: bool
    ) -> Decision:
        if quiet:
            decision = decided(*self._load(connection))
            if not decision.write:
                return decision
        connection.execute("BEGIN IMMEDIATE")
        decision = decided(*self._load(connection))  # anew: another writer may have been faster
        if decision.write:
            self._save(connection, decision.after)
        connection.execute("COMMIT")
        return decision

    def _rewrite(self, rewritten: Callable[[Record, int], Record]) -> None:
        def decided(record: Record | None, now: int) -> Decision:
            before = record or missing(CLOSED, now)
            after = rewritten(before, now // 1000)
            return Decision(DONE, before.state, before.generation, after, write=True, retry_after=0, now=now // 1000)

        def attempt(_event: Event, _policy: Policy) -> Decision:
            return self._file.run(lambda connection: self._step(connection, decided, quiet=False))

        self._stand_in.apply(attempt, Event("read"), Policy())

    def _load(self, connection: sqlite3.Connection) -> tuple[Record | None, int]:
        row = connection.execute(SELECT, (self._namespace,)).fetchone()
        if row[1] is None:
            return None, row[0]
        return Record._make((*row[2:10], permits.from_text(row[10]))), row[0]

    def _save(self, connection: sqlite3.Connection, record: Record) -> None:
        values = (self._namespace, *record[:8], permits.to_text(record.permits))
        connection.execute("INSERT OR REPLACE INTO circuits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", values)


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
