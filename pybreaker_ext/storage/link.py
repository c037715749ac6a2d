"""Our own way to a Redis server whose client the user gave us.

All circuits of one client object share it: the connections, the scripts, and what is known of the
server.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import threading
import time
import weakref
from typing import TYPE_CHECKING, Any, Final

from redis.asyncio.sentinel import SentinelConnectionPool as AsyncSentinelConnectionPool
from redis.exceptions import MaxConnectionsError
from redis.sentinel import SentinelConnectionPool

from pybreaker_ext.errors import StoreBusyError, StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.clients import own_async_client, own_client
from pybreaker_ext.storage.cluster import Cluster, DeferredCluster
from pybreaker_ext.storage.loops import LoopClients
from pybreaker_ext.storage.outage import Outage
from pybreaker_ext.storage.pools import close_idle
from pybreaker_ext.storage.script import evaluate, evaluate_async
from pybreaker_ext.storage.shared import SharedObjects

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from pybreaker_ext.storage.loops import Opened

#: Seconds that a caller waits for a connection of a client that is the user's own.
POOL_TIMEOUT: Final = 1.0


class Link:
    """One client's server, as this process knows it."""

    def __init__(self, given: Any, given_async: Any) -> None:
        self._given = given
        self._given_async = given_async
        self._own: Any = None
        #: How often a thread has looked for the nodes of a cluster in vain.
        self._lost = 0
        self._loops = LoopClients(lambda: own_async_client(given, given_async), theirs=given_async)
        self.outage = Outage(_describe(given))
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Make a new client in the child."""
        if self._own is not None and self._own is not self._given:
            _inherited.append(self._own)
        self._own = None
        self._making = threading.RLock()  # a finalizer may come here while this thread is making one

    def run(self, epoch: int, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        """Run a Lua program, in one round trip once the server knows it.

        `epoch` is the one in which the caller was told to ask the store.

        Raises:
            StoreUnavailableError: The server can't be reached, is too slow, or refuses.
            StoreBusyError: There was no free connection, and now there may be no server; or the keys
                are being moved to another one.
        """
        began = time.monotonic()
        client: Any = None
        while True:
            try:
                client = self._own
                if client is None:
                    client = self._client()
                if isinstance(client, Cluster):
                    return client.run(functools.partial(self._alone, epoch), program, keys, arguments)
                return evaluate(client, program, keys, arguments)
            except MaxConnectionsError as error:  # nothing was sent, and the server isn't away
                self._check_patience(epoch, began, theirs=self._own is self._given, error=error)
                time.sleep(0.001)
            except StoreBusyError:
                raise
            except Exception as error:  # redis-py's, and those of settings, plug-ins and proxies
                self._forget_primary(client)
                raise StoreUnavailableError from error

    async def run_async(self, epoch: int, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]) -> Any:
        """Run a Lua program, in one round trip once the server knows it.

        `epoch` is the one in which the caller was told to ask the store.

        Raises:
            StoreUnavailableError: The server can't be reached, is too slow, or refuses.
            StoreBusyError: There was no free connection, and now there may be no server; or the keys
                are being moved to another one.
        """
        began = time.monotonic()
        client: Any = None
        while True:
            try:
                opened = await self._loops.opened()
                client = opened.client
                async with opened.places:  # first come, first served; redis-py's own queue could not be left
                    return await self._run_in_place(opened, epoch, program, keys, arguments)
            except MaxConnectionsError as error:
                self._check_patience(epoch, began, theirs=client is self._given_async, error=error)
                await asyncio.sleep(0.001)
            except (StoreBusyError, StoreUnavailableError):
                raise
            except Exception as error:  # no client could be made
                raise StoreUnavailableError from error

    async def _run_in_place(
        self, opened: Opened, epoch: int, program: str, keys: Sequence[bytes], arguments: Sequence[bytes]
    ) -> Any:
        """Send it. A failure is told while the next in the queue still waits for the place, and has to be told, too."""
        self._check_epoch(epoch)
        client = opened.client
        if client is None:  # one of a kind that asyncio has no twin of
            return await asyncio.to_thread(self.run, epoch, program, keys, arguments)
        try:
            if isinstance(client, Cluster):
                alone = functools.partial(self._alone_async, opened.finding, epoch)
                return await client.run_async(alone, program, keys, arguments)
            return await evaluate_async(client, program, keys, arguments)
        except (MaxConnectionsError, StoreBusyError):
            raise
        except Exception as error:
            await self._forget_primary_async(client)
            raise StoreUnavailableError from error

    def _client(self) -> Any:
        """Return our own client. Making it does no I/O."""
        if self._own is None:
            with self._making:
                if self._own is None:
                    self._own = own = own_client(self._given)
                    if own is not self._given:
                        weakref.finalize(self, _close, own, os.getpid())
        return self._own

    @contextlib.contextmanager
    def _alone(self, epoch: int) -> Iterator[None]:
        """Let one thread look for the nodes of a cluster; what it doesn't find, nobody who waited need look for."""
        lost = self._lost
        with self._making:
            self._check_epoch(epoch)
            if self._lost != lost and epoch % 2 == 0:  # while this one waited; the other thread is about to tell
                raise StoreBusyError
            try:
                yield
            except Exception:
                self._lost += 1
                raise

    @contextlib.asynccontextmanager
    async def _alone_async(self, finding: asyncio.Lock, epoch: int) -> AsyncIterator[None]:
        """Let one task look for the nodes of a cluster; if it fails, it tells before the next one is there."""
        async with finding:
            self._check_epoch(epoch)
            yield

    def _forget_primary(self, client: Any) -> None:
        """After a failure, let the sentinels be asked anew where the server is now."""
        pool = getattr(client, "connection_pool", None)
        if client is not self._given and isinstance(pool, SentinelConnectionPool):
            with contextlib.suppress(Exception):
                pool.disconnect(inuse_connections=False)

    async def _forget_primary_async(self, client: Any) -> None:
        """After a failure, let the sentinels be asked anew where the server is now."""
        pool = getattr(client, "connection_pool", None)
        if client is not self._given_async and isinstance(pool, AsyncSentinelConnectionPool):
            await close_idle(pool)

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


def _describe(client: Any) -> str:
    if isinstance(client, DeferredCluster):
        return "Redis Cluster at " + ", ".join(f"{host}:{port}" for host, port in client.nodes)
    pool = getattr(client, "connection_pool", None)
    service = getattr(pool, "service_name", None)
    if isinstance(service, str):
        return f"Redis service {service} of the sentinels"
    settings = getattr(pool, "connection_kwargs", None)
    if not isinstance(settings, dict):
        return type(client).__name__
    where = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    return f"Redis at {where}, database {settings.get('db', 0)}"
