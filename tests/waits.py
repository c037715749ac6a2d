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
    from collections.abc import Iterator

#: The time-outs in seconds that each thread or task has waited through.
Waits = dict[Any, list[float]]


def total(waits: Waits) -> float:
    return sum(sum(each) for each in waits.values())


@contextlib.contextmanager
def waits_in_vain() -> Iterator[Waits]:
    """Write down each time-out that a connection waits through for an answer."""
    found: Waits = defaultdict(list)
    sync: Any = redis.connection.AbstractConnection
    other: Any = redis.asyncio.connection.AbstractConnection
    read, read_async = sync.read_response, other.read_response

    def read_response(self: Any, *args: Any, **options: Any) -> Any:
        timeout = self._sock.gettimeout()
        try:
            return read(self, *args, **options)
        except redis.TimeoutError:
            found[_who()].append(timeout)
            raise

    async def read_response_async(self: Any, *args: Any, **options: Any) -> Any:
        try:
            return await read_async(self, *args, **options)
        except redis.TimeoutError:
            found[_who()].append(self.socket_timeout)
            raise

    with (
        mock.patch.object(sync, "read_response", read_response),
        mock.patch.object(other, "read_response", read_response_async),
    ):
        yield found


def _who() -> Any:
    with contextlib.suppress(RuntimeError):
        return asyncio.current_task()
    return threading.current_thread()
