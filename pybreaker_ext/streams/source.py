"""What a function returned that is to be a stream: making it iterate, and closing it."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator


class NoStreamError(TypeError):
    """What the function returned can't be iterated, or not like this. The caller's mistake."""


def opened(found: Any) -> tuple[Iterator[Any], Callable[[], object]]:
    """Return what a function returned as an iterator, and what closes it.

    A context manager, such as Anthropic's for streams, is entered; leaving it is how it is closed.

    Raises:
        NoStreamError: It is none, or one for asyncio.
    """
    if type(found) is GeneratorType:
        return found, found.close
    if not _iterates(found) and hasattr(type(found), "__enter__"):
        return _entered(found)
    if not _iterates(found):
        _discard(found)
        how = "an asynchronous stream: use `async for`" if _is_asynchronous(found) else "no stream"
        raise NoStreamError(_not_a_stream(found, how))
    return found if hasattr(type(found), "__next__") else iter(found), lambda: _close(found)


async def opened_async(found: Any) -> tuple[AsyncIterator[Any], Callable[[], Awaitable[object]]]:
    """Return what a function returned as an asynchronous iterator, and what closes it.

    What has to be awaited is awaited. A context manager, such as Anthropic's for streams, is entered;
    leaving it is how it is closed.

    Raises:
        NoStreamError: It is none, or one for threads.
    """
    if type(found) is AsyncGeneratorType:
        return found, found.aclose
    if inspect.isawaitable(found) and not _iterates_async(found):
        found = await found
    if not _iterates_async(found) and hasattr(type(found), "__aenter__"):
        return await _entered_async(found)
    if not _iterates_async(found):
        how = "a stream for threads: use `for`" if _iterates(found) else "no stream"
        raise NoStreamError(_not_a_stream(found, how))
    return found if hasattr(type(found), "__anext__") else aiter(found), lambda: _close_async(found)


def _entered(manager: Any) -> tuple[Iterator[Any], Callable[[], object]]:
    leave = type(manager).__exit__
    found = manager.__enter__()
    try:
        stream, _ = opened(found)
    except BaseException:
        leave(manager, *sys.exc_info())
        raise
    return stream, lambda: leave(manager, *sys.exc_info())


async def _entered_async(manager: Any) -> tuple[AsyncIterator[Any], Callable[[], Awaitable[object]]]:
    leave = type(manager).__aexit__
    found = await manager.__aenter__()
    try:
        stream, _ = await opened_async(found)
    except BaseException:
        await leave(manager, *sys.exc_info())
        raise
    return stream, lambda: leave(manager, *sys.exc_info())


def _iterates(found: Any) -> bool:
    kind = type(found)
    return hasattr(kind, "__next__") or (hasattr(kind, "__iter__") and not _is_whole(found))


def _iterates_async(found: Any) -> bool:
    return hasattr(type(found), "__anext__") or hasattr(type(found), "__aiter__")


def _is_whole(found: Any) -> bool:
    """Tell whether it is one answer, not its parts: iterating it would give letters, keys or fields."""
    return isinstance(found, (str, bytes, bytearray, Mapping)) or hasattr(type(found), "model_fields")


def _is_asynchronous(found: Any) -> bool:
    return _iterates_async(found) or inspect.isawaitable(found) or hasattr(type(found), "__aenter__")


def _not_a_stream(found: Any, how: str) -> str:
    hint = "; was `stream=True` forgotten?" if how == "no stream" and _is_whole(found) else ""
    return f"the function returned {type(found).__name__}, which is {how}{hint}"


def _discard(found: Any) -> None:
    """Close a coroutine that nobody will await, or Python warns."""
    if inspect.iscoroutine(found):
        found.close()


def _close(found: Any) -> None:
    close = getattr(found, "close", None)
    if callable(close):
        _discard(close())


async def _close_async(found: Any) -> None:
    close = getattr(found, "aclose", None) or getattr(found, "close", None)
    closing = close() if callable(close) else None
    if inspect.isawaitable(closing):
        await closing
