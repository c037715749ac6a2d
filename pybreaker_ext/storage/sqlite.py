"""Circuits of one machine: one SQLite file for many processes and many circuits.

A writer that is killed leaves nothing locked and nothing half-written: the locks are the operating
system's and go with the process, the transaction is undone from the write-ahead log. The clock is
SQLite's own, which is the machine's.
"""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import CLOSED, DONE, Decision, Event, Policy, Record, decide, missing
from pybreaker_ext.storage import permits
from pybreaker_ext.storage.classic import ClassicStorage, check_namespace, check_state
from pybreaker_ext.storage.outage import Outage, StandIn
from pybreaker_ext.storage.shared import SharedObjects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds that a caller waits for other processes' writes (each takes some 0.1 ms) before the
#: file counts as away.
LOCK_TIMEOUT: Final = 1.0

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS circuits (
    namespace TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    generation INTEGER NOT NULL,
    fail_counter INTEGER NOT NULL,
    success_counter INTEGER NOT NULL,
    opened_at INTEGER NOT NULL,     -- milliseconds since the epoch, 0: never
    open_until INTEGER NOT NULL,    -- milliseconds since the epoch
    trips INTEGER NOT NULL,
    reason TEXT NOT NULL,
    permits TEXT NOT NULL           -- token:lease end in milliseconds, ...
)"""

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
        self._file = _files.get(_check_path(path), _File)
        self._stand_in = StandIn(self._file.outage, check_state("fallback_circuit_state", fallback_circuit_state))

    @property
    def namespace(self) -> str:
        """Names the circuit within the file."""
        return self._namespace

    def apply(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""
        return self._stand_in.apply(self._attempt, event, policy)

    def _attempt(self, event: Event, policy: Policy) -> Decision:
        def decided(record: Record | None, now: int) -> Decision:
            return decide(record, event, policy, now)

        return self._file.run(lambda connection: self._step(connection, decided, quiet=event.kind in QUIET))

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


class _File:
    """One file as this process knows it: idle connections, and whether it can be used."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.outage = Outage(f"SQLite file {path}")
        self._own_connections()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Leave the parent's connections alone: SQLite forbids even closing them in the child."""
        _inherited.append(self._idle)
        self._closing.detach()
        self._own_connections()

    def run(self, step: Callable[[sqlite3.Connection], Decision]) -> Decision:
        """Return what `step` makes of a connection; wait while other processes write.

        Raises:
            StoreUnavailableError: The file can't be used, or is locked for too long.
        """
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                with self._connection() as connection:
                    return step(connection)
            except (sqlite3.Error, OSError, ValueError) as error:
                if not _busy(error) or time.monotonic() >= deadline:
                    raise StoreUnavailableError(self.path) from error
            # SQLite's own waiting grows to 100 ms a step, which is unfair among many processes.
            time.sleep(random.uniform(0.0002, 0.004))  # noqa: S311

    def _own_connections(self) -> None:
        self._idle: deque[sqlite3.Connection] = deque()
        self._closing = weakref.finalize(self, _close_all, self._idle)

    @contextlib.contextmanager
    def _connection(self) -> Iterator[sqlite3.Connection]:
        idle = self._idle
        try:
            connection = idle.pop()
        except IndexError:
            connection = self._connect()
        try:
            yield connection
        except BaseException as error:
            if not _busy(error):
                connection.close()  # which undoes an open transaction
                raise
            connection.rollback()
            idle.append(connection)
            raise
        idle.append(connection)

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            # A commit survives the end of the process without a sync of the disk, and the file
            # survives the end of the machine, at worst with the last moments missing.
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            connection.execute(SCHEMA)
        except BaseException:
            connection.close()
            raise
        return connection


#: Connections of parent processes, kept from being closed by the garbage collector.
_inherited: list[deque[sqlite3.Connection]] = []

_files: SharedObjects[str, _File] = SharedObjects()


def _close_all(connections: deque[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


def _busy(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _check_path(path: str | os.PathLike[str]) -> str:
    text = os.fspath(path) if isinstance(path, os.PathLike) else path
    if not isinstance(text, str):
        message = f"path must be a text or a path object, not {path!r}"
        raise TypeError(message)
    if not text or text.startswith(":memory:") or "\0" in text:
        message = f"path must name a file (CircuitMemoryStorage needs none), not {text!r}"
        raise ValueError(message)
    return os.path.realpath(text)
