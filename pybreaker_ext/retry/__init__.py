"""Retries around a breaker: each attempt is a call of its own through it. Needs tenacity, the extra `retry`.

What may be retried is said by the breaker: what it judged to be a failure or a hold.
"""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import math
import time
from dataclasses import dataclass, field
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, cast, overload

from pybreaker_ext import settings
from pybreaker_ext.breaker import CircuitBreaker
from pybreaker_ext.cancelling import cancelling
from pybreaker_ext.ended import ended, ended_async
from pybreaker_ext.kinds import ASYNC_GENERATOR, COROUTINE, GENERATOR, kind_of
from pybreaker_ext.retry.budget import RetryBudget
from pybreaker_ext.retry.loop import Attempts

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ("RetryBudget", "RetryPolicy")

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class RetryPolicy:
    """How often and when a call is tried again. One policy may serve any number of calls, breakers and threads.

    The wait after attempt number n + 1, with n = 0 for the first, is `initial * multiplier**n`
    seconds, at most `maximum - jitter`, and by chance up to `jitter` longer, so that many callers
    don't come back at once. If the backend or a hold asks for a longer wait, it is that, and up to
    `jitter` longer.

    Args:
        initial: Seconds, 0 or more.
        maximum: Seconds, 0 or more. Only what the backend asks for makes a wait longer.
        multiplier: At least 1.
        jitter: Seconds, 0 or more.
        max_elapsed: Seconds, 0 or more, from the beginning of the first attempt, within which the
            last one must begin; `math.inf` for no end. An attempt that runs is not interrupted.
        max_attempts: All attempts, the first included, 1 or more; None for no limit.
        on: Exception types and predicates, or one of them: nothing else is retried, of what would
            be. A result that was judged to be a failure comes as a `FailedResult`.
        budget: Shared with all calls that are to share it; None for no limit.
        clock: Returns seconds that never go back. Tests pass their own.
        sleep: Waits for so many seconds, in a thread.
        sleep_async: Waits for so many seconds, in a coroutine.

    Raises:
        ImportError: tenacity isn't installed.
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.
    """

    initial: float = 0.1
    maximum: float = 10.0
    multiplier: float = 2.0
    jitter: float = 0.5
    max_elapsed: float = 120.0
    max_attempts: int | None = None
    on: Any = None
    budget: RetryBudget | None = None
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)
    sleep: Callable[[float], None] = field(default=time.sleep, repr=False)
    sleep_async: Callable[[float], Awaitable[None]] = field(default=asyncio.sleep, repr=False)

    def __post_init__(self) -> None:
        """Check the arguments."""
        for name in ("initial", "maximum", "jitter"):
            settings.seconds(name, getattr(self, name))
        settings.number("multiplier", self.multiplier, "a finite number of at least 1", lambda x: 1 <= x < math.inf)
        settings.duration("max_elapsed", self.max_elapsed)
        if self.max_attempts is not None:
            settings.whole_number("max_attempts", self.max_attempts)
        if self.budget is not None and not isinstance(self.budget, RetryBudget):
            message = f"budget must be a RetryBudget or None, not {self.budget!r}"
            raise TypeError(message)
        for name in ("clock", "sleep", "sleep_async"):
            settings.needed_function(name, getattr(self, name))
        if self.on is not None:
            object.__setattr__(self, "on", settings.one_or_more_matchers("on", self.on))

    def call(self, breaker: CircuitBreaker, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call `func` through `breaker`, and again while it fails and this policy allows it.

        What the breaker judges to be a failure or a hold is tried again, be it an error or a
        result. Never retried are rejections, the failure that opens the circuit, what counts as
        neutral or as excluded, and clients' mistakes (see `pybreaker_ext.http.is_client_error`).
        When the wait that is due, or that the backend or a hold asks for, would end after
        `max_elapsed`, there is none.

        Returns:
            What the last attempt returns: of a coroutine function, or one that returns a
            coroutine, an awaitable.

        Raises:
            CircuitBreakerError: The last attempt was rejected, or its failure has opened the circuit.
            TypeError: `func` makes a generator, which can't be begun again; or `breaker` is none.
            Exception: What `func` has raised at last, with a note that says how many attempts took
                how long. Rejected ones don't count.
        """
        kind = _checked(breaker, func)
        if kind is COROUTINE:
            return cast("R", self.call_async(breaker, func, *args, **kwargs))
        one = functools.partial(ended, breaker, lambda: breaker.call(func, *args, **kwargs))
        attempts = self._attempts(breaker)
        made = attempts.run(one).result()
        if type(made) is CoroutineType:  # nothing has run yet
            return cast("R", self._go_on_with(attempts, made, breaker, func, args, kwargs))
        return cast("R", _no_stream(made))

    @overload
    def call_async(
        self, breaker: CircuitBreaker, func: Callable[P, Awaitable[R]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

    @overload
    def call_async(
        self, breaker: CircuitBreaker, func: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, R]: ...

    async def call_async(self, breaker: CircuitBreaker, func: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Call `func` through `breaker`, and again while it fails and this policy allows it.

        What the breaker judges to be a failure or a hold is tried again, be it an error or a
        result. Never retried are rejections, the failure that opens the circuit, what counts as
        neutral or as excluded, and clients' mistakes (see `pybreaker_ext.http.is_client_error`).
        When the wait that is due, or that the backend or a hold asks for, would end after
        `max_elapsed`, there is none. Cancelling ends it at once, in a wait, too.

        Returns:
            What the last attempt returns; if that has to be awaited, what it comes to.

        Raises:
            CircuitBreakerError: The last attempt was rejected, or its failure has opened the circuit.
            TypeError: `func` makes a generator, which can't be begun again; or `breaker` is none.
            Exception: What `func` has raised at last, with a note that says how many attempts took
                how long. Rejected ones don't count.
        """
        _checked(breaker, func)
        one = functools.partial(ended_async, breaker, lambda: breaker.call_async(func, *args, **kwargs))
        return _no_stream((await self._attempts(breaker, cancelling()).run_async(one)).result())

    def __call__(self, breaker: CircuitBreaker, /) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function, which is then called through `breaker`: `@policy(breaker)`. It needs no `@breaker`."""
        _checked_breaker(breaker)
        return functools.partial(self._decorated, breaker)

    def within(self, seconds: float) -> RetryPolicy:
        """Return this policy with so many seconds, 0 or more, as `max_elapsed`, unless it has less."""
        return self if seconds >= self.max_elapsed else dataclasses.replace(self, max_elapsed=seconds)

    def _attempts(self, breaker: CircuitBreaker, being_cancelled: Callable[[], bool] = lambda: False) -> Attempts:
        return Attempts(self, breaker, being_cancelled)

    async def _go_on_with(
        self, attempts: Attempts, made: Any, breaker: CircuitBreaker, func: Any, args: Any, kwargs: Any
    ) -> Any:
        """Await what a call has returned, and call again if that fails. What failed before it counts on."""
        first, again = [made], functools.partial(breaker.call_async, func, *args, **kwargs)
        one = functools.partial(ended_async, breaker, lambda: first.pop() if first else again())
        return (await attempts.go_on(cancelling()).run_async(one)).result()

    def _decorated(self, breaker: CircuitBreaker, func: Any) -> Any:
        if isinstance(func, (staticmethod, classmethod)):
            return type(func)(self._decorated(breaker, func.__func__))
        if _checked(breaker, func) is COROUTINE:

            @functools.wraps(func)
            async def retried_async(*args: Any, **kwargs: Any) -> Any:
                return await self.call_async(breaker, func, *args, **kwargs)

            return retried_async

        @functools.wraps(func)
        def retried(*args: Any, **kwargs: Any) -> Any:
            return self.call(breaker, func, *args, **kwargs)

        return retried


def _checked(breaker: Any, func: Any) -> str:
    """Return the kind of a function that may be retried through `breaker`."""
    _checked_breaker(breaker)
    if not callable(func):
        message = f"only a function can be called, not {func!r}"
        raise TypeError(message)
    kind = kind_of(func)
    if kind is GENERATOR or kind is ASYNC_GENERATOR:
        raise _not_again(func)
    return kind


def _checked_breaker(breaker: Any) -> None:
    if not isinstance(breaker, CircuitBreaker):
        message = f"breaker must be a pybreaker_ext.CircuitBreaker, not {breaker!r}"
        raise TypeError(message)


def _no_stream(made: R) -> R:
    if type(made) is GeneratorType or type(made) is AsyncGeneratorType:
        raise _not_again(made)
    return made


def _not_again(func: object) -> TypeError:
    return TypeError(f"{func!r} is a generator or makes one, which can't be retried once it has begun")
