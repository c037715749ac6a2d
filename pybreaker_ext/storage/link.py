"""Our own way to a Redis server whose client the user gave us.

All circuits of one client object share it: the connections, the scripts, and what is known of the
server.
"""

from __future__ import annotations

import asyncio
import os
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import MaxConnectionsError

from pybreaker_ext.errors import StoreBusyError, StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.clients import own_async_client, own_client
from pybreaker_ext.storage.loops import LoopClients
from pybreaker_ext.storage.outage import Outage
from pybreaker_ext.storage.shared import SharedObjects

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds that a caller waits for a connection of a client that is the user's own.
POOL_TIMEOUT: Final = 1.0


class Link:
    """One client's server, as this process knows it."""

    def __init__(self, given: Any, given_async: Any) -> None:
        self._given = given
        self._given_async = given_async
        self._own: Any = None
        self._loops = LoopClients(lambda: own_async_client(given, given_async), theirs=given_async)
        self.outage = Outage(_describe(given))
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Make a new client in the child; redis-py's pools would notice the fork, a cluster's don't."""
        if self._own is not None and self._own is not self._given:
            _inherited.append(self._own)
        self._own = None

    def run(self, epoch: int, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a Lua script, in one round trip once the server knows it.

        `epoch` is the one in which the caller was told to ask the store.

        Raises:
            StoreUnavailableError: The server can't be reached, is too slow, or refuses.
            StoreBusyError: There was no free connection, and now there may be no server.
        """
        began = time.monotonic()
        while True:
            try:
                return _script(self._client(), script)(keys, arguments)
            except MaxConnectionsError as error:  # nothing was sent, and the server isn't away
                self._check_patience(epoch, began, theirs=self._own is self._given, error=error)
                time.sleep(0.001)
            except Exception as error:  # redis-py's, and those of settings, plug-ins and proxies
                raise StoreUnavailableError from error

    async def run_async(self, epoch: int, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a Lua script, in one round trip once the server knows it.

        `epoch` is the one in which the caller was told to ask the store.

        Raises:
            StoreUnavailableError: The server can't be reached, is too slow, or refuses.
            StoreBusyError: There was no free connection, and now there may be no server.
        """
        began = time.monotonic()
        client: Any = None
        while True:
            try:
                client, places = await self._loops.client()
                async with places:  # first come, first served; redis-py's own queue could not be left
                    self._check_epoch(epoch)
                    if client is None:  # a client of a kind that asyncio has no twin of
                        return await asyncio.to_thread(self.run, epoch, script, keys, arguments)
                    return await _script(client, script)(keys, arguments)
            except MaxConnectionsError as error:
                self._check_patience(epoch, began, theirs=client is self._given_async, error=error)
                await asyncio.sleep(0.001)
            except (StoreBusyError, StoreUnavailableError):
                raise
            except Exception as error:
                raise StoreUnavailableError from error

    def _client(self) -> Any:
        if self._own is None:
            self._own = own_client(self._given)
            if self._own is not self._given:
                self._closing = weakref.finalize(self, _close, self._own, os.getpid())
        return self._own

    def _check_epoch(self, epoch: int) -> None:
        """Raise StoreBusyError when the server has gone away since the caller was told to ask it."""
        if self.outage.epoch != epoch:
            raise StoreBusyError

    def _check_patience(self, epoch: int, began: float, *, theirs: bool, error: MaxConnectionsError) -> None:
        """Wait for a connection of our own for as long as the server is there: commands end by the time-outs.

        Raises:
            StoreBusyError: The server is away meanwhile, or the user's own client is used as it
                is and the user holds its connections.
        """
        self._check_epoch(epoch)
        if theirs and time.monotonic() - began >= POOL_TIMEOUT:
            raise StoreBusyError from error


links: SharedObjects[tuple[int, int], Link] = SharedObjects()


def link_to(client: Any, async_client: Any = None) -> Link:
    """Return the link that all circuits of these client objects share.

    A link holds its clients, so the `id`s can't be other objects' while the link exists.
    """
    return links.get((id(client), id(async_client)), lambda _: Link(client, async_client))


#: Clients of a parent process, kept from being closed by the garbage collector.
_inherited: list[Any] = []


def _close(client: Any, process: int) -> None:
    """Close our own client when its last user is gone, or at the end of the process that made it."""
    if os.getpid() == process:
        client.close()


def _script(client: Any, source: str) -> Any:
    """Return the script as an object of the client's, which remembers its digest."""
    known: dict[str, Any] = client.__dict__.setdefault("_pybreaker_ext_scripts", {})
    script = known.get(source)
    if script is None:
        script = known[source] = client.register_script(source)
    return script


def _describe(client: Any) -> str:
    pool = getattr(client, "connection_pool", None)
    service = getattr(pool, "service_name", None)
    if isinstance(service, str):
        return f"Redis service {service} of the sentinels"
    settings = getattr(pool, "connection_kwargs", None)
    if not isinstance(settings, dict):
        return type(client).__name__
    where = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    return f"Redis at {where}, database {settings.get('db', 0)}"
