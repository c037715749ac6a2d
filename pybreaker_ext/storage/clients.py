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
from redis.asyncio import cluster as aio_cluster
from redis.asyncio import sentinel as aio_sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.retry import Retry

from pybreaker_ext.storage.cluster import DeferredCluster
from pybreaker_ext.storage.packer import packer_for

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
        return given.client()
    if not _is_redis_pys_own(given):
        return given
    if isinstance(given, redis.RedisCluster):
        settings = {**_copied(given.nodes_manager.connection_kwargs, leave=("host", "port")), **_cluster_wide(given)}
        return redis.RedisCluster(startup_nodes=_nodes(given, ClusterNode), retry=_retry(), **settings)
    pool: Any = getattr(given, "connection_pool", None)
    if type(pool) is sentinel.SentinelConnectionPool:
        manager = _sentinels(pool.sentinel_manager, sentinel.Sentinel, _retry())
        settings = {**_copied(pool.connection_kwargs), **_sentinel_settings(pool), "retry": _retry()}
        settings.update(packer_for(settings))
        return redis.Redis.from_pool(type(pool)(pool.service_name, manager, **settings))
    if type(pool) in (redis.ConnectionPool, redis.BlockingConnectionPool):
        settings = {**_copied(pool.connection_kwargs), "retry": _retry(), "max_connections": pool.max_connections}
        settings.update(packer_for(settings))
        return redis.Redis.from_pool(redis.ConnectionPool(pool.connection_class, **settings))
    return given


async def own_async_client(given: Any, given_async: Any = None) -> Any:
    """Return an asyncio client with the settings of the asyncio client, or else of the other one.

    An asyncio client whose settings can't be read is returned as it is. None: there is none, and
    the settings of the other one can't be read either.
    """
    source = given if given_async is None else given_async
    if isinstance(source, DeferredCluster):
        return await _deferred_async_cluster(source)
    if not _is_redis_pys_own(source):
        return given_async
    if isinstance(source, (redis.RedisCluster, aio.RedisCluster)):
        return await _initialized(_async_cluster(source))
    pool: Any = getattr(source, "connection_pool", None)
    if type(pool) in (sentinel.SentinelConnectionPool, aio_sentinel.SentinelConnectionPool):
        return _async_sentinel(pool)
    known = (redis.ConnectionPool, redis.BlockingConnectionPool, aio.ConnectionPool, aio.BlockingConnectionPool)
    connection_class = _async_connection(pool) if type(pool) in known else None
    if connection_class is None or pool.connection_kwargs.get("redis_connect_func"):
        return given_async
    settings = _accepted(connection_class, _copied(pool.connection_kwargs))
    own = aio.ConnectionPool(
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


def _async_cluster(source: Any) -> Any:
    settings = _accepted(aio.RedisCluster, _copied(_cluster_settings(source), leave=("host", "port")))
    settings.update(_cluster_wide(source))
    if isinstance(source, redis.RedisCluster) and source.nodes_manager.connection_kwargs.get("ssl"):
        settings["ssl"] = True
    return aio.RedisCluster(startup_nodes=_nodes(source, aio_cluster.ClusterNode), retry=_async_retry(), **settings)


async def _deferred_async_cluster(source: DeferredCluster) -> Any:
    nodes = [aio_cluster.ClusterNode(*await source.reachable_async())]
    settings = _accepted(aio.RedisCluster, source.settings)
    return await _initialized(aio.RedisCluster(startup_nodes=nodes, retry=_async_retry(), **settings))


async def _initialized(cluster: Any) -> Any:
    """Return the client when it knows its nodes: callers that come before that would each wait for it in turn."""
    return await cluster.initialize()


def _cluster_settings(source: Any) -> dict[str, Any]:
    if isinstance(source, aio.RedisCluster):
        found: dict[str, Any] = dict(source.connection_kwargs)
        found["ssl"] = found.pop("connection_class", None) is aio.SSLConnection
        return found
    return dict(source.nodes_manager.connection_kwargs)


def _cluster_wide(source: Any) -> dict[str, Any]:
    """Return what a cluster's client keeps for itself, as redis-py 5 to 8 calls it."""
    manager, found = source.nodes_manager, {}
    for name in ("address_remap", "require_full_coverage", "dynamic_startup_nodes"):
        for holder, attribute in ((manager, name), (manager, f"_{name}"), (source, name)):
            value = getattr(holder, attribute, None)
            if value is not None:
                found[name] = value
                break
    return found


def _async_sentinel(pool: Any) -> Any:
    manager = _sentinels(pool.sentinel_manager, aio_sentinel.Sentinel, _async_retry())
    connection_class = _async_connection(pool)
    settings = {
        **_accepted(aio.Connection, _copied(pool.connection_kwargs)),
        **_sentinel_settings(pool),
        "connection_class": connection_class,
        "retry": _async_retry(),
    }
    own = aio_sentinel.SentinelConnectionPool(pool.service_name, manager, **settings)  # type: ignore[no-untyped-call]
    return aio.Redis.from_pool(own)


def _sentinel_settings(pool: Any) -> dict[str, Any]:
    return {
        "is_master": pool.is_master,
        "check_connection": pool.check_connection,
        "connection_class": pool.connection_class,
        "max_connections": pool.max_connections,
    }


def _sentinels(manager: Any, kind: Any, retry: Any) -> Any:
    """Return the sentinels' addresses and settings as another manager, which doesn't retry either."""
    addresses = [client.connection_pool.connection_kwargs for client in manager.sentinels]
    return kind(
        [(address["host"], address["port"]) for address in addresses],
        min_other_sentinels=manager.min_other_sentinels,
        sentinel_kwargs={**manager.sentinel_kwargs, "retry": retry},
        force_master_ip=manager._force_master_ip,  # noqa: SLF001  there is no other way to it
    )


def _nodes(cluster: Any, kind: Any) -> list[Any]:
    known: Iterable[Any] = cluster.nodes_manager.startup_nodes.values()
    return [kind(node.host, node.port) for node in known]


def _copied(settings: dict[str, Any], leave: Iterable[str] = ()) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _NOT_COPIED and name not in leave}


def _accepted(kind: type, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that a class of redis.asyncio takes, too."""
    parents = [parent for parent in kind.__mro__ if parent is not object]
    names = {name for parent in parents for name in inspect.signature(parent).parameters}
    return {name: value for name, value in settings.items() if name in names and name not in _SYNC_ONLY}


def _retry() -> Retry:
    return Retry(NoBackoff(), 0)


def _async_retry() -> AsyncRetry:
    return AsyncRetry(NoBackoff(), 0)
