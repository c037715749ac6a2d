"""The circuits in an SQLite file. It is opened for reading only, so that a look makes no file and waits for nobody."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.machine import Event, Policy, decide
from pybreaker_ext.storage.history import understood
from pybreaker_ext.storage.places import MOST_CHANGES, Glance, Place, Seen
from pybreaker_ext.storage.sqlite import LAST, CircuitSQLiteStorage, understood_record

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pybreaker_ext.storage import Storage
    from pybreaker_ext.storage.history import Change

#: All circuits, each with its last change; the first column is SQLite's clock in microseconds since the epoch.
ALL: Final = """
SELECT CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000, circuits.namespace,
    state, generation, fail_counter, success_counter, opened_at, open_until, trips, circuits.reason, permits,
    last.at, last.old_state, last.new_state, last.reason, last.worker
FROM circuits LEFT JOIN circuit_changes AS last ON last.id =
    (SELECT max(id) FROM circuit_changes AS each WHERE each.namespace = circuits.namespace)
WHERE circuits.namespace <> ''"""

#: Columns of `ALL` that are the record.
_RECORD: Final = slice(2, 11)


class SQLiteListing:
    """What an SQLite file holds.

    Args:
        path: The file.
        where: The store, in words.
    """

    complete = True

    def __init__(self, path: str, where: str) -> None:
        self.where = where
        self._path = path
        self._seen: dict[Place, Seen] = {}

    def search(self, pages: int | None = None) -> Sequence[Place]:
        """Return all places. It is one query, whatever `pages` says."""
        del pages
        return sorted(self._look())

    def find(self, name: str) -> Place | None:
        """Return the place of one circuit; None: there is none."""
        return next((place for place in self.search() if place.name == name), None)

    def glance(self, places: Iterable[Place]) -> dict[Place, Glance]:
        """Return what the last search has seen."""
        return {place: Glance(*_glance(self._seen[place])) for place in places if place in self._seen}

    def read(self, places: Iterable[Place]) -> dict[Place, Seen]:
        """Read circuits."""
        seen = self._look()
        return {place: seen[place] for place in places if place in seen}

    def history(self, place: Place, limit: int) -> list[Change]:
        """Return the last `limit` changes of a circuit's state, the oldest first."""
        return understood(reversed(self._rows(LAST, (place.name, limit))))

    def storage_at(self, place: Place, worker: str) -> Storage:
        """Return the storage by which somebody called `worker` may set a circuit."""
        return CircuitSQLiteStorage(self._path, place.name, history=MOST_CHANGES, worker=worker)

    def close(self) -> None:
        """Do nothing: no search leaves the file open."""

    def _look(self) -> dict[Place, Seen]:
        self._seen = dict(map(_seen_in, self._rows()))
        return self._seen

    def _rows(self, query: str = ALL, values: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
        if not Path(self._path).is_file():
            message = "there is no such file; workers make it at their first call"
            raise StoreUnavailableError(message)
        try:
            with closing(sqlite3.connect(f"{Path(self._path).absolute().as_uri()}?mode=ro", uri=True)) as file:
                return file.execute(query, values).fetchall()
        except sqlite3.Error as error:
            if "no such table" in str(error):
                message = "the file holds no circuits"
                raise StoreUnavailableError(message) from error
            raise StoreUnavailableError(str(error)) from error


def _seen_in(row: tuple[object, ...]) -> tuple[Place, Seen]:
    now, namespace = row[:2]
    record = understood_record(list(row[_RECORD]))
    decision = decide(record, Event("read"), Policy(), int(str(now)))
    changes = understood([row[_RECORD.stop :]])
    return Place(str(namespace), str(namespace)), Seen(decision, changes[0] if changes else None)


def _glance(seen: Seen) -> tuple[str, int]:
    return seen.decision.after.state, seen.decision.after.fail_counter
