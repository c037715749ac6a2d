"""What contestants stand on: a Redis server of our own, a directory for SQLite, an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import logging
import signal
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import redis
import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Stage:
    """Lives as long as a run.

    Args:
        server: A Redis server that this run has started.
        directory: Where SQLite files may be put.
        runner: Holds the event loop of all asyncio cases.
        end: Closes what the contestants of a case have opened.
    """

    def __init__(
        self, server: servers.RedisServer, directory: Path, runner: asyncio.Runner, end: contextlib.ExitStack
    ) -> None:
        self.server = server
        self.runner = runner
        self._directory = directory
        self._end = end
        self._numbers = itertools.count(1)
        self.client: redis.Redis = redis.Redis.from_url(server.url)

    def name(self) -> str:
        """Return a name that no other circuit of this run has."""
        return f"circuit-{next(self._numbers)}"

    def file(self) -> Path:
        """Return the path of an SQLite file that isn't there yet."""
        return self._directory / f"{self.name()}.db"

    def at_end(self, close: Callable[[], Any]) -> None:
        """Have `close` called when the case ends, however it ends."""
        self._end.callback(close)

    def clear(self) -> None:
        """A case has ended."""
        self._end.close()


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """Processes that are started in here don't end by Ctrl-C; those who started them end them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def _silent_when_broken_off() -> Iterator[None]:
    """Threads that still call when the server ends needn't tell."""
    try:
        yield
    except BaseException:
        logging.disable()
        threading.excepthook = lambda *_: None
        raise


@contextlib.contextmanager
def set_stage() -> Iterator[Stage]:
    """Start everything; leave nothing behind."""
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pybreaker-ext-bench-"))
        with _interrupts_blocked():
            server = stack.enter_context(servers.running_redis())
        runner = stack.enter_context(asyncio.Runner())
        end = stack.enter_context(contextlib.ExitStack())
        stage = Stage(server, Path(directory), runner, end)
        gc.collect()
        gc.freeze()  # what was imported needn't be looked at between batches
        with stage.client, _silent_when_broken_off():
            yield stage
        # What closes clients of breakers that are gone gets a turn of the loop before it ends.
        gc.collect()
        runner.run(asyncio.sleep(0.05))
