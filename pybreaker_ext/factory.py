"""One call for a breaker: the process has one registry for each URL."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from pybreaker_ext.environment import CONFIG, URL, store_url, variable
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.registry import CircuitBreakerRegistry, RegistryClosedError

if TYPE_CHECKING:
    from pybreaker_ext.breaker import CircuitBreaker


class _Default(int):
    """A default that can be told from the same number given by the caller."""


_FAIL_MAX, _RESET_TIMEOUT, _SUCCESS_THRESHOLD = _Default(5), _Default(30), _Default(2)


class _Registries:
    """The process-wide registries, one for each URL."""

    def __init__(self) -> None:
        #: None stands for the URL that the environment tells.
        self._by_url: dict[str | None, CircuitBreakerRegistry] = {}
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()

    def of(self, url: str | None) -> CircuitBreakerRegistry:
        """Return the registry of a URL; None: of the one that the environment tells."""
        if isinstance(url, str):
            url = str.__str__(url)  # a class of one's own may be nothing that a dictionary can be asked for
        elif url is not None:
            return _new(url)  # which says that it is no text
        found = self._by_url.get(url)
        if found is not None:
            return found
        with self._lock:
            found = self._by_url.get(url)
            if found is None:
                made = _new(url)
                place = made._url  # noqa: SLF001  the registries' own cupboard
                found = self._by_url[url] = self._by_url.setdefault(place, made)
            return found

    def get(self, url: str | None, name: str, given: dict[str, Any]) -> CircuitBreaker:
        """Return the breaker called `name` in the store of a URL."""
        return self.of(url).get(name, **given)

    def known(self) -> list[CircuitBreakerRegistry]:
        """Return all registries."""
        with self._lock:
            return list(dict.fromkeys(self._by_url.values()))

    def take_all(self) -> list[CircuitBreakerRegistry]:
        """Return all registries, and forget them."""
        with self._lock:
            taken = list(self._by_url.values())
            self._by_url.clear()
            return taken


def _new(url: str | None) -> CircuitBreakerRegistry:
    if variable(CONFIG):
        return CircuitBreakerRegistry.from_file(url=url)
    if url is None and store_url() is None:
        message = f"redis_url must be given, or {URL} be set, or {CONFIG} name a file that has a url"
        raise ValueError(message)
    return CircuitBreakerRegistry(url)


_registries = _Registries()


def get_circuit_breaker(
    redis_url: str | None = None,
    name: str = "llm_breaker",
    fail_max: int = _FAIL_MAX,
    reset_timeout: float = _RESET_TIMEOUT,
    success_threshold: int = _SUCCESS_THRESHOLD,
    **more: Any,
) -> CircuitBreaker:
    """Return the breaker called `name` in the store that a URL tells: the same object from everywhere. No I/O.

    Args:
        redis_url: `redis://`, `rediss://`, `unix://`, `redis+cluster://`, `redis+sentinel://`,
            `sqlite:///` or `memory://`. None: what the environment variable `PYBREAKER_EXT_URL`
            tells, or else the settings file.
        name: 1 to 1,024 characters, any.
        fail_max: Consecutive failures that open the circuit; at least 1.
        reset_timeout: Seconds for which the circuit stays open before it is probed; 0 or more.
        success_threshold: Successful probes that close the circuit; at least 1.
        more: Other settings of `CircuitBreaker`.

    What isn't given is as in the settings file that the environment variable `PYBREAKER_EXT_CONFIG`
    tells, if it tells one. Both variables are read when a URL is used for the first time.

    Raises:
        ImportError: There is a settings file, and what reads it isn't installed.
        OSError: The settings file can't be read.
        TypeError: `redis_url` or `name` is no text, or a setting is unknown or of the wrong type.
        ValueError: An argument is out of its range, a setting that is given isn't what the
            breaker was made with, nothing tells a URL, or something in the settings file is wrong.
    """
    numbers = {"fail_max": fail_max, "reset_timeout": reset_timeout, "success_threshold": success_threshold}
    given = {setting: value for setting, value in numbers.items() if not isinstance(value, _Default)}
    while True:
        try:
            return _registries.get(redis_url, name, {**given, **more})
        except RegistryClosedError:  # by `reset_all_breakers`, just now
            continue


def reset_all_breakers() -> None:
    """Reset all circuits that `get_circuit_breaker` has made here, and forget them; for test suites."""
    for registry in _registries.take_all():
        registry.reset_all()
        registry.close()
