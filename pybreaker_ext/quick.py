"""The path of every call of a decorated function while all is well.

A fresh look at the circuit and two readings of the clock say that there is nothing to ask, nothing
to report and nobody to tell. Whatever else is the case is left to the breaker's own `_run` and
`_returned`. No lock, no I/O, and nothing is allocated.
"""

from __future__ import annotations

import functools
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pybreaker_ext.breaker import CircuitBreaker

#: What a call may return that has not run yet.
DEFERRED: Final = frozenset({GeneratorType, CoroutineType, AsyncGeneratorType})


def is_deferred(result: Any) -> bool:
    """Tell whether a call's result has not run yet."""
    try:
        return type(result) in DEFERRED
    except Exception:  # noqa: BLE001  a class whose metaclass makes it unhashable, or worse
        return False


def protected_function(breaker: CircuitBreaker, func: Any) -> Any:
    """Return a plain function that is called through `breaker`."""
    local, listeners, notifier = breaker._local, breaker._listeners, breaker._notifier
    notice_view, before_call, success = notifier.notice_view, notifier.before_call, notifier.success
    clock, run, failed, returned = local.clock, breaker._run, breaker._failed, breaker._returned

    @functools.wraps(func)
    def protected(*args: Any, **kwargs: Any) -> Any:
        view = local.view
        if clock() >= view.quiet_until:
            return run(func, args, kwargs)
        if listeners:
            if notifier.told is not view.seen:
                notice_view(breaker, view)
            if notifier.tells_before_call:
                before_call(breaker, view.permit, func, args, kwargs)
        try:
            result = func(*args, **kwargs)
        except BaseException as error:
            failed(view.permit, error)
            raise
        now = clock()
        try:
            deferred = type(result) in DEFERRED
        except Exception:  # noqa: BLE001  see `is_deferred`
            deferred = False
        if deferred or now >= local.view.quiet_until:
            return returned(view.permit, result)
        if listeners and now >= notifier.deaf_until:
            success(breaker)
        return result

    return protected


def protected_coroutine(breaker: CircuitBreaker, func: Any) -> Any:
    """Return a coroutine function that is called through `breaker`."""
    local, listeners, notifier = breaker._local, breaker._listeners, breaker._notifier
    notice_view, before_call, success = notifier.notice_view, notifier.before_call, notifier.success
    clock, run, failed, returned = local.clock, breaker._run_async, breaker._failed_async, breaker._returned_async

    @functools.wraps(func)
    async def protected(*args: Any, **kwargs: Any) -> Any:
        view = local.view
        if clock() >= view.quiet_until:
            return await run(func, args, kwargs)
        if listeners:
            if notifier.told is not view.seen:
                notice_view(breaker, view)
            if notifier.tells_before_call:
                before_call(breaker, view.permit, func, args, kwargs)
        try:
            result = await func(*args, **kwargs)
        except BaseException as error:
            await failed(view.permit, error)
            raise
        now = clock()
        try:
            deferred = type(result) in DEFERRED
        except Exception:  # noqa: BLE001  see `is_deferred`
            deferred = False
        if deferred or now >= local.view.quiet_until:
            return await returned(view.permit, result)
        if listeners and now >= notifier.deaf_until:
            success(breaker)
        return result

    return protected
