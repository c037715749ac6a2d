"""Our own way to a Redis server whose client the user gave us: each command is sent once.

redis-py repeats a command whose answer was lost. That is right for a GET; it would count one
failure twice. So commands go through a pool of our own, made from the given client's settings with
the retries off. All circuits of one client share the pool and what is known of the server.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from redis import Redis, RedisCluster
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import BlockingConnectionPool, ConnectionPool
from redis.exceptions import MaxConnectionsError, RedisError
from redis.retry import Retry
from redis.sentinel import SentinelConnectionPool

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.storage.outage import Outage
from pybreaker_ext.storage.shared import SharedObjects

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Seconds that a caller waits for a connection when all of the pool's are in use.
POOL_TIMEOUT: Final = 1.0

#: Belong to one pool or client, and can't be given to another.
_NOT_COPIED: Final = frozenset(
    {
        "connection_pool",
        "event_dispatcher",
        "himport_registry",
        "maint_notifications_pool_handler",
        "oss_cluster_maint_notifications_handler",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
    }
)


class Link:
    """One client's server, as this process knows it."""

    def __init__(self, given: Any) -> None:
        self._given = given
        self._own: Any = None
        self._scripts: dict[str, Any] = {}
        self.outage = Outage(_describe(given))
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Make a new client in the child; redis-py's pools would notice the fork, a cluster's don't."""
        self._own = None
        self._scripts = {}

    def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | int | float]) -> Any:
        """Run a Lua script, in one round trip once the server knows it.

        Raises:
            StoreUnavailableError: The server can't be reached, is too slow, or refuses.
        """
        deadline = time.monotonic() + POOL_TIMEOUT
        while True:
            try:
                return self._script(script)(keys, arguments)
            except MaxConnectionsError as error:  # nothing was sent, and the server isn't away
                if time.monotonic() >= deadline:
                    raise StoreUnavailableError(str(error)) from error
                time.sleep(0.001)
            except (RedisError, OSError) as error:
                raise StoreUnavailableError(str(error)) from error

    def _script(self, source: str) -> Any:
        script = self._scripts.get(source)
        if script is None:
            if self._own is None:
                self._own = own_client(self._given)
            script = self._scripts[source] = self._own.register_script(source)
        return script


links: SharedObjects[int, Link] = SharedObjects()


def link_to(client: Any) -> Link:
    """Return the link that all circuits of this client object share.

    A link holds its client, so the `id` can't be another object's while the link exists.
    """
    return links.get(id(client), lambda _: Link(client))


def own_client(given: Any) -> Any:
    """Return a client with the given one's settings that never repeats a command.

    A client whose settings can't be read (another class, a test's double) is returned as it is.
    """
    if isinstance(given, RedisCluster):
        return _own_cluster(given)
    pool: Any = getattr(given, "connection_pool", None)
    if type(pool) is SentinelConnectionPool:
        return Redis(connection_pool=_own_sentinel_pool(pool))
    if type(pool) in (ConnectionPool, BlockingConnectionPool):
        settings = {**_without_retries(pool.connection_kwargs), "max_connections": pool.max_connections}
        return Redis(connection_pool=ConnectionPool(pool.connection_class, **settings))
    return given


def _own_sentinel_pool(pool: Any) -> Any:
    settings = _without_retries(pool.connection_kwargs)
    settings.update(
        is_master=pool.is_master, check_connection=pool.check_connection, connection_class=pool.connection_class
    )
    return SentinelConnectionPool(pool.service_name, pool.sentinel_manager, **settings)  # type: ignore[no-untyped-call]


def _own_cluster(given: RedisCluster) -> RedisCluster:
    settings = _without_retries(given.nodes_manager.connection_kwargs)
    known = given.nodes_manager.startup_nodes.values()
    nodes = [ClusterNode(node.host, node.port) for node in known]  # type: ignore[no-untyped-call]
    return RedisCluster(startup_nodes=nodes, **{k: v for k, v in settings.items() if k not in ("host", "port")})


def _without_retries(settings: dict[str, Any]) -> dict[str, Any]:
    kept = {name: value for name, value in settings.items() if name not in _NOT_COPIED}
    return {**kept, "retry": _no_retries()}


def _no_retries() -> Retry:
    return Retry(NoBackoff(), 0)


def _describe(client: Any) -> str:
    pool = getattr(client, "connection_pool", None)
    settings = getattr(pool, "connection_kwargs", None)
    if not isinstance(settings, dict):
        return type(client).__name__
    where = settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    return f"Redis at {where}, database {settings.get('db', 0)}"
