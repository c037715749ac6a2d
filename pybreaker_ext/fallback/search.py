"""Looking for the target that answers. The two colours side by side."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

from pybreaker_ext.cancelling import cancelling

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pybreaker_ext.ended import Ended
    from pybreaker_ext.fallback.answers import FallbackResult
    from pybreaker_ext.fallback.course import Course
    from pybreaker_ext.fallback.target import Target


def search(course: Course, attempt_of: Callable[[Target[Any, Any]], Callable[[], Ended]]) -> FallbackResult[Any]:
    """Return the first answer; `attempt_of` returns what tries a target once.

    Raises:
        AllTargetsFailedError: There was none.
        Exception: What a target has raised that says nothing against it.
    """
    try:
        while (target := course.next()) is not None:
            found = course.tries.run(attempt_of(target))
            if not course.goes_on(found):
                return course.result(found)
        raise course.failure()
    finally:
        del course  # what it holds are errors, whose tracebacks hold this frame
        found = None  # type: ignore[assignment]


async def search_async(
    course: Course, attempt_of: Callable[[Target[Any, Any]], Callable[[], Awaitable[Ended]]]
) -> FallbackResult[Any]:
    """Return the first answer; `attempt_of` returns what tries a target once.

    Raises:
        AllTargetsFailedError: There was none, or none in time.
        Exception: What a target has raised that says nothing against it.
    """
    found = None
    course.go_on(cancelling())
    try:
        async with asyncio.timeout(None if course.remaining == math.inf else course.remaining) as scope:
            found = await _answer_async(course, attempt_of, scope.expired)
    except TimeoutError:
        if not scope.expired():
            raise
        course.out_of_time()
    try:
        if found is None:
            raise course.failure()
        return found
    finally:
        del course, found  # what they hold are errors, whose tracebacks hold this frame


async def _answer_async(
    course: Course, attempt_of: Callable[..., Any], is_late: Callable[[], bool]
) -> FallbackResult[Any] | None:
    try:
        while (target := course.next()) is not None:
            found = await course.tries.run_async(attempt_of(target))
            if not course.goes_on(found):
                return course.result(found)
    except Exception as error:
        if not is_late():
            raise
        course.out_of_time(error)
    finally:
        del course
        found = None  # type: ignore[assignment]
    return None
