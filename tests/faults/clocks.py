"""Stores whose clock seems to be wrong, for all of their users at once.

An imitation: what is read of the clock is added to, in the script or in the worker. No clock is set.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext import CircuitRedisStorage, CircuitSQLiteStorage
from pybreaker_ext.storage.redis_urls import redis_client

if TYPE_CHECKING:
    from pybreaker_ext.machine import Record

#: Holds by how many microseconds the clock is ahead; the name of the file's companion, too.
AHEAD: Final = "clock-is-ahead"


class TurnedRedis(CircuitRedisStorage):
    """Its clock is the server's, and what a key says."""

    PRELUDE = (
        "local clock = redis.call('TIME')\n"
        f"local now = clock[1] * 1000000 + clock[2] + (tonumber(redis.call('GET', '{AHEAD}')) or 0)\n"
    )


class TurnedSQLite(CircuitSQLiteStorage):
    """Its clock is the machine's, and what a file says."""

    def _load(self, transaction: Any) -> tuple[Record | None, int]:
        record, now = super()._load(transaction)
        ahead = Path(self._file.path).with_name(AHEAD)
        return record, now + (int(ahead.read_text()) if ahead.exists() else 0)


def turned_redis(url: str, name: str) -> TurnedRedis:
    return TurnedRedis("closed", redis_client(url), name)


def turned_sqlite(url: str, name: str) -> TurnedSQLite:
    return TurnedSQLite(url.removeprefix("sqlite:///"), name)
