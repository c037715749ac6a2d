"""Generators around streams: ask, pass the chunks on, report. The two colours side by side.

What is sent and thrown into a guard goes to the source, and what a generator returns is returned, as
`yield from` does (PEP 380); which can't be used, because what the consumer has thrown is no failure
of the backend's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybreaker_ext.streams.course import ASYNC, RENEWAL, SYNC
from pybreaker_ext.streams.patience import timer, timer_async
from pybreaker_ext.streams.source import NoStreamError, opened, opened_async

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
        try:
            source, timely = _open(course)
            watches, step = course.watches, timely(source.__next__)
            pull, args = step, ()
            while True:
                try:
                    chunk = pull(*args)
                except StopIteration as end:
                    result = end.value
                    break
                if watches and (outcome := course.news(chunk)):
                    _report(course, outcome)
                try:
                    sent = yield chunk
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001  it is passed on
                    pull, args = timely(_thrower(source, course.neutral(error), "throw")), (error,)
                else:
                    pull, args = (step, ()) if sent is None else (timely(_sender(course, source, "send")), (sent,))
            _report(course, course.ended())
        except BaseException as error:
            args = ()  # or an error that was thrown in and this frame would keep each other
            if _failed is not None:  # an interpreter that ends may have taken this module apart already
                _failed(course, error)
            raise
        _close(course)
        return result

    return guarded


def guard_async(course_of: Callable[..., Course]) -> Callable[..., AsyncGenerator[Any, Any]]:
    """Return an async generator function whose generators each run the course that `course_of` returns."""

    async def guarded(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        course = course_of(*args, **kwargs)
        course.begin(ASYNC)
        course.admitted(await _ask_async(course))
        try:
            timely = timer_async(course)
            source = await timely(_open_async)(course)
            watches, step = course.watches, timely(source.__anext__)
            pull, args = step, ()
            while True:
                try:
                    chunk = await pull(*args)
                except StopAsyncIteration:
                    break
                if watches and (outcome := course.news(chunk)):
                    await _report_async(course, outcome)
                try:
                    sent = yield chunk
                except GeneratorExit:
                    raise
                except BaseException as error:  # noqa: BLE001  it is passed on
                    pull, args = timely(_thrower(source, course.neutral(error), "athrow")), (error,)
                else:
                    pull, args = (step, ()) if sent is None else (timely(_sender(course, source, "asend")), (sent,))
            await _report_async(course, course.ended())
        except BaseException as error:
            args = ()  # or an error that was thrown in and this frame would keep each other
            await _failed_async(course, error)
            raise
        await _close_async(course)

    return guarded


def _ask(course: Course) -> Permit:
    if course.made is not None:  # listeners have heard of the call
        return course.breaker._admitted()
    return course.breaker._ask(course.func, course.args, course.kwargs)


async def _ask_async(course: Course) -> Permit:
    if course.made is not None:  # listeners have heard of the call
        return await course.breaker._admitted_async()
    return await course.breaker._ask_async(course.func, course.args, course.kwargs)


def _open(course: Course) -> Any:
    """Call the function, and return what it returned as an iterator, and what makes it end in time."""
    try:
        course.stream, chunks, course.close = opened(course.call())
        return chunks, timer(course)
    except NoStreamError as error:
        course.neutral(error)
        raise


async def _open_async(course: Course) -> Any:
    """Call the function, and return what it returned as an asynchronous iterator."""
    try:
        course.stream, chunks, course.close = await opened_async(course.call())
    except NoStreamError as error:
        course.neutral(error)
        raise
    return chunks


def _report(course: Course, outcome: Outcome) -> None:
    if outcome is RENEWAL:
        course.breaker._renew(course.permit)
    elif course.settles():
        course.breaker._settle(course.permit, outcome)


async def _report_async(course: Course, outcome: Outcome) -> None:
    if outcome is RENEWAL:
        course.breaker._renew(course.permit)
    elif course.settles():
        await course.breaker._settle_async(course.permit, outcome)


def _failed(course: Course, error: BaseException) -> None:
    try:
        if course.settles():
            course.breaker._failed_as(course.permit, error, course.outcome(error))
    finally:
        _close(course, error)


async def _failed_async(course: Course, error: BaseException) -> None:
    try:
        if not course.settles():
            return
        outcome = course.outcome(error)
        if isinstance(error, GeneratorExit):  # closing waits until the place is free; only cancellation must not wait
            await course.breaker._settle_async(course.permit, outcome)
        else:
            await course.breaker._failed_as_async(course.permit, error, outcome)
    finally:
        await _close_async(course, error)


def _close(course: Course, error: BaseException | None = None) -> None:
    if course.watch is not None:
        course.watch.leave()
    if course.close is not None:
        course.close(error)


async def _close_async(course: Course, error: BaseException | None = None) -> None:
    if course.close is not None:
        await course.close(error)


def _sender(course: Course, source: Any, method: str) -> Callable[..., Any]:
    """Return what sends into the source; raise when it is no generator."""
    try:
        send: Callable[..., Any] = getattr(source, method)
    except AttributeError as error:
        course.neutral(error)
        raise
    return send


def _thrower(source: Any, error: BaseException, method: str) -> Callable[..., Any]:
    """Return what throws into the source; raise when it is no generator."""
    throw: Callable[..., Any] | None = getattr(source, method, None)
    if throw is None:
        raise error
    return throw
