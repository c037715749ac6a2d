"""One asyncio client for each event loop, closed with its loop.

A loop that `asyncio.run` made closes its asynchronous generators when it ends, and with ours the
client. A loop that somebody closed by hand leaves its client's sockets open; they are closed when
the next loop asks for a client, or when nobody uses the server any more.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import weakref
from typing import TYPE_CHECKING, Any

from redis.asyncio import RedisCluster

from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.cancellation import finished, forget_closed_loops
from pybreaker_ext.storage.clients import ASYNC_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable


class _Open:
    """One loop's client, once it is made."""

    def __init__(self) -> None:
        self.client: Any = None
        self.made = False
        self.making = asyncio.Lock()
        #: Taken while a command is under way.
        self.places = asyncio.Semaphore(ASYNC_CONNECTIONS)
        self.keeper: AsyncGenerator[None] | None = None


class LoopClients:
    """The clients of all event loops of this process, for one server.

    Args:
        make: Returns a new client, or None when there can't be one.
        theirs: A client that isn't ours to close.
    """

    def __init__(self, make: Callable[[], Awaitable[Any]], theirs: Any) -> None:
        self._make = make
        self._theirs = theirs
        self._own()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Leave the parent's clients alone, and don't let the garbage collector close them."""
        _inherited.append(self._open)
        self._dropping.detach()
        self._own()

    def _own(self) -> None:
        self._open: dict[asyncio.AbstractEventLoop, _Open] = {}
        self._dropping = weakref.finalize(self, _drop, self._open)

    async def client(self, check: Callable[[], None]) -> tuple[Any, asyncio.Semaphore]:
        """Return the running loop's client, None when there can't be one, and the places in its queue.

        `check` raises when the caller, who has waited for others to make it, should not try that now.
        """
        loop = asyncio.get_running_loop()
        found = self._open.get(loop)
        if found is None:
            _close_of_closed_loops(self._open)
            found = self._open[loop] = _Open()
        if not found.made:
            async with found.making:
                check()
                await self._fill(found)
        return found.client, found.places

    async def forget(self, client: Any) -> None:
        """Close the running loop's client if it is this one; the next command gets another."""
        found = self._open.get(asyncio.get_running_loop())
        if found is not None and found.client is client:
            found.client, found.made = None, False
            await _close(client)

    async def _fill(self, opened: _Open) -> None:
        if opened.made:
            return
        opened.client = await self._make()
        opened.made = True
        if opened.keeper is None and opened.client is not None and opened.client is not self._theirs:
            opened.keeper = _keep(opened)
            await anext(opened.keeper)


#: Clients of parent processes.
_inherited: list[Any] = []


def _close_of_closed_loops(opened: dict[asyncio.AbstractEventLoop, _Open]) -> None:
    """Close the clients that nobody can close any more; those of other loops go with their keepers."""
    forget_closed_loops()
    for loop in [loop for loop in list(opened) if loop.is_closed()]:
        left = opened.pop(loop, None)
        if left is not None and left.keeper is not None and left.client is not None:
            _abandon(left.client)


def _drop(opened: dict[asyncio.AbstractEventLoop, _Open]) -> None:
    """Close all clients, because nobody uses the server any more; each in its loop."""
    _close_of_closed_loops(opened)
    for loop, left in list(opened.items()):
        if left.keeper is not None:
            with contextlib.suppress(RuntimeError):  # closed just now
                loop.call_soon_threadsafe(_begin_to_close, left)


def _begin_to_close(left: _Open) -> None:
    task = asyncio.get_running_loop().create_task(_close_all(left))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


#: The event loop keeps only weak references to its tasks.
_closing: set[asyncio.Task[None]] = set()


async def _close_all(left: _Open) -> None:
    if left.client is not None:
        for each in _with_sentinels(left.client):
            await _close(each)


async def _keep(opened: _Open) -> AsyncGenerator[None]:
    """Close the client when the loop closes its generators; the first `anext` makes it known to it."""
    try:
        yield
    finally:
        await finished()
        await _close_all(opened)


async def _close(client: Any) -> None:
    await client.aclose()
    if isinstance(client, RedisCluster):  # after a failure it takes itself for closed, and its nodes are not
        for node in _nodes(client):
            await node.disconnect()


def _nodes(cluster: Any) -> list[Any]:
    return [*cluster.get_nodes(), *cluster.nodes_manager.startup_nodes.values()]


def _with_sentinels(client: Any) -> list[Any]:
    """Return the client, and the clients with which it asks sentinels for the server."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [client, *getattr(manager, "sentinels", ())]


def _abandon(client: Any) -> None:
    """Close what can be closed without the loop: the sockets."""
    pools: list[Any] = [getattr(each, "connection_pool", None) for each in _with_sentinels(client)]
    if isinstance(client, RedisCluster):
        pools = _nodes(client)
    for pool, name in itertools.product(pools, ("_available_connections", "_in_use_connections", "_connections")):
        for connection in list(getattr(pool, name, ())):
            _close_socket(getattr(getattr(connection, "_writer", None), "transport", None))
            connection._writer = connection._reader = None  # noqa: SLF001  or it warns when collected


def _close_socket(transport: Any) -> None:
    """Close what a closed loop's transport can't close any more; the standard library's, at least."""
    socket = getattr(transport, "_sock", None)
    if socket is not None:
        socket.close()
        transport._sock, transport._closing = None, True  # noqa: SLF001
