"""Pools of asyncio connections that connect at the same time.

Those of redis-py before 7.2 connect one after the other: fifty tasks that ask a silent server would each
wait for all before it. They also call an exhausted pool a lost connection.
"""

from __future__ import annotations

import contextlib
from typing import Any, Final

import redis
from redis.asyncio import ConnectionPool
from redis.asyncio.sentinel import SentinelConnectionPool
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MaxConnectionsError


class _AtTheSameTime:
    """Takes a connection without a lock, which no other task can come between, and connects it then."""

    async def get_connection(self: Any, *_: Any, **__: Any) -> Any:
        """Return a connection that is connected."""
        try:
            connection = self.get_available_connection()
        except RedisConnectionError as error:
            raise MaxConnectionsError(*error.args) from None
        try:
            await self.ensure_connection(connection)
        except BaseException:
            await self.release(connection)
            raise
        return connection


class EagerPool(_AtTheSameTime, ConnectionPool):
    """A pool of connections to one server."""


class EagerSentinelPool(_AtTheSameTime, SentinelConnectionPool):
    """A pool of connections to the server that sentinels tell of."""


async def close_idle(pool: Any) -> None:
    """Close the connections that nobody uses. The other end, which may say nothing any more, isn't waited for."""
    for connection in list(pool._available_connections):  # noqa: SLF001  redis-py's own way waits
        with contextlib.suppress(Exception):
            await connection.disconnect(nowait=True)


_OLD: Final = redis.VERSION < (7, 2)

AsyncPool: Final = EagerPool if _OLD else ConnectionPool
AsyncSentinelPool: Final = EagerSentinelPool if _OLD else SentinelConnectionPool
