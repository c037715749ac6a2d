"""A Redis Cluster that a URL tells of: redis-py's client for threads would look for it when it is made."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from redis import Redis, RedisCluster
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: The settings, in seconds, of which each node or sentinel has its share while a server is looked for.
TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout")

#: A share is a fifth, or less if there are more of them.
FEWEST_SHARES: Final = 5


def shares(settings: Mapping[str, Any], number: int) -> dict[str, float]:
    """Return each one's share of the time-outs: all of them together must not cost more than one server."""
    return {timeout: settings[timeout] / max(FEWEST_SHARES, number) for timeout in TIMEOUTS}


class DeferredCluster:
    """Stands for a `redis.RedisCluster` until somebody needs one. Making it does no I/O.

    Args:
        nodes: Host and port of some of the cluster's nodes, at least one.
        settings: What redis-py's clients for clusters take, `socket_timeout` and
            `socket_connect_timeout` (seconds) among it.
    """

    def __init__(self, nodes: Sequence[tuple[str, int]], settings: Mapping[str, Any]) -> None:
        self.nodes = tuple(nodes)
        self.settings = dict(settings)
        #: The one that answered last.
        self._known: tuple[str, int] | None = None

    def client(self) -> RedisCluster:
        """Return a new client that never repeats a command.

        Raises:
            RedisError: No node answers, or they are no cluster.
        """
        host, port = self.reachable()
        nodes = [ClusterNode(host, port)]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **self.settings)

    def reachable(self) -> tuple[str, int]:
        """Return a node that is one of a cluster's; if none answers, all of them together cost one time-out.

        Raises:
            RedisError: There is none.
        """
        settings = {**self.settings, **shares(self.settings, len(self.nodes)), "retry": Retry(NoBackoff(), 0)}
        failed: RedisError = RedisConnectionError("no nodes")
        for host, port in self._in_turn():
            try:
                with Redis(host, port, **settings) as node:
                    node.execute_command("CLUSTER INFO")
            except RedisError as error:
                failed = error
            else:
                self._known = (host, port)
                return host, port
        raise failed

    async def reachable_async(self) -> tuple[str, int]:
        """Return a node that is one of a cluster's; if none answers, all of them together cost one time-out.

        Raises:
            RedisError: There is none.
        """
        settings = {**self.settings, **shares(self.settings, len(self.nodes)), "retry": AsyncRetry(NoBackoff(), 0)}
        failed: RedisError = RedisConnectionError("no nodes")
        for host, port in self._in_turn():
            try:
                async with AsyncRedis(host=host, port=port, **settings) as node:
                    await node.execute_command("CLUSTER INFO")  # type: ignore[no-untyped-call]
            except RedisError as error:
                failed = error
            else:
                self._known = (host, port)
                return host, port
        raise failed

    def _in_turn(self) -> list[tuple[str, int]]:
        """Return the nodes in the order in which they are asked: not the same first one from everywhere."""
        return sorted(random.sample(self.nodes, len(self.nodes)), key=lambda node: node != self._known)

    def __getattr__(self, name: str) -> Any:
        """Return what a client has: `pybreaker.CircuitRedisStorage` writes by it."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.client(), name)
