"""How a call through a breaker ended, judged as that breaker judges it: for what stands around calls."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pybreaker

from pybreaker_ext import http
from pybreaker_ext.errors import FailedResult
from pybreaker_ext.machine import HOLD, OPEN
from pybreaker_ext.outcome import matches
from pybreaker_ext.quick import is_deferred

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from pybreaker_ext.breaker import CircuitBreaker

logger = logging.getLogger("pybreaker_ext.ended")

SUCCESS: Final = "success"
FAILURE: Final = "failure"
NEUTRAL: Final = "neutral"
#: The circuit let nobody in.
REJECTED: Final = "rejected"
#: It has returned what has yet to run.
PENDING: Final = "pending"


class Ended(NamedTuple):
    """What one call came to."""

    #: `success`, `failure`, `hold`, `neutral`, `rejected` or `pending`; an excluded error is a success.
    kind: str
    value: Any = None
    error: Exception | None = None
    #: Seconds for which the backend or the circuit wants to be left alone.
    wait: float = 0.0

    def result(self) -> Any:
        """Return what the call has returned, or raise what it has raised."""
        if self.error is None:
            return self.value
        try:
            raise self.error
        finally:
            del self  # or the error's traceback and this would keep each other alive

    @property
    def cause(self) -> Exception:
        """The call's error; for a result that counts as one, what listeners are told."""
        return FailedResult(self.value) if self.error is None else self.error

    def matches(self, matchers: Iterable[Any]) -> bool:
        """Tell whether the cause is of one of the types, or satisfies one of the predicates."""
        cause = self.cause
        return any(_matches(matcher, cause) for matcher in matchers)

    @property
    def is_mistake(self) -> bool:
        """Whether it was the caller's own mistake, whatever the breaker has made of it."""
        return http.is_client_error(self.value if self.error is None else self.error)


def ended(breaker: CircuitBreaker, call: Callable[[], Any]) -> Ended:
    """Make a call that goes through `breaker`, and return what it came to."""
    try:
        value = call()
    except Exception as error:  # noqa: BLE001  it is told
        return raised(breaker, error)
    return returned(breaker, value)


async def ended_async(breaker: CircuitBreaker, call: Callable[[], Awaitable[Any]]) -> Ended:
    """Make a call that goes through `breaker`, and return what it came to."""
    try:
        value = await call()
    except Exception as error:  # noqa: BLE001  it is told
        return raised(breaker, error)
    return returned(breaker, value)


def returned(breaker: CircuitBreaker, value: Any) -> Ended:
    """Return what a call came to that has returned `value`."""
    if is_deferred(value):
        return Ended(PENDING, value)
    outcome = breaker._judge.result(value)
    if outcome.kind == SUCCESS:
        return Ended(SUCCESS, value)
    return Ended(outcome.kind, value, wait=_wait(breaker, value, outcome.duration))


def raised(breaker: CircuitBreaker, error: Exception) -> Ended:
    """Return what a call came to that has raised `error`."""
    if isinstance(error, pybreaker.CircuitBreakerError):
        kind = REJECTED if error.__cause__ is None else FAILURE
        return Ended(kind, error=error, wait=getattr(error, "retry_after", 0.0))
    outcome = breaker._judge.error(error, breaker.is_system_error)
    if outcome.kind in (FAILURE, HOLD):
        return Ended(outcome.kind, error=error, wait=_wait(breaker, error, outcome.duration))
    return Ended(outcome.kind, error=error)


def open_for(breaker: CircuitBreaker) -> float:
    """Return the seconds for which the circuit was open when the breaker last looked; 0 unless it was. No I/O."""
    seen = breaker.last_seen
    return seen.retry_after if seen is not None and seen.state == OPEN else 0.0


def is_tripped(breaker: CircuitBreaker) -> bool:
    """Tell whether the circuit was open, and not by a hold, when the breaker last looked. No I/O."""
    seen = breaker.last_seen
    return seen is not None and seen.state == OPEN and seen.reason != HOLD


def _wait(breaker: CircuitBreaker, carrier: object, hold: float) -> float:
    return max(http.retry_after(carrier) or 0.0, hold, open_for(breaker), _chain_asks(carrier))


def _chain_asks(carrier: object) -> float:
    """Return the seconds after which a chain further in may be called again; 0 if it was none that has failed."""
    if not issubclass(type(carrier), ExceptionGroup):
        return 0.0
    # Never by what it says of itself: whose class won't be asked stays its caller's.
    asked = object.__getattribute__(carrier, "__dict__").get("retry_after")
    return asked if isinstance(asked, float) and asked > 0 else 0.0


def _matches(matcher: Any, error: Exception) -> bool:
    try:
        return matches(matcher, error)
    except Exception as fault:
        fault.__context__ = None  # the call's own error, whose text nobody has redacted
        logger.exception("A rule failed to judge %s, which counts as no match", type(error).__name__)
        return False
