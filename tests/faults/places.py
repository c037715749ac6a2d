"""Where circuits are kept while faults happen: real servers, and files."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final

import servers
from proxy import proxy_to

from faults.clocks import turned_redis, turned_sqlite
from faults.old_redis import OLD_REDIS, old_program
from faults.small_disk import small_disk
from faults.tls import TRUSTED, Certificates
from faults.worker import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import redis
    from proxy import Proxy

#: A clock that was put right makes no circuit open for longer than one open time. The lease of a dead probe, which is
#: longer, has begun two phases ago.
LONGEST_OPEN: Final[float] = SETTINGS["reset_timeout"]

#: Seconds that a connection to Redis may take, and an answer, by default.
TIMEOUT: Final = 0.25
#: Answers that a call waits for at most: of a new connection, to HELLO and three CLIENT commands; two to a script
#: that the server doesn't know yet; one to the report.
ANSWERS: Final = 7


class Place:
    """One store.

    Attributes:
        url: As a registry takes it.
        bound: Seconds by which a call may be late when the store is away, by the default time-outs.
        more_files: Connections and files that a process may have more than before: one per thread or task that
            calls, and the pool's.
        longest_open: Seconds in which an open circuit, that its backend and its store allow to, is closed again; None:
            nobody asks.
        settings: Of the registry and the breakers, besides the usual ones.
        storage: Names what makes the storages, instead of the registry.
    """

    url: str
    bound: ClassVar[float]
    more_files: ClassVar[int] = 4
    longest_open: float | None = None
    storage: str = ""

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}


class RedisPlace(Place):
    """One server: a connection, and the first answer that doesn't come, may each take a time-out."""

    bound = 2 * TIMEOUT

    def __init__(self, server: servers.RedisServer) -> None:
        super().__init__()
        self.server = server
        self.url = server.url
        #: Of the default user, when a fault has set one.
        self.password: str | None = None

    def admin(self) -> redis.Redis:
        return self.server.client(password=self.password)


class TLSPlace(RedisPlace):
    """One server that its users reach by TLS: its handshake may take a time-out, too."""

    bound = 3 * TIMEOUT

    def __init__(self, server: servers.RedisServer, port: int, certificates: Certificates) -> None:
        super().__init__(server)
        self.certificates = certificates
        self.url = f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificates.directory / TRUSTED}"


class ProxiedPlace(RedisPlace):
    """One server behind a proxy: each answer may be late by almost a time-out, and so all are waited for."""

    bound = ANSWERS * TIMEOUT

    def __init__(self, server: servers.RedisServer, proxy: Proxy) -> None:
        super().__init__(server)
        self.proxy = proxy
        self.url = f"redis://127.0.0.1:{proxy.port}/0"


class SentinelPlace(Place):
    """A primary and a replica, and three sentinels; of these each has a share of the time-outs for one server."""

    bound = 2 * RedisPlace.bound

    def __init__(self, sentinels: servers.Sentinels) -> None:
        super().__init__()
        self.sentinels = sentinels
        self.url = sentinels.url
        #: Servers that a fault has taken away.
        self.lost: list[servers.RedisServer] = []


class ClusterPlace(Place):
    """Three primaries with a replica each. Connections to nodes that had the circuit before may stay.

    Nodes that are asked where the circuit is have, together, the time-outs for one server.
    """

    bound = 2 * RedisPlace.bound
    more_files = 3 * Place.more_files

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


REDIS, PROXIED, TLS, SENTINELS, CLUSTER = "Redis", "Proxy", "TLS", "Sentinel", "Cluster"
REDIS_CLOCK, SQLITE_CLOCK = "Redis's clock", "SQLite's clock"
SQLITE, SMALL_DISK = "SQLite", "SQLite on a small disk"


@contextlib.contextmanager
def place_of(kind: str) -> Iterator[Any]:
    """Start what the place needs."""
    with contextlib.ExitStack() as stack:
        yield _MAKERS[kind](stack)


def _sqlite(stack: contextlib.ExitStack) -> SQLitePlace:
    return SQLitePlace(_directory(stack))


def _redis(stack: contextlib.ExitStack) -> RedisPlace:
    return RedisPlace(stack.enter_context(servers.running_redis()))


def _old_redis(stack: contextlib.ExitStack) -> RedisPlace:
    return RedisPlace(stack.enter_context(servers.running_redis(program=old_program())))


def _proxied(stack: contextlib.ExitStack) -> ProxiedPlace:
    server = stack.enter_context(servers.running_redis())
    return ProxiedPlace(server, stack.enter_context(proxy_to(server.port)))


def _tls(stack: contextlib.ExitStack) -> TLSPlace:
    certificates, port = Certificates(_directory(stack)), servers.free_port()
    server = stack.enter_context(servers.running_redis("--tls-port", str(port), *certificates.options))
    return TLSPlace(server, port, certificates)


def _sentinels(stack: contextlib.ExitStack) -> SentinelPlace:
    return SentinelPlace(stack.enter_context(servers.running_sentinels()))


def _cluster(stack: contextlib.ExitStack) -> ClusterPlace:
    return ClusterPlace(stack.enter_context(servers.running_cluster(3, replicas=1)))


def _small_disk(stack: contextlib.ExitStack) -> SQLitePlace:
    directory = _directory(stack)
    stack.enter_context(small_disk(directory))
    return SQLitePlace(directory)


def _redis_clock(stack: contextlib.ExitStack) -> RedisPlace:
    place = _redis(stack)
    place.storage = turned_redis.__name__
    place.longest_open = LONGEST_OPEN
    return place


def _sqlite_clock(stack: contextlib.ExitStack) -> SQLitePlace:
    place = _sqlite(stack)
    place.storage = turned_sqlite.__name__
    place.longest_open = LONGEST_OPEN
    return place


def _directory(stack: contextlib.ExitStack) -> Path:
    """Return a new directory that everybody may enter."""
    directory = Path(tempfile.mkdtemp(prefix="pybreaker-ext-faults-"))
    directory.chmod(0o755)
    stack.callback(shutil.rmtree, directory, ignore_errors=True)
    return directory


_MAKERS: Final[dict[str, Callable[[contextlib.ExitStack], Place]]] = {
    REDIS: _redis,
    PROXIED: _proxied,
    TLS: _tls,
    OLD_REDIS: _old_redis,
    SENTINELS: _sentinels,
    CLUSTER: _cluster,
    REDIS_CLOCK: _redis_clock,
    SQLITE_CLOCK: _sqlite_clock,
    SQLITE: _sqlite,
    SMALL_DISK: _small_disk,
}
