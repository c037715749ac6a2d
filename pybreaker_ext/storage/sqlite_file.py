"""One SQLite file as this process knows it: its connections, its locks, and whether it can be used."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import sys
import threading
import time
import weakref
from typing import TYPE_CHECKING, Final, TypeVar

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.outage import Outage
from pybreaker_ext.storage.sqlite_damage import Identity, identity, is_damage, set_aside

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Seconds that a caller waits for other processes' writes (each takes some 0.1 ms) before the
#: file counts as away.
LOCK_TIMEOUT: Final = 2.0

#: Seconds between two looks at what has the file's name now. A look costs a fifth of a decision.
LOOK_INTERVAL: Final = 0.1

#: Seconds that a fork waits for another thread's step; they take microseconds.
FORK_PATIENCE: Final = 5.0

#: Seconds after which a waiting caller tries most often.
FAIR_WAIT: Final = 0.5

#: Statements that a connection keeps prepared. A free-threaded Python gives them up later, in the thread that has made
#: them, outside of any step: another thread may fork just then, and leave its child a lock of SQLite's for ever.
KEPT_STATEMENTS: Final = 0 if "t" in getattr(sys, "abiflags", "") else 128

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
);
CREATE TABLE IF NOT EXISTS circuit_changes (
    id INTEGER PRIMARY KEY,
    namespace TEXT NOT NULL,
    at INTEGER NOT NULL,            -- milliseconds since the epoch
    old_state TEXT NOT NULL,
    new_state TEXT NOT NULL,
    reason TEXT NOT NULL,
    worker TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS circuit_changes_of ON circuit_changes (namespace, id)"""


class FileBusyError(Exception):
    """Another process is writing to the file. `__cause__` is SQLite's own error."""


class SQLiteFile:
    """A file; all circuits that this process keeps in it share one connection.

    Steps take microseconds and SQLite lets one process write at a time, so nothing is lost by one
    at a time in this process, too. The lock is re-entrant: a finalizer or a signal handler that
    reports while this thread is in a step joins the step's transaction.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.outage = Outage(f"SQLite file {path}")
        self._lock = threading.RLock()
        self._held = False
        self._depth = 0
        #: Counts writes, so that a step notices one that came in between.
        self.writes = 0
        self._kept: list[sqlite3.Connection] = []
        #: The file that the connection is to, whatever has its name now.
        self._opened: Identity | None = None
        self._next_look = 0.0
        self._closing = weakref.finalize(self, _close, self._kept)
        renew_after_fork(self)

    def before_fork(self) -> None:
        """Close the connection, which a child must not even inherit, when no thread is in a step."""
        self._held = self._lock.acquire(timeout=FORK_PATIENCE)
        if self._held and not self._depth:
            _close(self._kept)

    def after_fork(self) -> None:
        """Go on, in the parent."""
        if self._held:
            self._lock.release()

    def renew_after_fork(self) -> None:
        """Go on, in the child; the file is opened again when it is used."""
        self._lock = threading.RLock()
        if self._kept:  # the fork came from within a step: never use or close what was open there
            _inherited.append(self._kept)
            self._kept, self._depth = [], 0
            self._closing.detach()
            self._closing = weakref.finalize(self, _close, self._kept)

    def run(self, step: Callable[[Transaction], T]) -> T:
        """Return what `step` makes of the file; wait while other processes write.

        Raises:
            StoreUnavailableError: The file can't be used, or is locked for too long.
        """
        began = time.monotonic()
        while True:
            try:
                return self.run_now(step)
            except FileBusyError as error:
                waited = time.monotonic() - began
                if waited >= LOCK_TIMEOUT:
                    raise StoreUnavailableError(self.path) from error.__cause__
            time.sleep(_pause(waited))

    async def run_async(self, step: Callable[[Transaction], T]) -> T:
        """Return what `step` makes of the file; wait while other processes write.

        Raises:
            StoreUnavailableError: The file can't be used, or is locked for too long.
        """
        began = time.monotonic()
        while True:
            try:
                return self.run_now(step)
            except FileBusyError as error:
                waited = time.monotonic() - began
                if waited >= LOCK_TIMEOUT:
                    raise StoreUnavailableError(self.path) from error.__cause__
            await asyncio.sleep(_pause(waited))

    def run_now(self, step: Callable[[Transaction], T]) -> T:
        """Return what `step` makes of the file, in microseconds.

        Raises:
            FileBusyError: Another process is writing, and nothing has happened.
            StoreUnavailableError: The file can't be used.
        """
        with self._lock:
            self._depth += 1
            try:
                return step(Transaction(self._connection(), nested=self._depth > 1))
            except Exception as error:
                self._clean_up(error)
                raise (FileBusyError if _busy(error) else StoreUnavailableError)(self.path) from error
            except BaseException as error:
                self._clean_up(error)
                raise
            finally:
                self._depth -= 1

    def _connection(self) -> sqlite3.Connection:
        """Return the connection, soon a new one if the file was deleted, replaced, or set aside.

        SQLite goes on in a file that has lost its name, where no newcomer would find this process.
        """
        now = time.monotonic()
        if self._kept and self._depth == 1 and now >= self._next_look:
            self._next_look = now + LOOK_INTERVAL
            if identity(self.path) != self._opened:
                _close(self._kept)
        if not self._kept:
            found = identity(self.path)  # asked first: what takes its place from now on is noticed
            self._kept.append(_connect(self.path))
            self._opened = found or identity(self.path)
        return self._kept[0]

    def _clean_up(self, error: BaseException) -> None:
        """Undo what an error has left open, unless it belongs to a step further out."""
        if self._depth > 1:
            return
        if self._kept and _busy(error):
            self._kept[0].rollback()
        else:
            _close(self._kept)  # which undoes it, too
            if is_damage(error):
                set_aside(self.path, self._opened)


class Transaction:
    """One step's look at the file; its writes come true together.

    Args:
        connection: Of the file.
        nested: Whether it is part of another step's transaction, which will end it.
    """

    def __init__(self, connection: sqlite3.Connection, *, nested: bool) -> None:
        self.execute = connection.execute
        self._joined = nested and connection.in_transaction

    def begin(self) -> None:
        """Lock the file for other writers.

        Raises:
            sqlite3.OperationalError: Another one has done so.
        """
        if not self._joined:
            self.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make the writes come true."""
        if not self._joined:
            self.execute("COMMIT")


#: Connections of a parent process, kept from being closed by the garbage collector.
_inherited: list[list[sqlite3.Connection]] = []


def _connect(path: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        path, timeout=0, isolation_level=None, check_same_thread=False, cached_statements=KEPT_STATEMENTS
    )
    connection.text_factory = _text
    try:
        # A commit survives the end of the process without a sync of the disk, and the file
        # survives the end of the machine, at worst with the last moments missing.
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        for statement in SCHEMA.split(";"):
            connection.execute(statement)
    except BaseException:
        connection.close()
        raise
    return connection


def _text(content: bytes) -> str:
    """Return a stored text. One that is none is nobody's circuit, and no reason to give up the whole file."""
    return content.decode("utf-8", "replace")


def _close(kept: list[sqlite3.Connection]) -> None:
    while kept:
        kept.pop().close()


def _pause(waited: float) -> float:
    """Return how long to wait for a lock: at random, and the shorter the longer one has waited.

    SQLite's own waits grow instead, to 100 ms a step, so that who comes last is served first.
    """
    return random.uniform(0.0001, 0.004) * max(0.05, 1 - waited / FAIR_WAIT)  # noqa: S311  luck, no secret


def _busy(error: BaseException) -> bool:
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
