"""The attempts of one call. tenacity has the loop and the back-off; when to give up is decided here."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pybreaker

from pybreaker_ext.ended import FAILURE, PENDING, REJECTED, SUCCESS, Ended, is_tripped
from pybreaker_ext.machine import HOLD
from pybreaker_ext.notes import put_note

try:
    from tenacity import AsyncRetrying, RetryCallState, Retrying, retry_if_result, wait_exponential, wait_random
except ImportError as error:
    message = 'pybreaker_ext.retry needs tenacity, which comes with: pip install "pybreaker-ext[retry]"'
    raise ImportError(message) from error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from pybreaker_ext.breaker import CircuitBreaker
    from pybreaker_ext.retry import RetryPolicy


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
        #: The last one that was no rejection and isn't pending, and when it ended.
        self._before = Ended(PENDING)
        self._before_at = self._began
        self._reason = ""
        longest = max(0.0, policy.maximum - policy.jitter) if policy.initial else 0.0
        self._back_off = wait_exponential(multiplier=policy.initial, exp_base=policy.multiplier, max=longest)
        self._jitter = wait_random(0, min(policy.jitter, policy.maximum))

    def run(self, attempt: Callable[[], Ended]) -> Ended:
        """Return what the last attempt has come to."""

        def one() -> None:
            self._came_to(attempt())

        Retrying(sleep=self._policy.sleep, **self._rules())(one)
        return self._last()

    async def run_async(self, attempt: Callable[[], Awaitable[Ended]]) -> Ended:
        """Return what the last attempt has come to."""

        async def one() -> None:
            self._came_to(await attempt())

        await AsyncRetrying(sleep=self._policy.sleep_async, **self._rules())(one)
        return self._last()

    def go_on(self, being_cancelled: Callable[[], bool]) -> Attempts:
        """Return these attempts, to be gone on with in asyncio; if none was made yet, time begins now."""
        self._being_cancelled = being_cancelled
        if not self._count:
            self._began = self._policy.clock()
        return self

    def cut(self) -> Ended:
        """Return what the last attempt came to that has ended, when there is no time for more; `pending`: none has."""
        self._ended, self._reason = self._before, "the deadline came before the next one's end"
        wait = max(0.0, self._ended.wait - (self._policy.clock() - self._before_at))
        return self._last()._replace(wait=wait)

    @property
    def count(self) -> int:
        """How many have ended, rejected ones apart."""
        return self._count

    def _rules(self) -> dict[str, Any]:
        """Return what tenacity asks after each attempt, in its order. It sees no error and no result.

        What it saw, it would keep until the garbage collector comes.
        """
        return {
            "retry": retry_if_result(lambda _: self._ended.kind not in (SUCCESS, PENDING)),
            "wait": self._wait,
            "stop": self._gives_up,
            "retry_error_callback": lambda _: None,
        }

    def _wait(self, state: RetryCallState) -> float:
        state.attempt_number = self._count  # which those count in that were made before asyncio
        return max(self._back_off(state), self._ended.wait) + self._jitter(state)

    def _came_to(self, ended: Ended) -> None:
        self._ended = ended
        if ended.kind in (REJECTED, PENDING):
            return
        self._before, self._before_at = ended, self._policy.clock()
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
        if policy.on is not None and not ended.matches(policy.on):
            yield "it isn't among those to retry on"
        if is_tripped(self._breaker):
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

    def _last(self) -> Ended:
        """Return what is left, and forget it: its traceback may hold this."""
        ended, self._ended = self._ended, Ended(PENDING)
        if ended.kind != PENDING:
            self._before = Ended(PENDING)
        if ended.error is not None:
            attempts = "1 attempt" if self._count == 1 else f"{self._count} attempts"
            reason = self._reason or "it is excluded"
            put_note(ended.error, "RetryPolicy", f"{attempts} in {self._elapsed:.2f} s; no more, because {reason}")
        return ended
