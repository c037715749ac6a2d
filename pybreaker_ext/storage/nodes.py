"""Clients of the nodes of a Redis Cluster."""

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
from pybreaker_ext.storage.turns import part_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

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


class NodeClients:
    """One client for each node that is used; they connect again by themselves.

    Args:
        settings: Those of the clients.
        make: Returns a new client of one node: `node` or `node_async`.
    """

    def __init__(self, settings: Mapping[str, Any], make: Callable[[Address, Mapping[str, Any]], Any]) -> None:
        self._settings = settings
        self._make = make
        self._clients: dict[Address, Any] = {}
        #: Of these, the nodes that had left the last time: nobody begins to use them any more.
        self._left: set[Address] = set()

    def get(self, address: Address) -> Any:
        """Return the client of one node."""
        client = self._clients.get(address)
        if client is None:
            client = self._clients.setdefault(address, self._make(address, self._settings))
        return client

    def new(self, address: Address, part: float) -> Any:
        """Return a client of one node for one question, with a part of the time-outs."""
        return self._make(address, part_of(self._settings, part))

    def all(self) -> list[Any]:
        """Return the clients of all nodes that are used."""
        return list(self._clients.values())

    def leaving(self, nodes: Collection[Address]) -> list[Any]:
        """Return the clients of nodes that aren't among these, and forget those that weren't the last time either."""
        left = self._clients.keys() - set(nodes)
        leaving = [self._clients[address] for address in left]
        for address in left & self._left:  # by now nobody has their connections in use
            del self._clients[address]
        self._left = left - self._left
        return leaving


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
