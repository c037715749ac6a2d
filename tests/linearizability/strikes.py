"""What is broken around the processes while a round lasts."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

import servers
from redis import Redis

from linearizability.orders import AFTER, BEFORE
from linearizability.traffic import SETTINGS
from pybreaker_ext.storage.history import Change, from_redis

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from linearizability.crew import Crew
    from linearizability.recorder import Observer

PROCESSES: Final = 8

KILL: Final = "SIGKILL at any time"
KILL_BEFORE: Final = "SIGKILL before a command is sent, or in mid-transaction"
KILL_AFTER: Final = "SIGKILL between a change and its answer"
STOP: Final = "SIGSTOP for longer than a lease, in one of these places"
BLOCK: Final = "no answers for longer than anybody waits"
KILL_CLIENTS: Final = "CLIENT KILL"
FLUSH_SCRIPTS: Final = "SCRIPT FLUSH"
LOSE: Final = "all records lost"
#: What a round on each kind of store can be told to break.
FAULTS: Final = {
    "redis": (KILL, KILL_BEFORE, KILL_AFTER, STOP, BLOCK, LOSE, KILL_CLIENTS, FLUSH_SCRIPTS),
    "sqlite": (KILL, KILL_BEFORE, KILL_AFTER, STOP, BLOCK, LOSE),
}

#: Seconds: longer than the lease of a probe.
LEASE: Final = 1.5 * SETTINGS["probe_timeout"]
#: How many times as long as an operation waits for its store, that doesn't answer.
SILENCE: Final = 1.5

#: Returns the circuit's changes of state, and loses everything.
FLUSH: Final = """
local changes = redis.call('XRANGE', KEYS[1], '-', '+')
redis.call('FLUSHALL')
return changes"""


class Striker:
    """Breaks things.

    Args:
        url: The store's.
        name: The circuit's.
        patience: Seconds that an operation waits for it.
        crew: The processes.
        observer: Looks, and notes when the record is lost.
        luck: Whom it hits.
    """

    def __init__(
        self, url: str, name: str, patience: float, crew: Crew, observer: Observer, luck: random.Random
    ) -> None:
        self._url, self._name, self._patience = url, name, patience
        self._crew, self._observer, self._luck = crew, observer, luck
        self._is_file = url.startswith("sqlite:")
        self._deeds: dict[str, Callable[[], None]] = {
            KILL: lambda: crew.kill(luck.randrange(PROCESSES)),
            KILL_BEFORE: lambda: self._kill(BEFORE),
            KILL_AFTER: lambda: self._kill(AFTER),
            STOP: self._stop,
            BLOCK: self._lock if self._is_file else self._pause,
            KILL_CLIENTS: lambda: self._ask(lambda client: client.client_kill_filter(_type="normal")),
            FLUSH_SCRIPTS: lambda: self._ask(lambda client: client.script_flush()),
            LOSE: self._lose,
        }

    def strike(self, fault: str) -> None:
        """Break something."""
        self._deeds[fault]()

    def _kill(self, where: int) -> None:
        for place in self._crew.stop_next(where):
            self._observer.look()  # so that a change shows, before it is lost or another one hides it
            self._crew.kill(place)

    def _stop(self) -> None:
        stopped = self._crew.stop_next(self._luck.choice([BEFORE, AFTER]))
        time.sleep(LEASE)  # real processes stand still for so long
        for place in stopped:
            self._crew.go_on(place)

    def _pause(self) -> None:
        """Stop the server: what is sent to it now may be executed when nobody waits any more."""
        pid: int = self._ask(lambda client: client.info("server")["process_id"])
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(SILENCE * self._patience)  # the fault lasts so long
        finally:
            os.kill(pid, signal.SIGCONT)

    def _lock(self) -> None:
        with self._file() as file:
            file.execute("BEGIN IMMEDIATE")
            time.sleep(SILENCE * self._patience)  # the fault lasts so long

    def _lose(self) -> None:
        self._observer.lose_with(self._delete if self._is_file else self._flush)

    def _delete(self) -> list[Change]:
        """Lose all records; SQLite keeps the changes elsewhere."""
        with self._file() as file:
            file.execute("DELETE FROM circuits")
        return []

    def _flush(self) -> list[Change]:
        """Lose everything, and return the changes of state as they were in that moment."""
        return from_redis(self._ask(lambda client: client.eval(FLUSH, 1, f"{self._name}:pybreaker:history")))

    def _ask(self, question: Callable[[Any], Any]) -> Any:
        with Redis.from_url(self._url + servers.PATIENCE) as client:
            return question(client)

    def _file(self) -> closing[sqlite3.Connection]:
        return closing(sqlite3.connect(self._url.removeprefix("sqlite:///"), timeout=60, isolation_level=None))
