"""One SQLite file as this process knows it: its connections, its locks, and whether it can be used."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
import time
import weakref
from collections import deque
from typing import TYPE_CHECKING, Final

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.outage import Outage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybreaker_ext.machine import Decision

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


class FileBusyError(Exception):
    """Another process is writing to the file. `__cause__` is SQLite's own error."""


class SQLiteFile:
    """A file; all circuits that this process keeps in it share it."""

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
                return self.run_now(step)
            except FileBusyError as error:
                if time.monotonic() >= deadline:
                    raise StoreUnavailableError(self.path) from error.__cause__
            time.sleep(_pause())

    async def run_async(self, step: Callable[[sqlite3.Connection], Decision]) -> Decision:
        """Return what `step` makes of a connection; wait while other processes write.

        Raises:
            StoreUnavailableError: The file can't be used, or is locked for too long.
        """
        deadline = time.monotonic() + LOCK_TIMEOUT
        while True:
            try:
                return self.run_now(step)
            except FileBusyError as error:
                if time.monotonic() >= deadline:
                    raise StoreUnavailableError(self.path) from error.__cause__
            await asyncio.sleep(_pause())

    def run_now(self, step: Callable[[sqlite3.Connection], Decision]) -> Decision:
        """Return what `step` makes of a connection, in microseconds.

        Raises:
            FileBusyError: Another process is writing, and nothing has happened.
            StoreUnavailableError: The file can't be used.
        """
        try:
            with self._connection() as connection:
                return step(connection)
        except (sqlite3.Error, OSError, ValueError) as error:
            raise (FileBusyError if _busy(error) else StoreUnavailableError)(self.path) from error

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
            if _busy(error):
                connection.rollback()
                idle.append(connection)
            else:
                connection.close()  # which undoes an open transaction
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


def _close_all(connections: deque[sqlite3.Connection]) -> None:
    while connections:
        connections.pop().close()


def _pause() -> float:
    """Return a short time; SQLite's own waits grow to 100 ms a step, which is unfair among many."""
    return random.uniform(0.0002, 0.004)  # noqa: S311


def _busy(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
