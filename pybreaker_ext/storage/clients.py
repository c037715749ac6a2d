"""Makes our own Redis clients from the one that a user gave us: its settings, but no retries.

redis-py repeats a command whose answer was lost. That is right for a GET; it would count one
failure twice. So each kind of client that we know is made again, with its retries off, for threads
and for asyncio.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, Final

import redis
import redis.asyncio as aio
from redis import sentinel
from redis.asyncio import sentinel as aio_sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from pybreaker_ext.storage import pools
from pybreaker_ext.storage.cluster import Cluster, DeferredCluster
from pybreaker_ext.storage.nodes import node, node_async
from pybreaker_ext.storage.packer import packer_for
from pybreaker_ext.storage.sentinels import AsyncSentinels, Sentinels
from pybreaker_ext.storage.turns import longest

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Connections that an event loop opens to one server at most; further commands wait their turn.
ASYNC_CONNECTIONS: Final = 50

#: Belong to one pool, client or connection, and can't be given to another.
_NOT_COPIED: Final = frozenset(
    {
        "connection_pool",
        "event_dispatcher",
        "himport_registry",
        "maint_notifications_pool_handler",
        "oss_cluster_maint_notifications_handler",
        "orig_host_address",
        "orig_socket_connect_timeout",
        "orig_socket_timeout",
        "retry",
        "retry_on_error",
        "retry_on_timeout",
    }
)
#: Work for threads only, whatever the names say.
_SYNC_ONLY: Final = frozenset({"parser_class", "command_packer", "cache", "cache_config"})

_ASYNC_CONNECTIONS_OF: Final[dict[type, type]] = {
    redis.Connection: aio.Connection,
    redis.SSLConnection: aio.SSLConnection,
    redis.UnixDomainSocketConnection: aio.UnixDomainSocketConnection,
    sentinel.SentinelManagedConnection: aio_sentinel.SentinelManagedConnection,
    sentinel.SentinelManagedSSLConnection: aio_sentinel.SentinelManagedSSLConnection,
}


def own_client(given: Any) -> Any:
    """Return a client with the given one's settings that never repeats a command.

    A client whose settings can't be read (another class, one with commands of its own, a test's
    double) is returned as it is.
    """
    if isinstance(given, DeferredCluster):
        return Cluster(given.nodes, given.settings, node, timeout=longest(given.settings))
    if not _is_redis_pys_own(given):
        return given
    if isinstance(given, redis.RedisCluster):
        return _cluster(given, node, _accepted(redis.Redis, _cluster_settings(given)))
    pool: Any = getattr(given, "connection_pool", None)
    if type(pool) is sentinel.SentinelConnectionPool:
        manager = _sentinels(pool.sentinel_manager)
        settings = {**_copied(pool.connection_kwargs), **_sentinel_settings(pool), "retry": _retry()}
        settings.update(packer_for(settings))
        return redis.Redis.from_pool(type(pool)(pool.service_name, manager, **settings))
    if type(pool) in (redis.ConnectionPool, redis.BlockingConnectionPool):
        settings = {**_copied(pool.connection_kwargs), "retry": _retry(), "max_connections": pool.max_connections}
        settings.update(packer_for(settings))
        return redis.Redis.from_pool(redis.ConnectionPool(pool.connection_class, **settings))
    return given


def whole_client(given: Any) -> Any:
    """Return a client with all of redis-py's commands, for who looks at a whole store.

    Of a cluster that is redis-py's own client, which looks for all nodes when it is made.
    """
    if isinstance(given, DeferredCluster):
        nodes = [ClusterNode(host, port) for host, port in given.nodes]  # type: ignore[no-untyped-call]
        return redis.RedisCluster(startup_nodes=nodes, retry=_retry(), **given.settings)
    return given if isinstance(given, redis.RedisCluster) else own_client(given)


def own_async_client(given: Any, given_async: Any = None) -> Any:
    """Return an asyncio client with the settings of the asyncio client, or else of the other one.

    An asyncio client whose settings can't be read is returned as it is. None: there is none, and
    the settings of the other one can't be read either.
    """
    source = given if given_async is None else given_async
    if isinstance(source, DeferredCluster):
        return Cluster(source.nodes, _for_pools(source.settings), node_async, timeout=longest(source.settings))
    if not _is_redis_pys_own(source):
        return given_async
    if isinstance(source, (redis.RedisCluster, aio.RedisCluster)):
        return _cluster(source, node_async, _for_pools(_cluster_settings(source)))
    pool: Any = getattr(source, "connection_pool", None)
    if type(pool) in (sentinel.SentinelConnectionPool, aio_sentinel.SentinelConnectionPool):
        return _async_sentinel(pool)
    known = (redis.ConnectionPool, redis.BlockingConnectionPool, aio.ConnectionPool, aio.BlockingConnectionPool)
    connection_class = _async_connection(pool) if type(pool) in known else None
    if connection_class is None or pool.connection_kwargs.get("redis_connect_func"):
        return given_async
    settings = _in_both_colours(connection_class, _copied(pool.connection_kwargs))
    own = pools.AsyncPool(
        max_connections=min(pool.max_connections, ASYNC_CONNECTIONS),
        connection_class=connection_class,
        retry=_async_retry(),
        **settings,
    )
    return aio.Redis.from_pool(own)


def _is_redis_pys_own(client: Any) -> bool:
    """Tell whether a client sends commands as redis-py does, and not in a way of its own."""
    own = (redis.Redis, redis.RedisCluster, aio.Redis, aio.RedisCluster)
    return getattr(type(client), "execute_command", None) in [kind.execute_command for kind in own]


def _async_connection(pool: Any) -> type | None:
    if issubclass(pool.connection_class, aio.connection.AbstractConnection):
        found: type = pool.connection_class
        return found
    return _ASYNC_CONNECTIONS_OF.get(pool.connection_class)


def _cluster(source: Any, make: Any, settings: dict[str, Any]) -> Cluster:
    """Return our own way to a user's cluster, with the user's time-outs for each node."""
    manager = source.nodes_manager
    nodes = [(node.host, int(node.port)) for node in list(manager.startup_nodes.values())]
    return Cluster(nodes, settings, make, remap=getattr(manager, "address_remap", None))


def _cluster_settings(source: Any) -> dict[str, Any]:
    """Return the settings of a cluster's nodes as a client of one server takes them."""
    found = source.connection_kwargs if isinstance(source, aio.RedisCluster) else source.nodes_manager.connection_kwargs
    settings = _copied(found, leave=("host", "port"))
    if issubclass(settings.pop("connection_class", object), (redis.SSLConnection, aio.SSLConnection)):
        settings["ssl"] = True
    return settings


