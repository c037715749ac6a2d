"""Redis clients by URL: one for each URL, whatever number of circuits use it."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import SplitResult, parse_qsl, unquote, urlencode, urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.cluster import REDIS_ALLOWED_KEYS
from redis.connection import parse_url
from redis.exceptions import RedisError
from redis.retry import Retry

from pybreaker_ext.storage.cluster import DeferredCluster
from pybreaker_ext.storage.outage import ARGUMENTS
from pybreaker_ext.storage.sentinels import Sentinels
from pybreaker_ext.storage.shared import SharedObjects
from pybreaker_ext.storage.turns import TIMEOUTS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Seconds that a client made from a URL waits for its server, unless the URL says otherwise.
TIMEOUT: Final = 0.25

#: Settings of one server that several servers can't have, and retries, which nothing of ours has.
_ONE_SERVERS: Final = ("host", "port", "retry_on_error", "retry_on_timeout")

#: Options that a URL can't give in a useful way.
_NO_TEXTS: Final = frozenset(
    {
        "cache",
        "cache_config",
        "command_packer",
        "connection_pool",
        "credential_provider",
        "encoder_class",
        "encoding",
        "encoding_errors",
        "parser_class",
        "redis_connect_func",
        "retry",
        "socket_keepalive_options",
        "socket_type",
    }
)

#: What a server adds to an error of a script: which one, and its line.
_SCRIPT: Final = re.compile(r"\s*\bscript: [0-9a-f]{40}, on @user_script:.*", re.DOTALL)

#: What to look after when an error says so.
_HINTS: Final = {
    "refused": "Is a Redis running there?",
    "no such file": "Is a Redis running there?",
    "timeout": "Is it there, and can it be reached from here?",
    "timed out": "Is it there, and can it be reached from here?",
    "name or service not known": "Is the host's name right?",
    "name resolution": "Is the host's name right?",
    "already authenticated": "User and password stand before the host: redis://user:password@host",
    "authentication required": "User and password stand before the host: redis://user:password@host",
    "invalid username-password": "User and password stand before the host: redis://user:password@host",
}

CLUSTER_PORT: Final = 6379
SENTINEL_PORT: Final = 26379

#: Everything before the last @, because a password may hold any character if the URL is malformed.
_USER: Final = re.compile(r"^([a-z][a-z0-9+.-]*:/{0,2})?.*@", re.DOTALL | re.IGNORECASE)
_OPTION: Final = re.compile(r"([?&])([^=&]*)=([^&]*)")


class _Servers(NamedTuple):
    """What a URL tells of several servers."""

    nodes: list[tuple[str, int]]
    path: str
    options: dict[str, str]
    #: The options that are redis-py's, with user, password and TLS, as its clients take them.
    settings: dict[str, Any]


def redis_client(url: str) -> Any:
    """Return the client that all circuits of a Redis URL share. No I/O.

    Raises:
        ValueError: `url` is no Redis URL, or has an option that redis-py doesn't know.
    """
    return _clients.get(url, lambda _: _MAKERS[url.partition("://")[0]](url))


def without_password(url: str) -> str:
    """Return `url` fit for messages: without its user and password."""

    def masked(option: re.Match[str]) -> str:
        return f"{option[1]}{option[2]}=***" if "pass" in unquote(option[2]).lower() else option[0]

    return _OPTION.sub(masked, _USER.sub(r"\1***@", url))


def in_words(error: BaseException | None) -> str:
    """Return in one line why a server can't be asked, and what to look after."""
    told = _SCRIPT.sub("", ARGUMENTS.sub(r"\1 ...", str(error)))
    text = " ".join(told.split()) or type(error).__name__
    hint = next((hint for sign, hint in _HINTS.items() if sign in text.lower()), "")
    if not hint:
        return text
    return f"{text} {hint}" if text.endswith((".", "!", "?")) else f"{text}. {hint}"


def refused(url: str, allowed: str) -> ValueError:
    """Return the error that tells what is allowed instead of `url`."""
    return ValueError(f"url must {allowed}; it is {without_password(url)!r}")


def split(url: str) -> SplitResult:
    """Return the parts of a URL with at most one host."""
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        # Without the cause, because its text may hold the password.
        raise refused(url, "have a valid host, and a port up to 65535") from None
    return parts


def _server(url: str) -> Redis:
    parts = split(url)
    if parts.scheme == "unix":
        if not parts.path.strip("/"):
            raise refused(url, "name a socket, as unix:///run/redis.sock does")
    elif not re.fullmatch(r"/?[0-9]*", parts.path):
        raise refused(url, "have nothing but the database's number after the host, as redis://localhost:6379/0 does")
    return _one_server(url, url)


