"""Our own way to a Redis server whose client the user gave us.

All circuits of one client object share it: the connections, the scripts, and what is known of the
server.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

from redis.exceptions import MaxConnectionsError

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.clients import own_async_client, own_client
from pybreaker_ext.storage.loops import LoopClients
from pybreaker_ext.storage.outage import Outage
from pybreaker_ext.storage.shared import SharedObjects

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds that a caller waits for a connection when all of the pool's are in use.
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
        self._own = None

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a Lua script, in one round trip once the server knows it.

        Raises:
            StoreUnavailableError: The server can't be reached, is too slow, or refuses.
        """
        deadline = time.monotonic() + POOL_TIMEOUT
        while True:
            try:
                if self._own is None:
                    self._own = own_client(self._given)
                return _script(self._own, script)(keys, arguments)
            except MaxConnectionsError as error:  # nothing was sent, and the server isn't away
                if time.monotonic() >= deadline:
                    raise StoreUnavailableError(str(error)) from error
                time.sleep(0.001)
            except Exception as error:  # also what redis-py says of settings that make no sense
                raise StoreUnavailableError(str(error)) from error

    async def run_async(self, script: str, keys: Sequence[str], arguments: Sequence[Any]) -> Any:
        """Run a Lua script, in one round trip once the server knows it.

        Raises:
            StoreUnavailableError: The server can't be reached, is too slow, or refuses.
        """
        deadline = time.monotonic() + POOL_TIMEOUT
        while True:
            try:
                client = await self._loops.client()
                if client is None:  # a client of a kind that asyncio has no twin of
                    return await asyncio.to_thread(self.run, script, keys, arguments)
                return await _script(client, script)(keys, arguments)
            except MaxConnectionsError as error:
                if time.monotonic() >= deadline:
                    raise StoreUnavailableError(str(error)) from error
                await asyncio.sleep(0.001)
            except Exception as error:
                raise StoreUnavailableError(str(error)) from error


links: SharedObjects[tuple[int, int], Link] = SharedObjects()


def link_to(client: Any, async_client: Any = None) -> Link:
    """Return the link that all circuits of these client objects share.

    A link holds its clients, so the `id`s can't be other objects' while the link exists.
    """
    return links.get((id(client), id(async_client)), lambda _: Link(client, async_client))


def _script(client: Any, source: str) -> Any:
    """Return the script as an object of the client's, which remembers its digest."""
    known: dict[str, Any] = client.__dict__.setdefault("_pybreaker_ext_scripts", {})
    script = known.get(source)
    if script is None:
        script = known[source] = client.register_script(source)
    return script


def _describe(client: Any) -> str:
    pool = getattr(client, "connection_pool", None)
    settings = getattr(pool, "connection_kwargs", None)
    if not isinstance(settings, dict):
        return type(client).__name__
    where = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    return f"Redis at {where}, database {settings.get('db', 0)}"
