"""Settings that are given for a breaker by name: checked, and compared with those that it was made with."""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext import settings
from pybreaker_ext.breaker import CircuitBreaker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: What can be given, and what it is otherwise.
_DEFAULTS: Final[Mapping[str, Any]] = {
    name: parameter.default
    for name, parameter in inspect.signature(CircuitBreaker).parameters.items()
    if name not in ("name", "state_storage")
}

#: May be given as anything that can be iterated over, once perhaps.
_LISTS: Final[Mapping[str, Callable[[Any], list[Any]]]] = {
    "listeners": settings.listeners,
    **{name: functools.partial(settings.matchers, name) for name in ("exclude", "include", "ignore")},
}


def checked(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings, with lists for what may be any iterable; raise when a breaker would refuse them."""
    for setting in given:
        if setting not in _DEFAULTS:
            message = f"{setting} is no setting of a breaker made by name; there are {', '.join(sorted(_DEFAULTS))}"
            raise TypeError(message)
    found: dict[str, Any] = {name: _LISTS[name](value) if name in _LISTS else value for name, value in given.items()}
    if found:
        CircuitBreaker(**found)
    return found


def differences(made_with: Mapping[str, Any], given: Mapping[str, Any]) -> list[str]:
    """Return, in words, where `given` is not what a breaker was made with; raise when a breaker would refuse it."""
    others = {setting: value for setting, value in given.items() if not _is(made_with, setting, value)}
    return [
        f"{setting} is {_of(made_with, setting)!r}, not {value!r}"
        for setting, value in checked(others).items()
        if not _is(made_with, setting, value)
    ]


def _of(made_with: Mapping[str, Any], setting: str) -> Any:
    found = made_with.get(setting, _DEFAULTS.get(setting))
    return [] if found is None and setting in _LISTS else found


def _is(made_with: Mapping[str, Any], setting: str, value: Any) -> bool:
    has = _of(made_with, setting)
    return setting in _DEFAULTS and (has is value or bool(has == value))
