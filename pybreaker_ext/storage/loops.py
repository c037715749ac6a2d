"""One asyncio client for each event loop, closed with its loop.

A loop that `asyncio.run` made closes its asynchronous generators when it ends, and with ours the
client. A loop that somebody closed by hand leaves its client's sockets open; they are closed when
the next loop asks for a client, or when nobody uses the server any more.
"""

from __future__ import annotations

import asyncio
import itertools
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.cancellation import finished, forget_closed_loops
from pybreaker_ext.storage.clients import ASYNC_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


class _Open(NamedTuple):
    client: Any
    #: Taken while a command is under way.
    places: asyncio.Semaphore
    keeper: AsyncGenerator[None] | None


class LoopClients:
    """The clients of all event loops of this process, for one server.

    Args:
        make: Returns a new client, or None when there can't be one.
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
        self._open: dict[asyncio.AbstractEventLoop, _Open] = {}
        self._dropping = weakref.finalize(self, _close_of_closed_loops, self._open)

    async def client(self) -> tuple[Any, asyncio.Semaphore]:
        """Return the running loop's client, None when there can't be one, and the places in its queue."""
        loop = asyncio.get_running_loop()
        found = self._open.get(loop)
        if found is None:
            _close_of_closed_loops(self._open)
            client = self._make()
            ours = client is not None and client is not self._theirs
            found = _Open(client, asyncio.Semaphore(ASYNC_CONNECTIONS), _keep(client) if ours else None)
            self._open[loop] = found
            if found.keeper is not None:
                await anext(found.keeper)
        return found.client, found.places


#: Clients of parent processes.
_inherited: list[Any] = []


def _close_of_closed_loops(opened: dict[asyncio.AbstractEventLoop, _Open]) -> None:
    """Close the clients that nobody can close any more; those of other loops go with their keepers."""
    forget_closed_loops()
    for loop in [loop for loop in list(opened) if loop.is_closed()]:
        left = opened.pop(loop, None)
        if left is not None and left.keeper is not None:
            _abandon(left.client)


async def _keep(client: Any) -> AsyncGenerator[None]:
    """Close the client when the loop closes its generators; the first `anext` makes it known to it."""
    try:
        yield
    finally:
        await finished()
        for each in _with_sentinels(client):
            await each.aclose()


def _with_sentinels(client: Any) -> list[Any]:
    """Return the client, and the clients with which it asks sentinels for the server."""
    manager = getattr(getattr(client, "connection_pool", None), "sentinel_manager", None)
    return [client, *getattr(manager, "sentinels", ())]


def _abandon(client: Any) -> None:
    """Close what can be closed without the loop: the sockets."""
    pools = [getattr(each, "connection_pool", None) for each in _with_sentinels(client)]
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
