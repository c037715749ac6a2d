"""Where the demo's circuit is kept, for as long as the demo lasts; and the exit codes."""

from __future__ import annotations

import contextlib
import logging
import secrets
import tempfile
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from redis.exceptions import RedisClusterException, RedisError

from pybreaker_ext.demo.plain import tagged
from pybreaker_ext.demo.plan import OURS, breaker_on
from pybreaker_ext.machine import CLOSED
from pybreaker_ext.storage.clients import whole_client
from pybreaker_ext.storage.redis import CircuitRedisStorage
from pybreaker_ext.storage.redis_urls import in_words, redis_client, without_password
from pybreaker_ext.storage.sqlite import CircuitSQLiteStorage
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Exit codes. 130 is what shells give for Ctrl-C; 2 is what argparse gives for bad arguments.
GOOD: Final = 0
BAD: Final = 1
UNUSABLE: Final = 2
INTERRUPTED: Final = 130


class DemoError(Exception):
    """The demo can't run; its text says why. `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code


@contextlib.contextmanager
def place(url: str | None) -> Iterator[tuple[str, str]]:
    """Give the URL of a store, and what to call it: the user's, or a file that is removed afterwards."""
    if url is not None:
        yield url, without_password(url)
        return
    with tempfile.TemporaryDirectory(prefix="pybreaker-ext-demo-", ignore_cleanup_errors=True) as directory:
        yield f"sqlite:///{quote(directory)}/circuit.db", "a temporary SQLite file"


@contextlib.contextmanager
def circuit(url: str, library: str) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Give the name of a new circuit, and what tells its state; its keys are removed afterwards if it is in Redis."""
    name = f"demo-{secrets.token_hex(4)}"
    in_redis = not url.startswith("sqlite:")
    # The summary says when the store was away; the log would say it in the midst of the timeline.
    logging.getLogger("pybreaker_ext").addHandler(logging.NullHandler())
    storage: Any = from_url(url, name)
    if in_redis:
        _knock(url)
    try:
        yield name, _state_of_ours(url, storage, name) if library == OURS else _no_state
    finally:
        if in_redis:
            remove(url, storage)
            remove(url, CircuitRedisStorage(CLOSED, redis_client(url), tagged(name)))


def _state_of_ours(url: str, storage: Any, name: str) -> Callable[[], str | None]:
    """Return what tells the state; None while the store is away.

    Raises:
        DemoError: It is away already.
    """
    breaker = breaker_on(storage, name)

    def state() -> str | None:
        look = breaker.snapshot()
        return look.state if look.shared else None

    breaker.call(int)  # a store that takes no writes still can be read
    if state() is None:
        in_file = isinstance(storage, CircuitSQLiteStorage)
        reason = "is its directory there, and writable?" if in_file else in_words(storage.outage.error)
        message = f"can't use {without_password(url)}: {reason}"
        raise DemoError(message, UNUSABLE)
    return state


def _no_state() -> None:
    """Tell nothing: each worker has a circuit of its own, or its own look at one."""


def _knock(url: str) -> None:
    try:
        whole_client(redis_client(url)).ping()
    except (RedisError, RedisClusterException, OSError) as error:
        message = f"can't use {without_password(url)}: {in_words(error)}"
        raise DemoError(message, UNUSABLE) from error


def remove(url: str, storage: CircuitRedisStorage) -> None:
    """Remove a circuit's keys."""
    # Away for good: then so are the keys, or nobody can.
    with (
        contextlib.suppress(RedisError, RedisClusterException, OSError),
        contextlib.closing(whole_client(redis_client(url))) as client,
    ):
        client.delete(*storage.keys)
