"""What a function returned that is to be a stream: making it iterate, and closing it."""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AsyncExitStack, ExitStack


class NoStreamError(TypeError):
    """What the function returned can't be iterated, or not like this. The caller's mistake."""


def opened(found: Any, owned: ExitStack) -> Iterator[Any]:
    """Return what a function returned as an iterator, which `owned` closes.

    A context manager, such as Anthropic's for streams, is entered.

    Raises:
        NoStreamError: It is none, or one for asyncio.
    """
    if not _iterates(found) and hasattr(type(found), "__enter__"):
        found = owned.enter_context(found)
    if not _iterates(found):
        _discard(found)
        how = "an asynchronous stream: use `async for`" if _is_asynchronous(found) else "no stream"
        raise NoStreamError(_not_a_stream(found, how))
    owned.callback(_close, found)
    iterator: Iterator[Any] = found if hasattr(type(found), "__next__") else iter(found)
    return iterator


async def opened_async(found: Any, owned: AsyncExitStack) -> AsyncIterator[Any]:
    """Return what a function returned as an asynchronous iterator, which `owned` closes.

    What has to be awaited is awaited; a context manager, such as Anthropic's for streams, is entered.

    Raises:
        NoStreamError: It is none, or one for threads.
    """
    if inspect.isawaitable(found) and not _iterates_async(found):
        found = await found
    if not _iterates_async(found) and hasattr(type(found), "__aenter__"):
        found = await owned.enter_async_context(found)
    if not _iterates_async(found):
        how = "a stream for threads: use `for`" if _iterates(found) else "no stream"
        raise NoStreamError(_not_a_stream(found, how))
    owned.push_async_callback(_close_async, found)
    iterator: AsyncIterator[Any] = found if hasattr(type(found), "__anext__") else aiter(found)
    return iterator


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
        with contextlib.suppress(StopAsyncIteration):
            await closing
