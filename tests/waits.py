"""How long redis-py's connections wait for answers that don't come: the time-outs themselves, on whatever machine."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import defaultdict
from typing import TYPE_CHECKING, Any
from unittest import mock

import redis
import redis.asyncio.connection
import redis.connection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Lost = Callable[[float], None]

#: The time-outs in seconds that each thread or task has waited through.
Waits = dict[Any, list[float]]


def total(waits: Waits) -> float:
    return sum(sum(each) for each in waits.values())


@contextlib.contextmanager
def waits_in_vain() -> Iterator[Waits]:
    """Write down each time-out that somebody waits through for a connection, or for an answer."""
    found: Waits = defaultdict(list)

    def lost(seconds: float) -> None:
        found[_who()].append(seconds)

    with contextlib.ExitStack() as stack:
        for kind, name, made in (
            (redis.connection.Connection, "_connect", _connecting),
            (redis.connection.AbstractConnection, "read_response", _reading),
            (redis.asyncio.connection.Connection, "_connect", _connecting_async),
            (redis.asyncio.connection.AbstractConnection, "read_response", _reading_async),
        ):
            stack.enter_context(mock.patch.object(kind, name, made(getattr(kind, name), lost)))
        yield found


def _connecting(original: Any, lost: Lost) -> Any:
    def connect(self: Any) -> Any:
        try:
            return original(self)
        except TimeoutError:
            lost(self.socket_connect_timeout)
            raise

    return connect


def _reading(original: Any, lost: Lost) -> Any:
    def read_response(self: Any, *args: Any, **options: Any) -> Any:
        timeout = self._sock.gettimeout()
        try:
            return original(self, *args, **options)
        except redis.TimeoutError:
            lost(timeout)
            raise

    return read_response


def _connecting_async(original: Any, lost: Lost) -> Any:
    async def connect(self: Any) -> Any:
        try:
            return await original(self)
        except asyncio.CancelledError:  # by the time-out around it
            lost(self.socket_connect_timeout)
            raise

    return connect


def _reading_async(original: Any, lost: Lost) -> Any:
    async def read_response(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return await original(self, *args, **options)
        except redis.TimeoutError:
            lost(self.socket_timeout)
            raise

    return read_response


def _who() -> Any:
    with contextlib.suppress(RuntimeError):
        return asyncio.current_task()
    return threading.current_thread()
