"""Fallback: a chain of targets, each behind a breaker of its own, of which the first that is well answers."""

from __future__ import annotations

import asyncio
import functools
import math
import time
from types import CoroutineType
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, overload

from pybreaker_ext import settings
from pybreaker_ext.cancelling import cancelling
from pybreaker_ext.ended import ended, ended_async
from pybreaker_ext.fallback.answers import AllTargetsFailedError, Attempt, FallbackResult
from pybreaker_ext.fallback.course import Course
from pybreaker_ext.fallback.target import Target
from pybreaker_ext.kinds import ASYNC_GENERATOR, COROUTINE, GENERATOR, kind_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterable

__all__ = ("AllTargetsFailedError", "Attempt", "FallbackChain", "FallbackResult", "Target")

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
            TypeError: A function makes a generator, or has returned what must be awaited.
            Exception: A target's own error that says nothing against the target, with a note of what
                was tried before.
        """
        if self._kinds & {GENERATOR, ASYNC_GENERATOR}:
            message = "a generator function's target needs stream, not call"
            raise TypeError(message)
        return self.call_async(*args, **kwargs) if COROUTINE in self._kinds else self._call(args, kwargs)

    def _call(self, args: Any, kwargs: Any) -> Any:
        course = self._course()
        try:
            while (target := course.next()) is not None:
                one = functools.partial(target.breaker.call, target.func, *args, **kwargs)
                found = target._tried(functools.partial(ended, target.breaker, one), course.remaining)
                if type(found.value) is CoroutineType:  # nothing has run yet
                    return self._go_on_with(found.value, course, args, kwargs)
                if not course.goes_on(found):
                    return course.result(found)
            raise course.failure()
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
        course = self._course(cancelling())
        try:
            return await self._in_time(course, self._answer_async(course, args, kwargs))
        finally:
            del course  # what it holds are errors, whose tracebacks hold this frame

    async def _go_on_with(self, made: Any, course: Course, args: Any, kwargs: Any) -> FallbackResult[Any]:
        """Await what a target's function has returned, and go on from there."""
        course.being_cancelled = cancelling()
        course.step_back()
        try:
            return await self._in_time(course, self._answer_async(course, args, kwargs, made))
        finally:
            del course

    async def _in_time(self, course: Course, answer: Awaitable[FallbackResult[Any] | None]) -> FallbackResult[Any]:
        """Return an answer that comes before the deadline."""
        found = None
        try:
            async with asyncio.timeout(None if course.remaining == math.inf else course.remaining) as scope:
                found = await answer
        except Exception:
            if not scope.expired():
                raise
            course.out_of_time()
        try:
            if found is None:
                raise course.failure()
            return found
        finally:
            del course, found

    async def _answer_async(
        self, course: Course, args: Any, kwargs: Any, made: Any = None
    ) -> FallbackResult[Any] | None:
        """Return the first answer, or None; if a function was called already, what it has `made` is awaited."""
        first = [made]
        try:
            while (target := course.next()) is not None:
                again = functools.partial(target.breaker.call_async, target.func, *args, **kwargs)
                one = functools.partial(_pop_or_call, first, again)
                attempt = functools.partial(ended_async, target.breaker, one)
                found = await target._tried_async(attempt, course.remaining, course.being_cancelled)
                if not course.goes_on(found):
                    return course.result(found)
            return None
        finally:
            del course
            found = None  # type: ignore[assignment]

    def _course(self, being_cancelled: Callable[[], bool] = lambda: False) -> Course:
        return Course(self._targets, self._deadline, self._fall_back_on, self._clock, being_cancelled)


def _pop_or_call(first: list[Any], again: Callable[[], Any]) -> Any:
    made = first.pop() if first else None
    return again() if made is None else made


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
