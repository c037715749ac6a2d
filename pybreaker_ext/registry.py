"""Breakers by name: the same object from everywhere, in one store."""

from __future__ import annotations

import sys
import threading
import weakref
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, Final, Self

from pybreaker_ext import settings
from pybreaker_ext.breaker import CircuitBreaker
from pybreaker_ext.environment import CONFIG, URL, store_url, variable
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.given import checked, differences
from pybreaker_ext.machine import CLOSED
from pybreaker_ext.names import check_name
from pybreaker_ext.storage.history import LIMIT
from pybreaker_ext.storage.listing import listing_of, listing_on
from pybreaker_ext.storage.urls import from_client, from_url
from pybreaker_ext.stored import StoredCircuits
from pybreaker_ext.tables import Tables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from os import PathLike
    from types import TracebackType

    from pybreaker_ext.storage import Storage

#: What is made by name is probed sooner than pybreaker's, and closes after two successes.
DEFAULTS: Final[Mapping[str, Any]] = {"reset_timeout": 30, "success_threshold": 2}

#: Whether one thread runs at a time, so that a method of an `OrderedDict` is one step.
HAS_GIL: Final[bool] = getattr(sys, "_is_gil_enabled", lambda: True)()


class RegistryClosedError(RuntimeError):
    """The registry is closed."""

    def __init__(self) -> None:
        super().__init__("the registry is closed")


