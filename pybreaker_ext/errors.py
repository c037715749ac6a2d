"""The errors of this package. Imports nothing of ours, so that every module may import it."""

from __future__ import annotations

from typing import Any

import pybreaker

#: Why a call was refused, or replaced the call's own error; pybreaker 1.4.1's words where it has some.
STILL_OPEN = "Timeout not elapsed yet, circuit breaker still open"
NO_PERMIT = "Trial calls in progress, circuit breaker half-open"
TRIPPED = "Failures threshold reached, circuit breaker opened"
TRIAL_FAILED = "Trial call failed, circuit breaker opened"


class CircuitBreakerError(pybreaker.CircuitBreakerError):
    """The circuit breaker refused a call, or a call's failure has just opened the circuit.

    In the first case the function did not run and `__cause__` is None. In the second
    (`throw_new_error_on_trip`), `__cause__` is the call's own error.

    Attributes:
        breaker_name: The breaker's name, or None.
        state: The circuit's state after the decision: `"open"` or `"half-open"`.
        retry_after: Seconds until the next call may be admitted, `math.inf` when the circuit
            stays open until somebody closes it. Another caller may be faster.
        reason: Why the circuit is open: `"failures"`, `"hold"`, `"manual"`, or `""` when
            nobody knows (a foreign program opened it).
    """

    def __init__(
        self,
        message: str = STILL_OPEN,
        *,
        breaker_name: str | None = None,
        state: str = "open",
        retry_after: float = 0.0,
        reason: str = "",
    ) -> None:
        if self.args != (message,):  # else `__new__` has kept it, and a call of `super()` would only take time
            self.args = (message,)
        self.breaker_name = breaker_name
        self.state = state
        self.retry_after = retry_after
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep the attributes when the error travels between processes."""
        return _rebuilt, (type(self), self.args, self.__dict__)


def _rebuilt(cls: type[CircuitBreakerError], args: tuple[Any, ...], attributes: dict[str, Any]) -> CircuitBreakerError:
    error = cls.__new__(cls, *args)
    error.__dict__.update(attributes)
    return error


class FailedResult(Exception):  # noqa: N818  named for what it holds; it is never raised
    """A result that `failure_result` judged to be a failure. Told to listeners, never raised.

    Attributes:
        result: What the call returned.
    """

    def __init__(self, result: object) -> None:
        super().__init__(result)
        self.result = result


class IncompleteStreamError(Exception):
    """The stream ended before its answer was complete."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class StoreBusyError(Exception):
    """All of the user's own connections are in use. Stays inside the package; the store isn't away."""


class StoreUnavailableError(Exception):
    """The store could not be asked: a connection, a time-out or the server's own error.

    Raised by `history()` and `StoredCircuits`; protected calls and readings never raise it. `__cause__` is the
    store's own error, if there is one.
    """
