"""A Redis Cluster that a URL tells of: redis-py's client for threads would look for it when it is made."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any, Final

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


#: The settings, in seconds, of which each node has its share while a cluster is looked for.
TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout")


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

    def client(self) -> RedisCluster:
        """Return a new client that never repeats a command.

        Raises:
            RedisError: No node answers, or they are no cluster.
        """
        host, port = self.reachable()
        nodes = [ClusterNode(host, port)]  # type: ignore[no-untyped-call]
        return RedisCluster(startup_nodes=nodes, retry=Retry(NoBackoff(), 0), **self.settings)

    def __getattr__(self, name: str) -> Any:
        """Return what a client has: `pybreaker.CircuitRedisStorage` writes by it."""
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.client(), name)

    def reachable(self) -> tuple[str, int]:
        """Return a node that answers; if none does, all of them together cost one time-out.

        Raises:
            RedisError: No node answers.
        """
        share = {timeout: self.settings[timeout] / len(self.nodes) for timeout in TIMEOUTS}
        settings = {**self.settings, **share}
        for host, port in random.sample(self.nodes, len(self.nodes)):
            try:
                with Redis(host, port, retry=Retry(NoBackoff(), 0), **settings) as node:
                    node.ping()
            except (RedisConnectionError, RedisTimeoutError) as error:
                failed = error
            else:
                return host, port
        raise failed