class CircuitBreakerRegistry:
    """Makes and remembers the breakers of one store.

    `from_file` and `from_settings` make one whose breakers are set by a file or a mapping.

    Args:
        url: Where the circuits are kept: `redis://`, `rediss://`, `unix://`, `redis+cluster://`,
            `redis+sentinel://`, `sqlite:///` or `memory://`. Without `url` and `client`, what the
            environment variable `PYBREAKER_EXT_URL` tells.
        client: A `redis.Redis` or `redis.RedisCluster` client instead of a URL.
        max_breakers: Breakers that are remembered at most, 1 or more; the one that was asked for
            longest ago is forgotten. Its circuit in the store stays, and so does the object for
            whoever holds it. On `memory://` the circuit goes with its last holder.
        fallback_circuit_state: The state in which each process goes on by itself while the store is
            away: `"closed"` counts and trips locally, `"open"` rejects.
        key_ttl: Seconds, above 0, after which the keys of an idle circuit expire in Redis; None:
            never. Other stores have no keys.
        history: Changes of state that the store keeps of each circuit, 0 to 1,000,000; 0: none.
        worker: What the history calls this worker; `host:pid` by default.
        defaults: Settings of `CircuitBreaker` for all of them; `reset_timeout=30` and
            `success_threshold=2` unless they say otherwise.

    Raises:
        TypeError: A setting is unknown or of the wrong type, or both `url` and `client` are
            given, or neither and no `PYBREAKER_EXT_URL`.
        ValueError: `url` is no URL of a store, or a setting is out of its range.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        client: Any = None,
        max_breakers: int = 10_000,
        fallback_circuit_state: str = CLOSED,
        key_ttl: float | None = None,
        history: int = LIMIT,
        worker: str | None = None,
        **defaults: Any,
    ) -> None:
        if url is None and client is None:
            url = store_url()
        if (url is None) == (client is None):
            message = f"url or client must be given, and not both; without them, {URL} must be set"
            raise TypeError(message)
        self._url = url
        self._client = client
        self._max_breakers = settings.whole_number("max_breakers", max_breakers)
        self._stored: dict[str, Any] = {
            "fallback_circuit_state": fallback_circuit_state,
            "key_ttl": key_ttl,
            "history": history,
            "worker": worker,
        }
        self._defaults = {**DEFAULTS, **checked(defaults)}
        self._tables = Tables()
        self._remembered: OrderedDict[str, CircuitBreaker] = OrderedDict()
        #: Those that anybody holds.
        self._living: weakref.WeakValueDictionary[str, CircuitBreaker] = weakref.WeakValueDictionary()
        self._closed = False
        self._storage("name")  # which refuses bad arguments now rather than later
        self.renew_after_fork()
        renew_after_fork(self)

    @classmethod
    def from_settings(
        cls, mapping: Mapping[str, Any], *, url: str | None = None, client: Any = None, **defaults: Any
    ) -> Self:
        """Make a registry whose breakers are set by data. Needs `pip install "pybreaker-ext[settings]"`.

        Args:
            mapping: Has the form of a settings file: `url`, `max_breakers`, `key_ttl`,
                `fallback_circuit_state`, `default`, and `breakers`, a table for each name or glob.
                Durations are seconds, or texts such as `"30s"`.
            url: Beats `PYBREAKER_EXT_URL`, which beats the mapping's.
            client: As for the registry, instead of a URL.
            defaults: Further arguments of the registry; the mapping beats them.

        Raises:
            ImportError: pydantic isn't installed.
            TypeError: One of `defaults` is unknown or of the wrong type, or both `url` and `client`
                are given.
            ValueError: Something in the mapping is wrong, an argument is out of its range, or nothing
                tells a URL.
        """
        from pybreaker_ext.config import tables_of  # noqa: PLC0415  pydantic is an extra

        return cls._set_by(tables_of(mapping), url, client, defaults)

    @classmethod
    def from_file(
        cls, path: str | PathLike[str] | None = None, *, url: str | None = None, client: Any = None, **defaults: Any
    ) -> Self:
        """Make a registry whose breakers are set by a file. Needs `pip install "pybreaker-ext[settings]"`.

        Args:
            path: Ends in `.toml`, or in `.yaml` or `.yml`, which needs `"pybreaker-ext[yaml]"`. Without
                it, what the environment variable `PYBREAKER_EXT_CONFIG` tells.
            url: Beats `PYBREAKER_EXT_URL`, which beats the file's.
            client: As for the registry, instead of a URL.
            defaults: Further arguments of the registry; the file beats them.

        Raises:
            ImportError: pydantic isn't installed, or PyYAML for a YAML file.
            OSError: The file can't be read.
            TypeError: One of `defaults` is unknown or of the wrong type, or both `url` and `client`
                are given.
            ValueError: Something in the file is wrong, an argument is out of its range, or nothing
                tells a path or a URL.
        """
        from pybreaker_ext.config import tables_of_file  # noqa: PLC0415  pydantic is an extra

        found = variable(CONFIG) if path is None else path
        if found is None:
            message = f"path must be given, or {CONFIG} be set"
            raise ValueError(message)
        return cls._set_by(tables_of_file(found), url, client, defaults)

    @classmethod
    def _set_by(cls, tables: Tables, url: str | None, client: Any, defaults: dict[str, Any]) -> Self:
        if url is None and client is None:
            url = store_url() or tables.url
            if url is None:
                message = f"url or client must be given, or {URL} be set, or the settings have a url"
                raise ValueError(message)
        made = cls(url, client=client, **{**defaults, **tables.registry})
        made._tables = tables
        return made

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()

    def get(self, name: str, **given: Any) -> CircuitBreaker:
        """Return the breaker called `name`; make it if there is none. No I/O.

        Args:
            name: 1 to 1,024 characters, any.
            given: Settings of `CircuitBreaker`. Those that are given must be what the breaker was
                made with.

        Raises:
            TypeError: `name` is no text, or a setting is unknown or of the wrong type.
            ValueError: `name` is empty or too long, a setting is out of its range or not what the
                breaker was made with.
            RuntimeError: The registry is closed.
        """
        if not given:
            try:  # each of the two is one step, so the path of every call needs no lock
                if HAS_GIL:
                    self._remembered.move_to_end(name)
                else:  # two threads that change an `OrderedDict` at once break it
                    with self._lock:
                        self._remembered.move_to_end(name)
                return self._remembered[name]
            except (KeyError, TypeError):  # unknown, forgotten just now, or no name at all
                pass
        name = _plain(name)
        with self._lock:
            breaker = self._remembered.get(name) or self._living.get(name)
            if breaker is None:
                breaker = self._make(name, given)
            elif given:
                self._compare(name, breaker, given)
            self._remember(name, breaker)
            return breaker

    def names(self) -> tuple[str, ...]:
        """Return the names that are remembered; the one asked for longest ago comes first."""
        return tuple(self._copy())

    def __iter__(self) -> Iterator[CircuitBreaker]:
        """Iterate over the breakers that are remembered now."""
        return iter(self._copy().values())

    def _held(self) -> list[CircuitBreaker]:
        found = [reference() for reference in self._living.valuerefs()]
        return [breaker for breaker in found if breaker is not None]

    def _copy(self) -> dict[str, CircuitBreaker]:
        with self._lock:
            while True:
                try:
                    return dict(self._remembered)
                except RuntimeError:  # another thread, which needs no lock for that, has moved one meanwhile
                    continue

    def __len__(self) -> int:
        """Count the breakers that are remembered."""
        return len(self._remembered)

    def stored(self) -> StoredCircuits:
        """Return what finds and reads the circuits in the store, whoever has made them. No I/O yet.

        Raises:
            ValueError: The store is `memory://`, where `names` and iterating tell all there are.
        """
        return StoredCircuits(listing_on(self._client) if self._url is None else listing_of(self._url))

    def reset_all(self) -> None:
        """Reset the circuits of all breakers that are remembered or held by anybody, in the store."""
        for breaker in self._held():
            breaker.reset()

    async def reset_all_async(self) -> None:
        """Reset the circuits of all breakers that are remembered or held by anybody, in the store."""
        for breaker in self._held():
            await breaker.reset_async()

    def close(self) -> None:
        """Forget all breakers; what nobody holds closes its connections. Can be called again."""
        with self._lock:
            self._closed = True
            self._remembered.clear()

    def __enter__(self) -> Self:
        """Return the registry."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return the registry."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _remember(self, name: str, breaker: CircuitBreaker) -> None:
        self._remembered[name] = self._living[name] = breaker
        self._remembered.move_to_end(name)
        if len(self._remembered) > self._max_breakers:
            self._remembered.popitem(last=False)

    def _make(self, name: str, given: dict[str, Any]) -> CircuitBreaker:
        if self._closed:
            raise RegistryClosedError
        check_name(name)
        made_with = {**self._defaults, **self._tables.settings_of(name), **checked(given)}
        breaker = CircuitBreaker(state_storage=self._storage(name), name=name, **made_with)
        breaker._made_with = made_with  # noqa: SLF001  ours to keep there
        return breaker

    def _storage(self, name: str) -> Storage:
        if self._url is not None:
            return from_url(self._url, name, **self._stored)
        return from_client(self._client, name, **self._stored)

    def _compare(self, name: str, breaker: CircuitBreaker, given: dict[str, Any]) -> None:
        found = differences(breaker._made_with, given)  # noqa: SLF001
        if found:
            message = (
                f"the breaker {name!r} was made with other settings: {'; '.join(found)}. Give the same, or leave it out"
            )
            raise ValueError(message)


def _plain(name: Any) -> str:
    """Return a member of an enumeration of texts as the text that it is: some are told from it by `str()`.

    Raises:
        TypeError: It is no text, and perhaps nothing that a dictionary could be asked for.
    """
    return str.__str__(name) if isinstance(name, str) else check_name(name)
