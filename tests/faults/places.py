"""Where circuits are kept while faults happen: real servers, and files."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import servers
from proxy import proxy_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    import redis
    from proxy import Proxy


class Place:
    """One store.

    Attributes:
        url: As a registry takes it.
        bound: Seconds by which a call may be late when the store is away, by the default time-outs.
        settings: Of the registry and the breakers, besides the usual ones.
        storage: Names what makes the storages, instead of the registry.
    """

    url: str
    bound: ClassVar[float]
    storage: str = ""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}


class RedisPlace(Place):
    """One server: a connection and an answer may each take a quarter of a second."""

    bound = 0.5

    def __init__(self, server: servers.RedisServer) -> None:
        super().__init__()
        self.server = server
        self.url = server.url

    def admin(self) -> redis.Redis:
        return self.server.client()


class ProxiedPlace(RedisPlace):
    """One server behind a proxy."""

    def __init__(self, server: servers.RedisServer, proxy: Proxy) -> None:
        super().__init__(server)
        self.proxy = proxy
        self.url = f"redis://127.0.0.1:{proxy.port}/0"


class SentinelPlace(Place):
    """A primary and a replica, and three sentinels; of these each has a share of one time-out."""

    bound = 1.0

    def __init__(self, sentinels: servers.Sentinels) -> None:
        super().__init__()
        self.sentinels = sentinels
        self.url = sentinels.url
        #: Servers that a fault has taken away.
        self.lost: list[servers.RedisServer] = []


class ClusterPlace(Place):
    """Three primaries with a replica each."""

    bound = 1.0

    def __init__(self, cluster: servers.Cluster) -> None:
        super().__init__()
        self.cluster = cluster
        self.url = cluster.url
        self.lost: list[servers.RedisServer] = []


class SQLitePlace(Place):
    """A file in a directory of its own; a writer waits two seconds for others."""

    bound = 2.0

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.path = directory / "circuits.db"
        self.url = f"sqlite:///{self.path}"


REDIS, PROXIED, SENTINELS, CLUSTER, SQLITE = "Redis", "Redis behind a proxy", "Sentinel", "Cluster", "SQLite"


@contextlib.contextmanager
def place_of(kind: str, *options: str) -> Iterator[Any]:
    """Start what the place needs; `options` are redis-server's."""
    with contextlib.ExitStack() as stack:
        if kind == SQLITE:
            # Not in a directory that only its owner may enter.
            directory = Path(tempfile.mkdtemp(prefix="pybreaker-ext-faults-"))
            directory.chmod(0o755)
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            yield SQLitePlace(directory)
        elif kind == SENTINELS:
            yield SentinelPlace(stack.enter_context(servers.running_sentinels()))
        elif kind == CLUSTER:
            yield ClusterPlace(stack.enter_context(servers.running_cluster(3, replicas=1)))
        else:
            server = stack.enter_context(servers.running_redis(*options))
            if kind == REDIS:
                yield RedisPlace(server)
            else:
                yield ProxiedPlace(server, stack.enter_context(proxy_to(server.port)))
