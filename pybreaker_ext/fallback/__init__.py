"""Fallback: a chain of targets, each behind a breaker of its own, of which the first that is well answers."""

from __future__ import annotations

import functools
import math
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from pybreaker_ext import settings
from pybreaker_ext.ended import ended, ended_async
from pybreaker_ext.fallback.answers import AllTargetsFailedError, Attempt, FallbackResult
from pybreaker_ext.fallback.course import Course
from pybreaker_ext.fallback.search import search, search_async
from pybreaker_ext.fallback.stream import FallbackStream, Opening
from pybreaker_ext.fallback.target import Target
from pybreaker_ext.kinds import ASYNC_GENERATOR, COROUTINE, GENERATOR, kind_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Coroutine, Iterable

    from pybreaker_ext.ended import Ended

__all__ = ("AllTargetsFailedError", "Attempt", "FallbackChain", "FallbackResult", "FallbackStream", "Target")

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class FallbackChain(Generic[P, R]):
    """Calls the first of some targets; if it fails or its circuit is open, the next one, and so on.

    One chain may serve any number of calls and threads. Each call begins with the first target, so
    traffic returns to it when its circuit lets calls in again.

    Args:
        targets: At least one, in order; their names differ.
        deadline: Seconds, above 0, for all targets and their retries; None: no limit. In asyncio
            it cancels what runs. In threads nothing can: it is looked at before each target and
            each retry.
        fall_back_on: Exception types and predicates, or one of them, on which the next target is
            tried, too. Otherwise what a target's breaker judges to be neutral or excluded, and
            clients' mistakes (see `pybreaker_ext.http.is_client_error`), are the caller's at once.
        clock: Returns seconds that never go back. Tests pass their own.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: There is no target, two have the same name, or `deadline` is out of its range.
    """

    def __init__(
        self,
        targets: Iterable[Target[P, R]],
        *,
        deadline: float | None = None,
        fall_back_on: Any = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._targets = _checked(targets)
        self._deadline = math.inf if deadline is None else settings.positive_seconds("deadline", deadline)
        self._fall_back_on = settings.one_or_more_matchers("fall_back_on", fall_back_on)
        self._clock = settings.needed_function("clock", clock)
        self._kinds = {kind_of(target.func) for target in self._targets}

    @overload
    def call(  # type: ignore[overload-overlap]
        self: FallbackChain[P, Coroutine[Any, Any, T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, FallbackResult[T]]: ...

    @overload
    def call(self, /, *args: P.args, **kwargs: P.kwargs) -> FallbackResult[R]: ...

    def call(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the targets' functions with these arguments, in order, until one answers.

        Returns:
            A `FallbackResult`: the answer, who has given it, and what was tried before. If a
            target's function is a coroutine function, an awaitable of it.

        Raises:
            AllTargetsFailedError: No target has answered.
            TypeError: A function makes a generator.
            Exception: A target's own error that says nothing against the target, with a note of what
                was tried before.
        """
        if self._kinds & {GENERATOR, ASYNC_GENERATOR}:
            message = "a generator function's target needs stream, not call"
            raise TypeError(message)
        return self.call_async(*args, **kwargs) if COROUTINE in self._kinds else self._call(args, kwargs)

    def _call(self, args: Any, kwargs: Any) -> Any:
        def attempt_of(target: Target[Any, Any]) -> Callable[[], Ended]:
            one = functools.partial(target.breaker.call, target.func, *args, **kwargs)
            return functools.partial(ended, target.breaker, one)

        course = self._course()
        try:
            found = search(course, attempt_of)
            if type(found.value) is not CoroutineType:
                return found
            course.step_back()  # nothing has run yet
            return self._call_async(course, args, kwargs, found.value)
        finally:
            del course  # what it holds are errors, whose tracebacks hold this frame
            found = None  # type: ignore[assignment]

    @overload
    def call_async(
        self: FallbackChain[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, FallbackResult[T]]: ...

    @overload
    def call_async(self, /, *args: P.args, **kwargs: P.kwargs) -> Coroutine[Any, Any, FallbackResult[R]]: ...

    async def call_async(self, /, *args: Any, **kwargs: Any) -> Any:
        """Call the targets' functions with these arguments, in order, until one answers.

        Returns:
            A `FallbackResult`: the answer, who has given it, and what was tried before.

        Raises:
            AllTargetsFailedError: No target has answered.
            TypeError: A function makes a generator.
            Exception: A target's own error that says nothing against the target, with a note of what
                was tried before.
        """
        return await self._call_async(self._course(), args, kwargs)

    async def _call_async(self, course: Course, args: Any, kwargs: Any, made: Any = None) -> FallbackResult[Any]:
        """Go on with a call; what the first target's function has `made` already is awaited first."""
        first = [made] if made is not None else []

        def attempt_of(target: Target[Any, Any]) -> Callable[[], Awaitable[Ended]]:
            again = functools.partial(target.breaker.call_async, target.func, *args, **kwargs)
            return functools.partial(ended_async, target.breaker, lambda: first.pop() if first else again())

        try:
            return await search_async(course, attempt_of)
        finally:
            del course  # what it holds are errors, whose tracebacks hold this frame

    @overload
    def stream(
        self: FallbackChain[P, Awaitable[AsyncIterable[T]]], /, *args: P.args, **kwargs: P.kwargs
    ) -> FallbackStream[T]: ...

    @overload
    def stream(
        self: FallbackChain[P, AsyncIterable[T] | Iterable[T]], /, *args: P.args, **kwargs: P.kwargs
    ) -> FallbackStream[T]: ...

    @overload
    def stream(self, /, *args: P.args, **kwargs: P.kwargs) -> FallbackStream[Any]: ...

    def stream(self, /, *args: Any, **kwargs: Any) -> Any:
        """Return the stream of the first target that sends a first chunk, through `CircuitBreaker.stream`.

        Nothing is called before it is iterated: `for` and `with`, or `async for` and `async with`.
        Until the first chunk has been delivered, a target that fails gives way to the next one, and
        its retry policy may open its stream again. From then on there is no way back, and its error
        is the consumer's. The deadline is for the first chunk.

        Args:
            args: Arguments of the targets' functions.
            kwargs: Their keyword arguments.
        """
        return FallbackStream(Opening(self._course, args, kwargs))

    def _course(self) -> Course:
        return Course(self._targets, self._deadline, self._fall_back_on, self._clock)


def _checked(targets: Any) -> tuple[Target[Any, Any], ...]:
    try:
        found = tuple(targets)
    except TypeError:
        message = f"targets must be a list of Targets, not {targets!r}"
        raise TypeError(message) from None
    for target in found:
        if not isinstance(target, Target):
            message = f"targets must hold Targets only, not {target!r}"
            raise TypeError(message)
    names = [target.name for target in found]
    if not found or len(set(names)) < len(names):
        message = f"targets must be at least one, with names that differ, not {names!r}"
        raise ValueError(message)
    return found
