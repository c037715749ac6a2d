"""A breaker's settings: checked here, so that errors name the argument, its value and what is allowed."""

from __future__ import annotations

import math
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any

from pybreaker_ext.machine import FOREVER

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


@dataclass(frozen=True, slots=True)
class Backoff:
    """How much longer each further trip keeps the circuit open.

    After trip number n + 1 in a row, with n = 0 for the first, the circuit stays open for
    `reset_timeout * multiplier**n` seconds, at most `maximum` (never below `reset_timeout`), and
    then up to `jitter` of that longer, by chance, so that many circuits don't come back at once.
    A close begins anew.

    Args:
        multiplier: At least 1.
        maximum: Seconds, above 0.
        jitter: Share by which the time may grow, 0 to 1. Never shortens.

    Raises:
        TypeError: An argument is no number.
        ValueError: An argument is out of its range.
    """

    multiplier: float = 2.0
    _: KW_ONLY
    maximum: float = 600.0
    jitter: float = 0.1

    def __post_init__(self) -> None:
        """Check the arguments."""
        number("multiplier", self.multiplier, "a finite number of at least 1", lambda x: 1 <= x < math.inf)
        positive_seconds("maximum", self.maximum)
        number("jitter", self.jitter, "a number from 0 to 1", lambda x: 0 <= x <= 1)


def whole_number(argument: str, value: Any, minimum: int = 1) -> int:
    """Return `value`; raise when it isn't a whole number of at least `minimum`."""
    if isinstance(value, bool) or not isinstance(value, int):
        message = f"{argument} must be a whole number of at least {minimum}, not {value!r}"
        raise TypeError(message)
    if value < minimum:
        message = f"{argument} must be at least {minimum}, not {value!r}"
        raise ValueError(message)
    if value > FOREVER:  # which a double, and so Redis's Lua, can't tell from its neighbours
        message = f"{argument} must be at most 2**53 - 1, not {value!r}"
        raise ValueError(message)
    return value


def number(argument: str, value: Any, allowed: str, holds: Callable[[float], bool]) -> float:
    """Return `value` as a float; raise when it isn't a number for which `holds` is true."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        message = f"{argument} must be {allowed}, not {value!r}"
        raise TypeError(message)
    try:
        found = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        found = math.nan
    if not holds(found):
        message = f"{argument} must be {allowed}, not {value!r}"
        raise ValueError(message)
    return found


def seconds(argument: str, value: Any) -> float:
    """Return `value`; raise when it isn't a finite number of seconds of at least 0."""
    return number(argument, value, "a finite number of seconds, 0 or more", lambda x: 0 <= x < math.inf)


def positive_seconds(argument: str, value: Any) -> float:
    """Return `value`; raise when it isn't a finite number of seconds above 0."""
    return number(argument, value, "a finite number of seconds above 0", lambda x: 0 < x < math.inf)


def duration(argument: str, value: Any) -> float:
    """Return `value`; raise when it isn't a number of seconds of at least 0; `math.inf` is allowed."""
    return number(argument, value, "a number of seconds, 0 or more, or math.inf", lambda x: x >= 0)


def milliseconds(value: float) -> int:
    """Return seconds as whole milliseconds, rounded up; at most `FOREVER`.

    Rounding to a billionth of a second first keeps 0.07 s from becoming 71 ms.
    """
    return FOREVER if value >= FOREVER / 1000 else math.ceil(round(value * 1000, 6))


def matchers(argument: str, given: Iterable[Any] | None) -> list[Any]:
    """Return exception types and predicates as a list; raise when something else is among them."""
    if given is None:
        return []
    if isinstance(given, (type, str)) or callable(given):
        message = f"{argument} must be a list of exception types and predicates, not {given!r}"
        raise TypeError(message)
    try:
        found = list(given)
    except TypeError:
        message = f"{argument} must be a list of exception types and predicates, not {given!r}"
        raise TypeError(message) from None
    for matcher in found:
        if not callable(matcher):
            message = f"{argument} must hold exception types and predicates only, not {matcher!r}"
            raise TypeError(message)
    return found


def one_or_more_matchers(argument: str, given: Any) -> tuple[Any, ...]:
    """Return exception types and predicates as a tuple; of one, it may be given alone."""
    return tuple(matchers(argument, [given] if callable(given) else given))


def function(argument: str, given: Any) -> Any:
    """Return `given`; raise when it is neither None nor callable."""
    if given is not None and not callable(given):
        message = f"{argument} must be callable or None, not {given!r}"
        raise TypeError(message)
    return given


def needed_function(argument: str, given: Any) -> Any:
    """Return `given`; raise when it isn't callable."""
    if not callable(given):
        message = f"{argument} must be callable, not {given!r}"
        raise TypeError(message)
    return given


def listeners(given: Iterable[Any] | None) -> list[Any]:
    """Return listeners as a list; raise when `given` can't be one."""
    if given is None:
        return []
    try:
        found = list(given)
    except TypeError:
        message = f"listeners must be a list of listeners, not {given!r}"
        raise TypeError(message) from None
    for listener in found:
        if listener is None or isinstance(listener, (type, str)):
            message = f"listeners must hold listener objects only, not {listener!r}"
            raise TypeError(message)
    return found


def backoff(given: Backoff | None) -> Backoff | None:
    """Return `given`; raise when it is neither None nor a `Backoff`."""
    if given is not None and not isinstance(given, Backoff):
        message = f"backoff must be a Backoff or None, not {given!r}"
        raise TypeError(message)
    return given
