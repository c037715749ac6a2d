"""Generators around streams: ask, pass the chunks on, report. The two colours side by side.

What is sent and thrown into a guard goes to the source, and what a generator returns is returned, as
`yield from` does (PEP 380); which can't be used, because what the consumer has thrown is no failure
of the backend's.
"""

from __future__ import annotations

import asyncio
import functools
import math
from contextlib import AsyncExitStack, ExitStack
from typing import TYPE_CHECKING, Any

from pybreaker_ext.streams.connection import cutter
from pybreaker_ext.streams.course import ASYNC, SYNC
from pybreaker_ext.streams.source import NoStreamError, opened, opened_async
from pybreaker_ext.streams.watchdog import Watch, watchdog

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator

    from pybreaker_ext.outcome import Outcome
    from pybreaker_ext.storage.view import Permit
    from pybreaker_ext.streams.course import Course


def guard(course_of: Callable[..., Course]) -> Callable[..., Generator[Any, Any, Any]]:
    """Return a generator function whose generators each run the course that `course_of` returns."""

    def guarded(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        course = course_of(*args, **kwargs)
        course.begin(SYNC)
        course.admitted(_ask(course))
        with ExitStack() as owned:
            try:
                source = _open(course, owned)
                timely = _timer(course, owned)
                watches, step = course.watches, timely(source.__next__)
                pull, args = step, ()
                while True:
                    try:
                        chunk = pull(*args)
                    except StopIteration as end:
                        result = end.value
                        break
                    if watches:
                        _saw(course, chunk)
                    try:
                        sent = yield chunk
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001  it is passed on
                        pull, args = timely(_thrower(source, course.neutral(error), "throw")), (error,)
                    else:
                        pull, args = (step, ()) if sent is None else (timely(source.send), (sent,))
                outcome = course.ended()
            except BaseException as error:
                _failed(course, error)
                raise
            _ended(course, outcome)
            return result

    return guarded


def guard_async(course_of: Callable[..., Course]) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return an async generator function whose generators each run the course that `course_of` returns."""

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        course = course_of(*args, **kwargs)
        course.begin(ASYNC)
        course.admitted(await _ask_async(course))
        async with AsyncExitStack() as owned:
            try:
                timely = _timer_async(course)
                source = await timely(_open_async)(course, owned)
                watches, step = course.watches, timely(source.__anext__)
                pull, args = step, ()
                while True:
                    try:
                        chunk = await pull(*args)
                    except StopAsyncIteration:
                        break
                    if watches:
                        await _saw_async(course, chunk)
                    try:
                        sent = yield chunk
                    except GeneratorExit:
                        raise
                    except BaseException as error:  # noqa: BLE001  it is passed on
                        pull, args = timely(_thrower(source, course.neutral(error), "athrow")), (error,)
                    else:
                        pull, args = (step, ()) if sent is None else (timely(source.asend), (sent,))
                outcome = course.ended()
            except BaseException as error:
                await _failed_async(course, error)
                raise
            await _ended_async(course, outcome)

    return guarded


def _ask(course: Course) -> Permit:
    if course.made is not None:  # listeners have heard of the call
        return course.breaker._admitted()
    return course.breaker._ask(course.func, course.args, course.kwargs)


async def _ask_async(course: Course) -> Permit:
    if course.made is not None:  # listeners have heard of the call
        return await course.breaker._admitted_async()
    return await course.breaker._ask_async(course.func, course.args, course.kwargs)


def _open(course: Course, owned: ExitStack) -> Any:
    try:
        found = opened(course.call(), owned)
    except NoStreamError as error:
        course.neutral(error)
        raise
    course.source = found
    return found


async def _open_async(course: Course, owned: AsyncExitStack) -> Any:
    try:
        found = await opened_async(course.call(), owned)
    except NoStreamError as error:
        course.neutral(error)
        raise
    course.source = found
    return found


def _saw(course: Course, chunk: Any) -> None:
    """Report what a chunk tells of, and renew a probe's lease."""
    outcome = course.news(chunk)
    if outcome is not None:
        course.settled = True
        course.breaker._settle(course.permit, outcome)
    elif course.renewal_due():
        course.breaker._renew(course.permit)


async def _saw_async(course: Course, chunk: Any) -> None:
    """Report what a chunk tells of, and renew a probe's lease."""
    outcome = course.news(chunk)
    if outcome is not None:
        course.settled = True
        await course.breaker._settle_async(course.permit, outcome)
    elif course.renewal_due():
        course.breaker._renew(course.permit)


def _failed(course: Course, error: BaseException) -> None:
    if not course.settled:
        course.breaker._failed_as(course.permit, error, course.outcome(error))


async def _failed_async(course: Course, error: BaseException) -> None:
    if course.settled:
        return
    outcome = course.outcome(error)
    if isinstance(error, GeneratorExit):  # closing waits until the place is free; only cancellation must not wait
        await course.breaker._settle_async(course.permit, outcome)
    else:
        await course.breaker._failed_as_async(course.permit, error, outcome)


def _ended(course: Course, outcome: Outcome) -> None:
    if not course.settled:
        course.breaker._settle(course.permit, outcome)


async def _ended_async(course: Course, outcome: Outcome) -> None:
    if not course.settled:
        await course.breaker._settle_async(course.permit, outcome)


def _thrower(source: Any, error: BaseException, method: str) -> Callable[..., Any]:
    """Return what throws into the source; raise when it is no generator."""
    throw: Callable[..., Any] | None = getattr(source, method, None)
    if throw is None:
        raise error
    return throw


def _timer(course: Course, owned: ExitStack) -> Callable[[Any], Any]:
    """Return what makes a function end in time."""
    if not course.rules.timed:
        return _untimed
    cut = cutter(course.source, course.func)
    if cut is None:
        message = (
            f"first_chunk_timeout and chunk_timeout can't be kept: nothing is known to end the waits of "
            f"{type(course.source).__name__}; set the time-out of your client instead"
        )
        error = NoStreamError(message)
        course.neutral(error)
        raise error
    watch = Watch(watchdog, cut)
    owned.callback(watch.leave)
    return lambda pull: functools.partial(_in_time, course, watch, pull)


def _timer_async(course: Course) -> Callable[[Any], Any]:
    """Return what makes a coroutine function end in time."""
    return (lambda pull: functools.partial(_in_time_async, course, pull)) if course.rules.timed else _untimed


def _untimed(pull: Any) -> Any:
    return pull


def _in_time(course: Course, watch: Watch, pull: Callable[..., Any], *args: Any) -> Any:
    watch.begin(course.patience())
    try:
        chunk = pull(*args)
    except BaseException as error:
        if watch.end() and isinstance(error, Exception):
            raise course.stalled() from error
        raise
    if watch.end():
        raise course.stalled()
    return chunk


async def _in_time_async(course: Course, pull: Callable[..., Any], *args: Any) -> Any:
    limit = course.patience()
    try:
        async with asyncio.timeout(None if limit == math.inf else limit) as timeout:
            return await pull(*args)
    except TimeoutError as error:
        if not timeout.expired():
            raise
        raise course.stalled() from error