def _cluster(url: str) -> DeferredCluster:
    servers = _servers(url, CLUSTER_PORT)
    if servers.path.strip("/") not in ("", "0") or servers.settings.pop("db", 0):
        raise refused(url, "name no database, or 0: a cluster has no other")
    for option in servers.options:
        if option not in REDIS_ALLOWED_KEYS:
            raise refused(url, f"have options that redis-py has for clusters, without {option}")
    return DeferredCluster(servers.nodes, servers.settings)


def _sentinel(url: str) -> Any:
    servers = _servers(url, SENTINEL_PORT, ours=("sentinel_username", "sentinel_password"))
    match = re.fullmatch(r"/([^/]+)(?:/([0-9]*))?", servers.path)
    if not match:
        raise refused(url, "name a service and perhaps a database, as redis+sentinel://host:26379/service/0 does")
    settings = {**servers.settings, "retry": _no_retries()}
    settings["db"] = int(match[2] or settings.get("db", 0))
    timeouts = {name: settings[name] for name in TIMEOUTS}
    login = {name: servers.options.get(f"sentinel_{name}") for name in ("username", "password")}
    tls = {name: value for name, value in settings.items() if name.startswith("ssl")}
    asked = {**timeouts, **login, **tls, "retry": _no_retries()}
    sentinels: Any = Sentinels(servers.nodes, sentinel_kwargs=asked, **settings)
    return sentinels.master_for(unquote(match[1]))


_MAKERS: Final[Mapping[str, Callable[[str], Any]]] = {
    "redis": _server,
    "rediss": _server,
    "unix": _server,
    "redis+cluster": _cluster,
    "rediss+cluster": _cluster,
    "redis+sentinel": _sentinel,
    "rediss+sentinel": _sentinel,
}

REDIS_SCHEMES: Final = tuple(_MAKERS)

_clients: Final[SharedObjects[str, Any]] = SharedObjects()


def _servers(url: str, port: int, ours: tuple[str, ...] = ()) -> _Servers:
    """Take apart a URL with several hosts; options that aren't redis-py's are `ours`.

    Newer Pythons' `urlsplit` takes no brackets where there are several hosts.
    """
    scheme, _, rest = url.partition("#")[0].partition("://")
    before, _, asked = rest.partition("?")
    authority, slash, path = before.partition("/")
    user, at, hosts = authority.rpartition("@")
    nodes = [_host(url, host, port) for host in hosts.split(",")]
    options = dict(parse_qsl(asked, keep_blank_values=True))
    query = urlencode({name: value for name, value in options.items() if name not in ours})
    plain = f"{scheme.partition('+')[0]}://{user}{at}localhost?{query}"
    try:
        urlsplit(plain)
    except ValueError:
        raise refused(url, "have a valid user and password") from None
    return _Servers(nodes, slash + path, options, _settings(url, plain))


def _host(url: str, text: str, port: int) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text}")
        host, port = parts.hostname, parts.port or port
    except ValueError:
        host = None
    if not host or parts.path:
        raise refused(url, "have valid hosts, with commas between them, and ports up to 65535")
    return unquote(host), port


def _one_server(url: str, plain: str) -> Redis:
    """Return redis-py's client for the URL `plain`; errors tell of `url`."""
    try:
        client = Redis.from_url(plain, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=_no_retries())
        settings: dict[str, Any] = client.connection_pool.connection_kwargs
        # An option that redis-py doesn't know would otherwise be an error of the first call.
        client.connection_pool.connection_class(**settings)
    except (AttributeError, TypeError, ValueError, RedisError) as error:
        raise refused(url, f"have redis-py's options only ({error})") from error
    for option in _NO_TEXTS & parse_url(plain).keys():  # type: ignore[no-untyped-call]
        raise refused(url, f"have no {option}, which takes no text or would change the circuits' names")
    for option in TIMEOUTS:
        if not 0 < settings[option] < math.inf:
            raise refused(url, f"have a {option} of seconds above 0")
    if int(settings.get("db", 0)) < 0:
        raise refused(url, "have a db of 0 or more")
    return client


def _settings(url: str, plain: str) -> dict[str, Any]:
    """Return what the URL `plain` tells but its host, as the constructors of clients take it; errors tell of `url`."""
    _one_server(url, plain)
    settings = {**dict.fromkeys(TIMEOUTS, TIMEOUT), **parse_url(plain)}  # type: ignore[no-untyped-call]
    if settings.pop("connection_class", None):
        settings["ssl"] = True
    return {name: value for name, value in settings.items() if name not in _ONE_SERVERS}


def _no_retries() -> Retry:
    return Retry(NoBackoff(), 0)
