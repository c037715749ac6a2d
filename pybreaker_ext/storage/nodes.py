"""Clients of one node of a Redis Cluster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.exceptions import AskError, MovedError, TryAgainError
from redis.retry import Retry

from pybreaker_ext.storage.packer import packer_for
from pybreaker_ext.storage.pools import AsyncPool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pybreaker_ext.storage.slots import Address


def node(address: Address, settings: Mapping[str, Any]) -> Any:
    """Return a new client of one node that never repeats a command."""
    made: Any = Redis(*address, **settings, retry=Retry(NoBackoff(), 0))
    made.connection_pool.connection_kwargs.update(packer_for(dict(settings)))
    return made


def node_async(address: Address, settings: Mapping[str, Any]) -> Any:
    """Return a new asyncio client of one node that never repeats a command; the settings are those of a pool."""
    retry = AsyncRetry(NoBackoff(), 0)
    return AsyncRedis.from_pool(AsyncPool(host=address[0], port=address[1], retry=retry, **settings))


class Asking:
    """Asks a node that is about to get a slot, for one command, as if it had it.

    While a slot is moved, the node that has it names the other one for keys that are there already. `ASKING`
    holds for the next command of the same connection, so the two travel together, in one round trip.

    Args:
        client: The node's.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    def execute_command(self, *words: Any) -> Any:
        """Return what the node answers to a command for keys that are being moved to it.

        Raises:
            TryAgainError: It doesn't have all of the keys, or the move is over.
        """
        with self._client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*words)
            try:
                return pipeline.execute()[-1]
            except (AskError, MovedError) as error:
                raise TryAgainError from error


class AskingAsync:
    """Asks a node that is about to get a slot, for one command, as if it had it.

    Args:
        client: The node's.
    """

    def __init__(self, client: Any) -> None:
        self._client = client

    async def execute_command(self, *words: Any) -> Any:
        """Return what the node answers to a command for keys that are being moved to it.

        Raises:
            TryAgainError: It doesn't have all of the keys, or the move is over.
        """
        async with self._client.pipeline(transaction=False) as pipeline:
            pipeline.execute_command("ASKING")
            pipeline.execute_command(*words)
            try:
                return (await pipeline.execute())[-1]
            except (AskError, MovedError) as error:
                raise TryAgainError from error
