"""The sentinels that a URL tells of. redis-py asks them whenever it connects to the primary.

redis-py's own would spend a time-out on each silent one, and then one on a silent primary. These spend
one on all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio import sentinel as aio_sentinel
from redis.sentinel import MasterNotFoundError, Sentinel

from pybreaker_ext.storage.turns import Turns, check_answers, check_answers_async, longest, part_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybreaker_ext.storage.slots import Address


class Sentinels(Sentinel):
    """Asks sentinels in turn, and makes sure of the primary when some of them were silent.

    Takes what `redis.sentinel.Sentinel` takes, and needs it all: `sentinel_kwargs`, and the settings
    of connections to the primary, `socket_timeout` and `socket_connect_timeout` (seconds) among both.
    """

    def __init__(self, sentinels: Sequence[Address], **settings: Any) -> None:
        super().__init__(sentinels, **settings)  # type: ignore[no-untyped-call]
        self._turns = Turns(sentinels, longest(self.connection_kwargs))

    def discover_master(self, service_name: str) -> Address:
        """Return host and port of the primary.

        Raises:
            RedisError: No sentinel answers or knows it, or the primary is silent, too.
        """

        def primary(address: Address, part: float) -> Address:
            with Redis(*address, **part_of(self.sentinel_kwargs, part)) as sentinel:
                return _primary(self, service_name, sentinel.sentinel_masters())

        address, left = self._turns.ask(primary)
        if left < 1:
            with Redis(*address, **part_of(self.connection_kwargs, left)) as server:
                check_answers(server)
        return address


class AsyncSentinels(aio_sentinel.Sentinel):
    """Asks sentinels in turn, and makes sure of the primary when some of them were silent.

    Takes what `redis.asyncio.sentinel.Sentinel` takes, and needs it all: `sentinel_kwargs`, and the
    settings of connections to the primary, `socket_timeout` and `socket_connect_timeout` (seconds) among both.
    """

    def __init__(self, sentinels: Sequence[Address], **settings: Any) -> None:
        super().__init__(sentinels, **settings)  # type: ignore[no-untyped-call]
        self._turns = Turns(sentinels, longest(self.connection_kwargs))

    async def discover_master(self, service_name: str) -> Address:
        """Return host and port of the primary.

        Raises:
            RedisError: No sentinel answers or knows it, or the primary is silent, too.
        """

        async def primary(address: Address, part: float) -> Address:
            host, port = address
            async with AsyncRedis(host=host, port=port, **part_of(self.sentinel_kwargs, part)) as sentinel:
                return _primary(self, service_name, await sentinel.sentinel_masters())

        (host, port), left = await self._turns.ask_async(primary)
        if left < 1:
            async with AsyncRedis(host=host, port=port, **part_of(self.connection_kwargs, left)) as server:
                await check_answers_async(server)
        return host, port


def _primary(sentinels: Any, service: str, known: Any) -> Address:
    """Return where a sentinel says that the primary is; raise if it doesn't know, because another may."""
    state = known.get(service)
    if not state or not sentinels.check_master_state(state, service):
        message = f"a sentinel knows no primary of {service!r} that is well"
        raise MasterNotFoundError(message)
    return state["ip"], state["port"]
