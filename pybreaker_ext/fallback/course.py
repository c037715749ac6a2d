"""One call's way along a chain: whom it has tried, and whether it goes on. Nothing here waits."""

from __future__ import annotations

import math
from collections import deque
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from pybreaker_ext.ended import FAILURE, PENDING, REJECTED, Ended, open_for, raised
from pybreaker_ext.fallback.answers import TIMEOUT, AllTargetsFailedError, Attempt, FallbackResult, told
from pybreaker_ext.fallback.target import Once
from pybreaker_ext.machine import HOLD
from pybreaker_ext.notes import put_note

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybreaker_ext.fallback.target import Target
    from pybreaker_ext.retry.loop import Attempts


class Course:
    """One call's way.

    Args:
        targets: The chain's, in order.
        deadline: Seconds for all of them.
        fall_back_on: Errors that are to be fallen back on besides failures, holds and rejections.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        targets: Sequence[Target[Any, Any]],
        deadline: float,
        fall_back_on: Sequence[Any],
        clock: Callable[[], float],
    ) -> None:
        #: Tells whether somebody wants the caller to stop, in case that a function has made an error
        #: of its own of the `CancelledError`.
        self.being_cancelled: Callable[[], bool] = lambda: False
        self.attempts: tuple[Attempt, ...] = ()
        self._left = deque(targets)
        self._deadline = deadline
        self._fall_back_on = fall_back_on
        self._clock = clock
        self._until = clock() + deadline
        #: The one that is being tried, and what tries it.
        self.target = targets[0]
        self.tries: Attempts | Once = Once()
        self._again = False
        self._began = clock()
        #: When each target that was tried may be called again.
        self._free_at: list[float] = []

    @property
    def remaining(self) -> float:
        """Seconds until the deadline; 0 or less when it is over."""
        return self._until - self._clock()

    def next(self) -> Target[Any, Any] | None:
        """Return the target that is to be tried next; None: there is none, or no time."""
        if self._again:
            self._again = False
            return self.target
        if not self._left:
            return None
        self.target, self._began = self._left.popleft(), self._clock()
        self.tries = self.target._tries(self.remaining, self.being_cancelled)
        if self.remaining > 0:
            return self.target
        self._left.clear()
        self.out_of_time()
        return None

    def step_back(self) -> None:
        """Have the target that is being tried be the next one again: what it has returned must be awaited."""
        self._again = True

    def go_on(self, being_cancelled: Callable[[], bool]) -> None:
        """Have the rest of the way be one of asyncio; if nothing was tried yet, time begins now."""
        self.being_cancelled = being_cancelled
        self.tries.go_on(being_cancelled)
        if not self.attempts and not self.tries.count:
            self._began = self._clock()
            self._until = self._began + self._deadline

    def goes_on(self, ended: Ended) -> bool:
        """Note what the target has come to, and tell whether the next one is to be tried."""
        if self.being_cancelled() or not self._falls_back_on(ended):
            return False
        self._note(ended.kind, ended.cause, ended.wait)
        return True

    def out_of_time(self, error: Exception | None = None) -> None:
        """Note that the deadline came before the target's answer, and the `error` that it has made of that."""
        timeout = TimeoutError(f"{self.target.name} had no time left of the chain's {self._deadline:g} s")
        last = self.tries.cut() if error is None else raised(self.target.breaker, error)
        timeout.__cause__ = None if last.kind == PENDING else last.cause
        self._note(TIMEOUT, timeout, max(last.wait, open_for(self.target.breaker)))

    def result(self, ended: Ended) -> FallbackResult[Any]:
        """Return what the target has returned, or raise what it has raised.

        Raises:
            FailedResult: It has failed while the caller was being cancelled, so that nobody else is asked.
            TypeError: It has returned a generator, which has yet to run.
        """
        if ended.kind == PENDING and type(ended.value) is not CoroutineType:
            message = f"the function of {self.target.name!r} returned a generator, which needs stream, not call"
            raise TypeError(message)
        if ended.error is not None and self.attempts:
            put_note(ended.error, "FallbackChain", f"raised by {self.target.name}, after {told(self.attempts)}")
        if ended.error is None and self._falls_back_on(ended):
            raise ended.cause
        return FallbackResult(ended.result(), self.target.name, self.attempts)

    def failure(self) -> AllTargetsFailedError:
        """Return the error that says that no target has answered."""
        return AllTargetsFailedError(
            f"no target has answered: {told(self.attempts)}",
            [attempt.error for attempt in self.attempts],
            retry_after=max(0.0, min(self._free_at) - self._clock()),
            attempts=self.attempts,
        )

    def _falls_back_on(self, ended: Ended) -> bool:
        if ended.kind in (FAILURE, HOLD, REJECTED) and not ended.is_mistake:
            return True
        return ended.error is not None and ended.matches(self._fall_back_on)

    def _note(self, outcome: str, error: Exception, wait: float) -> None:
        now = self._clock()
        self.attempts = (*self.attempts, Attempt(self.target.name, outcome, error, now - self._began))
        self._free_at.append(math.inf if wait == math.inf else now + wait)
