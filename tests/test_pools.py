"""Pools of asyncio connections, those for older versions of redis-py among them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio
from redis.exceptions import MaxConnectionsError

from pybreaker_ext.storage.pools import AsyncPool, AsyncSentinelPool, EagerPool, EagerSentinelPool

if TYPE_CHECKING:
    import servers

TASKS = 20


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [(AsyncPool, ()), (EagerPool, ()), (AsyncSentinelPool, ("main", None)), (EagerSentinelPool, ("main", None))],
)
def test_all_tasks_connect_at_the_same_time(kind: Any, arguments: tuple[Any, ...]) -> None:
    class Watched(kind):  # type: ignore[misc]
        connecting = most = 0

        async def ensure_connection(self, connection: Any) -> None:
            del connection
            self.connecting += 1
            self.most = max(self.most, self.connecting)
            await asyncio.sleep(0.01)
            self.connecting -= 1

    async def main() -> int:
        pool = Watched(*arguments)
        await asyncio.gather(*(pool.get_connection() for _ in range(TASKS)))
        return pool.most

    assert asyncio.run(main()) == TASKS


@pytest.mark.parametrize("kind", [AsyncPool, EagerPool])
def test_connections_are_used_again(kind: Any, redis_server: servers.RedisServer) -> None:
    async def main() -> None:
        pool = kind(host="127.0.0.1", port=redis_server.port, max_connections=2)
        async with redis.asyncio.Redis.from_pool(pool) as client:
            for _ in range(3):
                assert await client.ping()
            first, second = await pool.get_connection(), await pool.get_connection()
            with pytest.raises(MaxConnectionsError):
                await pool.get_connection()
            for connection in (first, second):
                await pool.release(connection)
            assert await pool.get_connection() in (first, second)

    asyncio.run(main())


@pytest.mark.parametrize("kind", [AsyncPool, EagerPool])
def test_one_that_can_t_be_connected_is_given_back(kind: Any) -> None:
    async def main() -> None:
        pool = kind(host="127.0.0.1", port=1, max_connections=1)
        for _ in range(3):
            with pytest.raises(redis.ConnectionError, match="connecting"):
                await pool.get_connection()

    asyncio.run(main())
