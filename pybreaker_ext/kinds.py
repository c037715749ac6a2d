"""Tells what kind of function a callable is, by its code and never by its attributes."""

from __future__ import annotations

import functools
import inspect
from types import CoroutineType, FunctionType, GeneratorType, MethodType
from typing import Any, Final

PLAIN: Final = "plain"
GENERATOR: Final = "generator"
COROUTINE: Final = "coroutine"
ASYNC_GENERATOR: Final = "async generator"

_FLAGS: Final = inspect.CO_GENERATOR | inspect.CO_COROUTINE | inspect.CO_ITERABLE_COROUTINE | inspect.CO_ASYNC_GENERATOR


def kind_of(func: Any) -> str:
    """Return the kind of a function, method, partial, or object with `__call__`."""
    kind = type(func)
    if kind is MethodType:
        func = func.__func__
        kind = type(func)
    if kind is FunctionType:
        return PLAIN if not func.__code__.co_flags & _FLAGS and not _marked(func) else _kind_by_inspection(func)
    if kind is functools.partial:
        return kind_of(func.func)
    call = inspect.getattr_static(kind, "__call__", None)
    return kind_of(call) if type(call) is FunctionType else PLAIN


def is_awaitable(found: Any) -> bool:
    """Tell whether something can be awaited, by its type and never by what it says of itself."""
    kind = type(found)
    if kind is GeneratorType:
        return bool(found.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)
    return kind is CoroutineType or hasattr(kind, "__await__")


def _marked(func: Any) -> bool:
    """Tell whether `inspect.markcoroutinefunction` (Python 3.12) was used."""
    return bool(func.__dict__) and inspect.iscoroutinefunction(func)


def _kind_by_inspection(func: Any) -> str:
    if inspect.iscoroutinefunction(func) or func.__code__.co_flags & inspect.CO_ITERABLE_COROUTINE:
        return COROUTINE
    if inspect.isasyncgenfunction(func):
        return ASYNC_GENERATOR
    return GENERATOR
