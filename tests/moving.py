"""A slot of a Redis Cluster on its way from one node to another, step by step, as redis-cli takes it there."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from fleet import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Cluster, RedisServer


class Move:
    """The slot's way.

    Args:
        cluster: Its cluster.
        key: Whose slot it is.
    """

    def __init__(self, cluster: Cluster, key: str) -> None:
        self._cluster, self._key = cluster, key
        self.source = cluster.primary_of(key)
        self.target = next(node for node in cluster.nodes if node is not self.source and is_primary(node))
        with self.source.client() as here, self.target.client() as there:
            self._slot = here.cluster("keyslot", key)
            self._ids = [client.cluster("myid").decode() for client in (here, there)]

    def begin(self) -> None:
        with self.source.client() as here, self.target.client() as there:
            there.cluster("setslot", self._slot, "importing", self._ids[0])
            here.cluster("setslot", self._slot, "migrating", self._ids[1])

    def keys(self, beginning: str = "", number: int | None = None) -> int:
        """Move so many keys, or all, whose names begin so, at once; return how many."""
        with self.source.client() as here:
            found = here.cluster("getkeysinslot", self._slot, 1000)
            names = sorted(name for name in found if name.startswith(beginning))[:number]
            if names:
                here.migrate("127.0.0.1", self.target.port, names, 0, 5000)
        return len(names)

    def give_up_there(self) -> None:
        with self.target.client() as there:
            there.cluster("setslot", self._slot, "stable")

    def end(self) -> None:
        with self.source.client() as here, self.target.client() as there:
            for client in (there, here):
                client.cluster("setslot", self._slot, "node", self._ids[1])
        until(lambda: self._cluster.primary_of(self._key) is self.target, pause=0.02)

    def back(self) -> None:
        """Leave the cluster as it was."""
        self.keys()
        self.end()
        self.source, self.target = self.target, self.source
        self._ids.reverse()
        self.begin()
        self.keys()
        self.end()


@contextlib.contextmanager
def moving(cluster: Cluster, key: str) -> Iterator[Move]:
    """Let a slot be moved, and moved back in the end. Nothing else is in the cluster."""
    cluster.clear()
    move = Move(cluster, key)
    try:
        yield move
    finally:
        move.back()


def is_primary(server: RedisServer) -> bool:
    with server.client() as client:
        return bool(client.info("replication")["role"] == "master")
