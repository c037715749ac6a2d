"""The attempts of one call. tenacity has the loop and the back-off; when to give up is decided here."""

from __future__ import annotations

import logging
import math
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pybreaker

from pybreaker_ext.ended import FAILURE, PENDING, REJECTED, SUCCESS, Ended, is_held, open_for, raised, returned
from pybreaker_ext.machine import HOLD
from pybreaker_ext.outcome import matches

try:
    from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_result, wait_exponential, wait_random
except ImportError as error:
    message = 'pybreaker_ext.retry needs tenacity, which comes with: pip install "pybreaker-ext[retry]"'
    raise ImportError(message) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pybreaker_ext.breaker import CircuitBreaker
    from pybreaker_ext.retry import RetryPolicy

R = TypeVar("R")

logger = logging.getLogger("pybreaker_ext.retry")

_NOTE: Final = "RetryPolicy: "


class Attempts:
    """One call through a breaker, tried again as a policy allows.

    Args:
        policy: Says when.
        breaker: Judges what each attempt has come to.
        being_cancelled: Tells whether somebody wants the caller to stop, in case that its function
            has made an error of its own of the `CancelledError`.
    """

    def __init__(
        self, policy: RetryPolicy, breaker: CircuitBreaker, being_cancelled: Callable[[], bool] = lambda: False
    ) -> None:
        self._policy = policy
        self._breaker = breaker
        self._being_cancelled = being_cancelled
        self._began = policy.clock()
        self._count = 0
        self._ended = Ended(PENDING)
        self._reason = ""
        longest = max(0.0, policy.maximum - policy.jitter) if policy.initial else 0.0
        self._back_off = wait_exponential(multiplier=policy.initial, exp_base=policy.multiplier, max=longest)
        self._jitter = wait_random(0, min(policy.jitter, policy.maximum))

    def run(self, call: Callable[[], R]) -> R:
        """Return what the last attempt returns, or raise what it raises."""

        def attempt() -> None:
            try:
                value = call()
            except Exception as error:  # noqa: BLE001  raised at the end
                self._came_to(raised(self._breaker, error))
            else:
                self._came_to(returned(self._breaker, value))

        Retrying(sleep=self._policy.sleep, **self._rules())(attempt)
        last: R = self._conclude()
        return last

    async def run_async(self, call: Callable[[], Awaitable[R]]) -> R:
        """Return what the last attempt returns, or raise what it raises."""

        async def attempt() -> None:
            try:
                value = await call()
            except Exception as error:  # noqa: BLE001  raised at the end
                self._came_to(raised(self._breaker, error))
            else:
                self._came_to(returned(self._breaker, value))

        await AsyncRetrying(sleep=self._policy.sleep_async, **self._rules())(attempt)
        last: R = self._conclude()
        return last

    def _rules(self) -> dict[str, Any]:
        """Return what tenacity asks after each attempt, in its order. It sees no error and no result.

        What it saw, it would keep until the garbage collector comes.
        """
        return {
            "retry": retry_if_result(lambda _: self._ended.kind not in (SUCCESS, PENDING)),
            "wait": lambda state: max(self._back_off(state), self._ended.wait) + self._jitter(state),
            "stop": self._gives_up,
            "retry_error_callback": lambda _: None,
        }

    def _came_to(self, ended: Ended) -> None:
        self._ended = ended
        if ended.kind in (REJECTED, PENDING):
            return
        self._count += 1
        if self._count == 1 and self._policy.budget is not None:
            self._policy.budget.add_call()

    def _gives_up(self, state: RetryCallState) -> bool:
        self._reason = next(self._reasons(self._ended, state.upcoming_sleep), "")
        return bool(self._reason)

    def _reasons(self, ended: Ended, wait: float) -> Iterator[str]:
        """Yield why there is no further attempt; the budget is asked last, because that spends of it."""
        policy = self._policy
        if self._being_cancelled():
            yield "the caller is being cancelled"
        if isinstance(ended.error, pybreaker.CircuitBreakerError):
            yield f"the circuit is {getattr(ended.error, 'state', 'open')}"
        if ended.kind not in (FAILURE, HOLD):
            yield "it is no failure of the backend"
        if ended.is_mistake:
            yield "it is the caller's mistake"
        if policy.on is not None and not any(_matches(matcher, ended.cause) for matcher in policy.on):
            yield "it isn't among those to retry on"
        if open_for(self._breaker) and not is_held(self._breaker):
            yield "the circuit is open"
        if self._count == policy.max_attempts:
            yield "no more are allowed"
        if wait == math.inf or self._elapsed + wait > policy.max_elapsed:
            yield f"the next one would begin after more than {policy.max_elapsed:g} s"
        if policy.budget is not None and not policy.budget.take():
            yield "the budget for retries is spent"

    @property
    def _elapsed(self) -> float:
        return self._policy.clock() - self._began

    def _conclude(self) -> Any:
        """Return or raise what the last attempt has come to."""
        ended, self._ended = self._ended, Ended(PENDING)
        error = ended.error
        if error is None:
            return ended.value
        attempts = "1 attempt" if self._count == 1 else f"{self._count} attempts"
        _note(error, f"{attempts} in {self._elapsed:.2f} s; no more, because {self._reason or 'it is excluded'}")
        try:
            raise error
        finally:
            del ended, error  # or the error, its traceback and this frame would keep one another alive


def _matches(matcher: Any, error: Exception) -> bool:
    try:
        return matches(matcher, error)
    except Exception as fault:
        fault.__context__ = None  # the call's own error, whose text nobody has redacted
        logger.exception("A rule of `on` failed to judge %s, which isn't retried", type(error).__name__)
        return False


def _note(error: Exception, text: str) -> None:
    """Put a note on the error, in the place of an older one: some errors are raised again and again."""
    with suppress(Exception):  # an error may be of a class that takes none
        notes = getattr(error, "__notes__", [])
        notes[:] = [note for note in notes if not str(note).startswith(_NOTE)]
        error.add_note(_NOTE + text)
