"""Storages by URL: what a configuration file or a command line can name."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from redis import RedisCluster

from pybreaker_ext.machine import CLOSED
from pybreaker_ext.storage.classic import check_state
from pybreaker_ext.storage.cluster import DeferredCluster
from pybreaker_ext.storage.history import LIMIT
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.redis import CircuitRedisStorage, key_ttl_milliseconds
from pybreaker_ext.storage.redis_urls import REDIS_SCHEMES, redis_client, refused, split
from pybreaker_ext.storage.sqlite import CircuitSQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pybreaker_ext.storage import Storage

ALLOWED: Final = "memory://, sqlite:///file.db, redis://, rediss://, unix://, redis+cluster:// or redis+sentinel://"


def from_url(
    url: str,
    name: str,
    *,
    fallback_circuit_state: str = CLOSED,
    key_ttl: float | None = None,
    history: int = LIMIT,
    worker: str | None = None,
) -> Storage:
    """Return the storage of the circuit called `name` in the place that `url` tells. No I/O.

    ============================================  ==================================================
    `memory://`                                   this process; each storage has its own circuit
    `sqlite:///file.db`                           a file, from the working directory
    `sqlite:////var/lib/file.db`                  a file, from the root
    `redis://host:6379/0`                         a Redis server
    `unix:///run/redis.sock?db=0`                 a Redis server's socket
    `redis+cluster://host:6379,host:6379`         a Redis Cluster, by some of its nodes
    `redis+sentinel://host:26379,host/service/0`  the server that sentinels know as `service`
    ============================================  ==================================================

    `rediss` instead of `redis` means TLS. In a file's name, `%3F` is a question mark and `%25` a
    percent sign. The query of a Redis URL takes redis-py's options, and `sentinel_username` and
    `sentinel_password`; without `socket_timeout` and `socket_connect_timeout` in it, both are 0.25
    seconds. One sentinel, or one node when a cluster is looked for, has its share of that: a third
    if there are three. Nothing is sent twice. Circuits of the same Redis URL share their
    connections.

    Args:
        url: One of the above.
        name: The circuit's name, any text; it is the namespace in the store.
        fallback_circuit_state: As of `CircuitRedisStorage`; memory needs none.
        key_ttl: Seconds, as of `CircuitRedisStorage`; other stores keep what they have.
        history: Changes of state that the store keeps, 0 to 1,000,000; 0: none.
        worker: What the history calls this worker; `host:pid` by default.

    Raises:
        TypeError: `url` or `name` is no text.
        ValueError: `url` is none of the above, `name` is empty, or another argument out of its
            range.
    """
    _check_name(name)
    if not isinstance(url, str):
        message = f"url must be a text, not {url!r}"
        raise TypeError(message)
    check_state("fallback_circuit_state", fallback_circuit_state)
    key_ttl_milliseconds(key_ttl)
    scheme, separator, _ = url.partition("://")
    storage = _STORAGES.get(scheme) if separator else None
    if storage is None:
        raise refused(url, f"begin with {ALLOWED}")
    kept = {"history": history, "worker": worker}
    return storage(url, name, fallback_circuit_state, key_ttl, kept)


def from_client(
    client: Any,
    name: str,
    *,
    fallback_circuit_state: str = CLOSED,
    key_ttl: float | None = None,
    history: int = LIMIT,
    worker: str | None = None,
) -> CircuitRedisStorage:
    """Return the storage of the circuit called `name` on the server of a redis-py client. No I/O.

    Arguments and errors are those of `from_url` and of `CircuitRedisStorage`.
    """
    if isinstance(client, (DeferredCluster, RedisCluster)):
        name = in_one_slot(name)
    return CircuitRedisStorage(
        CLOSED, client, name, fallback_circuit_state, key_ttl=key_ttl, history=history, worker=worker
    )


def in_one_slot(name: str) -> str:
    """Return `name` as a hash tag; braces of its own would make another one, perhaps another name's.

    >>> in_one_slot("claude"), in_one_slot("{claude}")
    ('{claude}', '{%7Bclaude%7D}%')
    """
    quoted = name.replace("%", "%25").replace("{", "%7B").replace("}", "%7D")
    if "{" in name or "}" in name:
        return f"{{{quoted}}}%"
    return f"{{{name}}}"


def name_of(namespace: str) -> str:
    """Return the name whose circuit has this namespace on a cluster; the namespace itself if none has.

    >>> name_of("{claude}"), name_of("{%7Bclaude%7D}%"), name_of("eu{claude}")
    ('claude', '{claude}', 'eu{claude}')
    """
    tag = namespace.removesuffix("%")[1:-1]
    for name in (tag, tag.replace("%7B", "{").replace("%7D", "}").replace("%25", "%")):
        if name and in_one_slot(name) == namespace:
            return name
    return namespace


def _memory(url: str, _name: str, _fallback: str, _key_ttl: float | None, kept: dict[str, Any]) -> Storage:
    if url != "memory://":
        raise refused(url, "have nothing after memory://")
    return CircuitMemoryStorage(**kept)


def sqlite_path(url: str) -> str:
    """Return the file that a `sqlite:///` URL names.

    Raises:
        ValueError: It names none.
    """
    parts = split(url)
    if parts.netloc:
        raise refused(url, "be sqlite:///relative.db or sqlite:////absolute.db, with three or four slashes")
    if parts.query or parts.fragment:
        raise refused(url, "have no options; write ? and # in a file's name as %3F and %23")
    path = unquote(parts.path.removeprefix("/"))
    if not path or path.startswith(":memory:") or "\0" in path:
        raise refused(url, "name a file, as sqlite:///file.db does")
    return path


def _sqlite(url: str, name: str, fallback: str, _key_ttl: float | None, kept: dict[str, Any]) -> Storage:
    return CircuitSQLiteStorage(sqlite_path(url), name, fallback_circuit_state=fallback, **kept)


def _redis(url: str, name: str, fallback: str, key_ttl: float | None, kept: dict[str, Any]) -> Storage:
    return from_client(redis_client(url), name, fallback_circuit_state=fallback, key_ttl=key_ttl, **kept)


_STORAGES: Final[Mapping[str, Callable[[str, str, str, float | None, dict[str, Any]], Storage]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    **dict.fromkeys(REDIS_SCHEMES, _redis),
}


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        message = f"name must be a text, not {name!r}"
        raise TypeError(message)
    if not name:
        message = "name must have at least one character, and it is ''"
        raise ValueError(message)