def _for_pools(settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of an asyncio pool of connections to a server with these."""
    kind = aio.SSLConnection if settings.get("ssl") else aio.Connection
    found = _in_both_colours(kind, settings)
    found.pop("redis_connect_func", None)  # it reads answers, and a thread's doesn't await them
    most = min(settings.get("max_connections") or ASYNC_CONNECTIONS, ASYNC_CONNECTIONS)
    return {**found, "connection_class": kind, "max_connections": most}


def _async_sentinel(pool: Any) -> Any:
    manager = _async_sentinels(pool.sentinel_manager)
    connection_class = _async_connection(pool)
    settings = {
        **_in_both_colours(aio.Connection, _copied(pool.connection_kwargs)),
        **_sentinel_settings(pool),
        "connection_class": connection_class,
        "retry": _async_retry(),
    }
    own = pools.AsyncSentinelPool(pool.service_name, manager, **settings)  # type: ignore[no-untyped-call]
    return aio.Redis.from_pool(own)


def _sentinel_settings(pool: Any) -> dict[str, Any]:
    return {
        "is_master": pool.is_master,
        "check_connection": pool.check_connection,
        "connection_class": pool.connection_class,
        "max_connections": pool.max_connections,
    }


def _sentinels(manager: Any) -> Any:
    """Return another one who asks the same sentinels, and doesn't retry either."""
    asked = _asked(manager, _retry())
    if isinstance(manager, Sentinels):
        return Sentinels(**asked, **_copied(manager.connection_kwargs), retry=_retry())
    return sentinel.Sentinel(**asked)  # type: ignore[no-untyped-call]


def _async_sentinels(manager: Any) -> Any:
    """Return one for asyncio who asks the same sentinels, and doesn't retry either."""
    asked = _asked(manager, _async_retry())
    if isinstance(manager, Sentinels):
        return AsyncSentinels(
            **asked, **_in_both_colours(aio.Redis, _copied(manager.connection_kwargs)), retry=_async_retry()
        )
    return aio_sentinel.Sentinel(**asked)  # type: ignore[no-untyped-call]


def _asked(manager: Any, retry: Any) -> dict[str, Any]:
    """Return whom somebody asks for a primary, and how."""
    addresses = [client.connection_pool.connection_kwargs for client in manager.sentinels]
    return {
        "sentinels": [(address["host"], address["port"]) for address in addresses],
        "min_other_sentinels": manager.min_other_sentinels,
        "sentinel_kwargs": {**manager.sentinel_kwargs, "retry": retry},
        "force_master_ip": manager._force_master_ip,  # noqa: SLF001  there is no other way to it
    }


def _copied(settings: dict[str, Any], leave: Iterable[str] = ()) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _NOT_COPIED and name not in leave}


def _in_both_colours(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a class of redis.asyncio takes, too."""
    return {name: value for name, value in _accepted(kind, settings).items() if name not in _SYNC_ONLY}


def _accepted(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a class takes."""
    parents = [parent for parent in kind.__mro__ if parent is not object]
    names = {name for parent in parents for name in inspect.signature(parent).parameters}
    return {name: value for name, value in settings.items() if name in names}


def _retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _async_retry() -> AsyncRetry:
    return AsyncRetry(NoBackoff(), 0)
