"""Waiting for chunks no longer than was allowed. The two colours side by side."""

from __future__ import annotations

import asyncio
import functools
import math
from typing import TYPE_CHECKING, Any

from pybreaker_ext.streams.connection import cutter
from pybreaker_ext.streams.source import NoStreamError
from pybreaker_ext.streams.watchdog import Watch, watchdog

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.streams.course import Course


def timer(course: Course) -> Callable[[Any], Any]:
    """Return what makes a function end in time.

    Raises:
        NoStreamError: Nothing is known that ends the waits of this stream.
    """
    if not course.rules.timed:
        return _untimed
    cut = cutter(course.stream, course.func)
    if cut is None:
        message = (
            f"first_chunk_timeout and chunk_timeout can't be kept: nothing is known to end the waits of "
            f"{type(course.stream).__name__}; set the time-out of your client instead"
        )
        raise NoStreamError(message)
    watch = course.watch = Watch(watchdog, cut)
    return lambda pull: functools.partial(_in_time, course, watch, pull)


def timer_async(course: Course) -> Callable[[Any], Any]:
    """Return what makes a coroutine function end in time."""
    return (lambda pull: functools.partial(_in_time_async, course, pull)) if course.rules.timed else _untimed


def _untimed(pull: Any) -> Any:
    return pull


def _in_time(course: Course, watch: Watch, pull: Callable[..., Any], *args: Any) -> Any:
    watch.begin(course.patience())
    try:
        chunk = pull(*args)
    except BaseException as error:
        args = ()  # or an error that is thrown in and this frame would keep each other
        if watch.end() and issubclass(type(error), Exception):
            raise course.stalled() from error
        raise
    if watch.end():
        raise course.stalled()
    return chunk


async def _in_time_async(course: Course, pull: Callable[..., Any], *args: Any) -> Any:
    limit = course.patience()
    timeout = asyncio.timeout(None if limit == math.inf else limit)
    try:
        async with timeout:
            return await pull(*args)
    except BaseException as error:
        args = ()  # or an error that is thrown in and this frame would keep each other
        if timeout.expired() and issubclass(type(error), Exception):
            raise course.stalled() from error
        raise
