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

from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.cancellation import finished, forget_closed_loops
from pybreaker_ext.storage.clients import ASYNC_CONNECTIONS
from pybreaker_ext.storage.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class Opened:
    """One loop's client, once it is made."""

    def __init__(self) -> None:
        self.client: Any = None
        self.made = False
        #: Held while somebody looks for the nodes of a cluster.
        self.finding = asyncio.Lock()
        #: Taken while a command is under way.
        self.places = asyncio.Semaphore(ASYNC_CONNECTIONS)
        self.keeper: AsyncGenerator[None] | None = None


class LoopClients:
    """The clients of all event loops of this process, for one server.

    Args:
        make: Returns a new client, or None when there can't be one. Does no I/O.
        theirs: A client that isn't ours to close.
    """

    def __init__(self, make: Callable[[], Any], theirs: Any) -> None:
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
        self._open: dict[asyncio.AbstractEventLoop, Opened] = {}
        self._dropping = weakref.finalize(self, _drop, self._open)

    async def opened(self) -> Opened:
        """Return what belongs to the running loop. Its client is None when there can't be one."""
        loop = asyncio.get_running_loop()
        found = self._open.get(loop)
        if found is None:
            _close_of_closed_loops(self._open)
            found = self._open[loop] = Opened()
        if not found.made:
            await self._fill(found)
        return found

    async def _fill(self, opened: Opened) -> None:
        opened.client = self._make()
        opened.made = True
        if opened.client is not None and opened.client is not self._theirs:
            opened.keeper = _keep(opened)
            await anext(opened.keeper)


#: Clients of parent processes.
_inherited: list[Any] = []


def _close_of_closed_loops(opened: dict[asyncio.AbstractEventLoop, Opened]) -> None:
    """Close the clients that nobody can close any more; those of other loops go with their keepers."""
    forget_closed_loops()
    for loop in [loop for loop in list(opened) if loop.is_closed()]:
        left = opened.pop(loop, None)
        if left is not None and left.keeper is not None and left.client is not None:
            _abandon(left.client)


def _drop(opened: dict[asyncio.AbstractEventLoop, Opened]) -> None:
    """Close all clients, because nobody uses the server any more; each in its loop."""
    _close_of_closed_loops(opened)
    for loop, left in list(opened.items()):
        if left.keeper is not None:
            with contextlib.suppress(RuntimeError):  # closed just now
                loop.call_soon_threadsafe(_begin_to_close, left)


def _begin_to_close(left: Opened) -> None:
    task = asyncio.get_running_loop().create_task(_close_all(left))
    _closing.add(task)
    task.add_done_callback(_closing.discard)


#: The event loop keeps only weak references to its tasks.
_closing: set[asyncio.Task[None]] = set()


async def _close_all(left: Opened) -> None:
    for client in _parts(left.client):
        await client.aclose()


async def _keep(opened: Opened) -> AsyncGenerator[None]:
    """Close the client when the loop closes its generators; the first `anext` makes it known to it."""
    try:
        yield
    finally:
        await finished()
        await _close_all(opened)


def _parts(client: Any) -> list[Any]:
    """Return redis-py's clients that make up one of ours: of each node; of the server, and of each sentinel."""
    if isinstance(client, Cluster):
        return client.clients.all()
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [client, *getattr(manager, "sentinels", ())] if client is not None else []


def _abandon(client: Any) -> None:
    """Close what can be closed without the loop: the sockets."""
    pools = [getattr(each, "connection_pool", None) for each in _parts(client)]
    for pool, name in itertools.product(pools, ("_available_connections", "_in_use_connections")):
        for connection in list(getattr(pool, name, ())):
            _close_socket(getattr(getattr(connection, "_writer", None), "transport", None))
            connection._writer = connection._reader = None  # noqa: SLF001  or it warns when collected


def _close_socket(transport: Any) -> None:
    """Close what a closed loop's transport can't close any more; the standard library's, at least."""
    socket = getattr(transport, "_sock", None)
    if socket is not None:
        socket.close()
        transport._sock, transport._closing = None, True  # noqa: SLF001
