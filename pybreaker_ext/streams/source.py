"""What a function returned that is to be a stream: making it iterate, and closing it. The two colours side by side."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping
from types import AsyncGeneratorType, GeneratorType
from typing import TYPE_CHECKING, Any, TypeAlias

from pybreaker_ext.kinds import is_awaitable

if TYPE_CHECKING:
    from collections.abc import Callable


class NoStreamError(TypeError):
    """What the function returned can't be iterated, or not like this. The caller's mistake."""


#: The stream; what has its `__next__` or `__anext__`, often itself; and what closes both, or returns an
#: awaitable that does, told the error with which the stream has ended, or None.
Opened: TypeAlias = tuple[Any, Any, "Callable[[BaseException | None], Any]"]


def opened(found: Any) -> Opened:
    """Return what a function returned as a stream.

    A context manager, such as Anthropic's for streams, is entered; leaving it is how it is closed.

    Raises:
        NoStreamError: It is none, or one for asyncio.
    """
    if type(found) is GeneratorType:
        return found, found, lambda _: found.close()
    if not _iterates(found) and hasattr(type(found), "__enter__"):
        return _entered(found)
    chunks = _iterator(found, "the function returned")
    return found, chunks, lambda _: _close_both(chunks, found)


async def opened_async(found: Any) -> Opened:
    """Return what a function returned as an asynchronous stream.

    What has to be awaited is awaited. A context manager, such as Anthropic's for streams, is entered;
    leaving it is how it is closed.

    Raises:
        NoStreamError: It is none, or one for threads.
    """
    if type(found) is AsyncGeneratorType:
        return found, found, lambda _: found.aclose()
    if is_awaitable(found) and not _iterates_async(found):
        found = await found
    if not _iterates_async(found) and hasattr(type(found), "__aenter__"):
        return await _entered_async(found)
    chunks = await _iterator_async(found, "the function returned")
    return found, chunks, lambda _: _close_both_async(chunks, found)


def _entered(manager: Any) -> Opened:
    found = manager.__enter__()
    try:
        chunks = _iterator(found, "the context manager gave")
    except BaseException:
        manager.__exit__(*sys.exc_info())
        raise
    return found, chunks, lambda error: _leave(manager, chunks, error)


async def _entered_async(manager: Any) -> Opened:
    found = await manager.__aenter__()
    try:
        chunks = await _iterator_async(found, "the context manager gave")
    except BaseException:
        await manager.__aexit__(*sys.exc_info())
        raise
    return found, chunks, lambda error: _leave_async(manager, chunks, error)


def _iterator(found: Any, who: str) -> Any:
    if not _iterates(found):
        _discard(found)
        how = "an asynchronous stream: use `async for`" if _is_asynchronous(found) else "no stream"
        raise _not_a_stream(who, found, how)
    if hasattr(type(found), "__next__"):
        return found
    try:
        return iter(found)
    except BaseException:
        _close(found)
        raise


async def _iterator_async(found: Any, who: str) -> Any:
    if not _iterates_async(found):
        how = "a stream for threads: use `for`" if _iterates(found) else "no stream"
        raise _not_a_stream(who, found, how)
    if hasattr(type(found), "__anext__"):
        return found
    try:
        return aiter(found)
    except BaseException:
        await _close_async(found)
        raise


def _iterates(found: Any) -> bool:
    kind = type(found)
    return hasattr(kind, "__next__") or (hasattr(kind, "__iter__") and not _is_whole(found))


def _iterates_async(found: Any) -> bool:
    return hasattr(type(found), "__anext__") or hasattr(type(found), "__aiter__")


def _is_whole(found: Any) -> bool:
    """Tell whether it is one answer, not its parts: iterating it would give letters, keys or fields."""
    return isinstance(found, (str, bytes, bytearray, Mapping)) or hasattr(type(found), "model_fields")


def _is_asynchronous(found: Any) -> bool:
    return _iterates_async(found) or is_awaitable(found) or hasattr(type(found), "__aenter__")


def _not_a_stream(who: str, found: Any, how: str) -> NoStreamError:
    hint = "; was `stream=True` forgotten?" if _is_whole(found) else ""
    return NoStreamError(f"{who} {type(found).__name__}, which is {how}{hint}")


def _told(error: BaseException | None) -> tuple[Any, Any, Any]:
    """Return what `__exit__` takes. Not `sys.exc_info()`: that may be what the consumer is handling meanwhile."""
    return (None, None, None) if error is None else (type(error), error, error.__traceback__)


def _discard(found: Any) -> None:
    """Close a coroutine that nobody will await, or Python warns."""
    if inspect.iscoroutine(found):
        found.close()


def _leave(manager: Any, chunks: Any, error: BaseException | None) -> None:
    """Leave a context manager. What it gave is its own to close, but generators nobody else closes."""
    try:
        if type(chunks) is GeneratorType:
            chunks.close()
    finally:
        manager.__exit__(*_told(error))


async def _leave_async(manager: Any, chunks: Any, error: BaseException | None) -> None:
    """Leave a context manager. What it gave is its own to close, but generators nobody else closes."""
    try:
        if type(chunks) is AsyncGeneratorType:
            await chunks.aclose()
    finally:
        await manager.__aexit__(*_told(error))


def _close_both(chunks: Any, found: Any) -> None:
    try:
        if chunks is not found:
            _close(chunks)
    finally:
        _close(found)


async def _close_both_async(chunks: Any, found: Any) -> None:
    try:
        if chunks is not found:
            await _close_async(chunks)
    finally:
        await _close_async(found)


def _close(found: Any) -> None:
    close = getattr(found, "close", None)
    if callable(close):
        _discard(close())


async def _close_async(found: Any) -> None:
    close = getattr(found, "aclose", None) or getattr(found, "close", None)
    closing: Any = close() if callable(close) else None
    if is_awaitable(closing):
        await closing
