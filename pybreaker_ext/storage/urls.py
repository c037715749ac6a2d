"""Storages by URL: what a configuration file or a command line can name."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, unquote, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from pybreaker_ext.machine import CLOSED
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.redis import CircuitRedisStorage
from pybreaker_ext.storage.shared import SharedObjects
from pybreaker_ext.storage.sqlite import CircuitSQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pybreaker_ext.storage import Storage

#: Seconds that a client made from a URL waits for its server, unless the URL says otherwise.
TIMEOUT: Final = 0.25

#: The query options that set these times.
TIMEOUTS: Final = ("socket_timeout", "socket_connect_timeout")

ALLOWED: Final = "memory://, sqlite:///file.db, redis://, rediss:// or unix://"

#: Everything before the last @, because a password may hold any character if the URL is malformed.
_USER: Final = re.compile(r"^([a-z][a-z0-9+.-]*:/{0,2})?.*@", re.DOTALL | re.IGNORECASE)
_SECRET_OPTION: Final = re.compile(r"([?&][^=&]*pass[^=&]*=)[^&]*", re.IGNORECASE)


def from_url(url: str, name: str, *, fallback_circuit_state: str = CLOSED, key_ttl: float | None = None) -> Storage:
    """Return the storage of the circuit called `name` in the place that `url` tells. No I/O.

    ====================================  ==========================================================
    `memory://`                           this process; each storage has a circuit of its own
    `sqlite:///file.db`                   a file, from the working directory
    `sqlite:////var/lib/file.db`          a file, from the root
    `redis://host:6379/0`, `rediss://`    a Redis server, with TLS or without
    `unix:///run/redis.sock?db=0`         a Redis server's socket
    ====================================  ==========================================================

    In a file's name, `%3F` is a question mark and `%25` a percent sign. The query of a Redis URL
    takes redis-py's options. Without `socket_timeout` and `socket_connect_timeout` in it, both are
    0.25 seconds; nothing is sent twice. Circuits of the same Redis URL share their connections.

    Args:
        url: One of the above.
        name: The circuit's name, which is its namespace in the store.
        fallback_circuit_state: How each process goes on by itself while the store is away; not
            for `memory://`, which never is.
        key_ttl: Seconds after which an idle circuit's keys expire; None: never. Only for Redis.

    Raises:
        TypeError: `url` or `name` is no text, or `key_ttl` no number.
        ValueError: `url` is none of the above, `name` is empty, `fallback_circuit_state` is no
            state, or `key_ttl` isn't above 0.
    """
    _check_name(name)
    if not isinstance(url, str):
        message = f"url must be a text, not {url!r}"
        raise TypeError(message)
    scheme, separator, _ = url.partition("://")
    storage = _STORAGES.get(scheme) if separator else None
    if storage is None:
        raise _refused(url, f"begin with {ALLOWED}")
    return storage(url, name, fallback_circuit_state, key_ttl)


def redis_client(url: str) -> Redis:
    """Return the client that all circuits of a Redis URL share. No I/O.

    Raises:
        ValueError: `url` is no Redis URL, or has an option that redis-py doesn't know.
    """
    return _clients.get(url, _new_client)


def without_password(url: str) -> str:
    """Return `url` fit for messages: without its user and password."""
    return _SECRET_OPTION.sub(r"\1***", _USER.sub(r"\1***@", url))


def _memory(url: str, _name: str, _fallback: str, _key_ttl: float | None) -> Storage:
    if url != "memory://":
        raise _refused(url, "have nothing after memory://")
    return CircuitMemoryStorage()


def _sqlite(url: str, name: str, fallback: str, _key_ttl: float | None) -> Storage:
    parts = _split(url)
    if parts.netloc:
        raise _refused(url, "be sqlite:///relative.db or sqlite:////absolute.db, with three or four slashes")
    if parts.query or parts.fragment:
        raise _refused(url, "have no options; write ? and # in a file's name as %3F and %23")
    path = unquote(parts.path.removeprefix("/"))
    if not path or path.startswith(":memory:") or "\0" in path:
        raise _refused(url, "name a file, as sqlite:///file.db does")
    return CircuitSQLiteStorage(path, name, fallback_circuit_state=fallback)


def _redis(url: str, name: str, fallback: str, key_ttl: float | None) -> Storage:
    return CircuitRedisStorage(CLOSED, redis_client(url), name, fallback, key_ttl=key_ttl)


_STORAGES: Final[Mapping[str, Callable[[str, str, str, float | None], Storage]]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "rediss": _redis,
    "unix": _redis,
}

_clients: Final[SharedObjects[str, Redis]] = SharedObjects()


def _new_client(url: str) -> Redis:
    _check_place(url)
    try:
        retry = Retry(NoBackoff(), 0)
        client = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=retry)
        settings: dict[str, Any] = client.connection_pool.connection_kwargs
        # An option that redis-py doesn't know would otherwise be an error of the first call.
        client.connection_pool.connection_class(**settings)
    except (TypeError, ValueError, RedisError) as error:
        raise _refused(url, f"have redis-py's options only ({error})") from error
    for option in TIMEOUTS:
        if not 0 < settings[option] < math.inf:
            raise _refused(url, f"have a {option} of seconds above 0")
    return client


def _check_place(url: str) -> None:
    """Refuse what redis-py would silently take for its defaults."""
    parts = _split(url)
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise _refused(url, "name a socket, as unix:///run/redis.sock does")
    elif not re.fullmatch(r"/?[0-9]*", parts.path):
        raise _refused(url, "have nothing but the database's number after the host, as redis://localhost:6379/0 does")


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Without the cause, because its text may hold the password.
        raise _refused(url, "have a valid host, and a port up to 65535") from None
    return parts


def _check_name(name: str) -> None:
    if not isinstance(name, str):
        message = f"name must be a text, not {name!r}"
        raise TypeError(message)
    if not name:
        message = "name must have at least one character, and it is ''"
        raise ValueError(message)


def _refused(url: str, allowed: str) -> ValueError:
    return ValueError(f"url must {allowed}; it is {without_password(url)!r}")
