"""Workers of another version of this package, which lay out SQLite's file otherwise.

An imitation: they decide as ours do, and the SQL is the other version's.
"""

from __future__ import annotations

import contextlib
import sqlite3
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pybreaker_ext import CircuitSQLiteStorage
from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.machine import Decision, Event, Policy, decide
from pybreaker_ext.storage import permits
from pybreaker_ext.storage.sqlite import QUIET, understood_record

if TYPE_CHECKING:
    from pathlib import Path

#: As the first version of this package made them.
FIRST_SCHEMA: Final = """
CREATE TABLE circuits (namespace TEXT PRIMARY KEY, state TEXT NOT NULL, generation INTEGER NOT NULL,
    fail_counter INTEGER NOT NULL, success_counter INTEGER NOT NULL, opened_at INTEGER NOT NULL,
    open_until INTEGER NOT NULL, trips INTEGER NOT NULL, reason TEXT NOT NULL, permits TEXT NOT NULL)"""

SELECT: Final = """
SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000, c.*
FROM (SELECT 1) LEFT JOIN circuits AS c ON c.namespace = ?"""


def make_first(path: Path) -> None:
    """Make the file as the first version does."""
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(FIRST_SCHEMA)


def add_columns(path: Path) -> None:
    """Change the file as a later version may: what is there stays, and there is more."""
    with contextlib.closing(sqlite3.connect(path, timeout=10, isolation_level=None)) as connection:
        for table in ("circuits", "circuit_changes"):
            connection.execute(f"ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT ''")
        connection.execute("PRAGMA user_version = 2")


class FirstVersion(CircuitSQLiteStorage):
    """Decides as ours does, and reads and writes the file by the first version's own statements.

    They name no columns, and know no history.
    """

    REPLACE: ClassVar = "INSERT OR REPLACE INTO circuits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"

    def _attempt(self, event: Event, policy: Policy) -> Decision:
        try:
            with contextlib.closing(sqlite3.connect(self._file.path, timeout=2, isolation_level=None)) as connection:
                decision = self._decided(connection, event, policy)
                if decision.write or event.kind not in QUIET:
                    connection.execute("BEGIN IMMEDIATE")
                    decision = self._decided(connection, event, policy)
                    if decision.write:
                        self._save(connection, decision)
                    connection.execute("COMMIT")
                return decision
        except sqlite3.Error as error:
            raise StoreUnavailableError(self._file.path) from error

    _attempt_now = _attempt

    def _decided(self, connection: sqlite3.Connection, event: Event, policy: Policy) -> Decision:
        now, namespace, *fields = connection.execute(SELECT, (self.namespace,)).fetchone()
        return decide(None if namespace is None else understood_record(fields[:9]), event, policy, now)

    def _save(self, connection: sqlite3.Connection, decision: Decision) -> None:
        connection.execute(self.REPLACE, self._values(decision))

    def _values(self, decision: Decision) -> tuple[Any, ...]:
        return (self.namespace, *decision.after[:8], permits.to_text(decision.after.permits))


class LaterVersion(FirstVersion):
    """Has columns of its own, behind ours, in both tables."""

    REPLACE: ClassVar = "INSERT OR REPLACE INTO circuits VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'later')"

    def _save(self, connection: sqlite3.Connection, decision: Decision) -> None:
        super()._save(connection, decision)
        if decision.old_generation != decision.after.generation:
            change = (self.namespace, decision.now, decision.old_state, decision.after.state, decision.after.reason)
            connection.execute("INSERT INTO circuit_changes VALUES (NULL, ?, ?, ?, ?, ?, 'later', 'later')", change)


def first_version(url: str, name: str) -> FirstVersion:
    return FirstVersion(url.removeprefix("sqlite:///"), name)


def later_version(url: str, name: str) -> LaterVersion:
    return LaterVersion(url.removeprefix("sqlite:///"), name)
