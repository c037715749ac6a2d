"""One story for both colours: a stream is consumed by `next` or, in an event loop, by `anext`."""

from __future__ import annotations

import asyncio
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

#: What a step of a stream may be, besides a chunk: an error that is raised.
ENDED = "ended"


class Source:
    """A stream that yields chunks and raises errors as told, and notes what happens to it."""

    def __init__(self, *steps: Any, returns: Any = None) -> None:
        self.steps = steps
        self.returns = returns
        self.got: list[Any] = []
        self.calls = 0
        self.closed = 0

    def plain(self, *_args: Any) -> Any:
        self.calls += 1
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                self.got.append((yield step))
            return self.returns
        finally:
            self.closed += 1

    async def asynchronous(self, *_args: Any) -> Any:
        self.calls += 1
        try:
            for step in self.steps:
                if isinstance(step, BaseException):
                    raise step
                self.got.append((yield step))
        finally:
            self.closed += 1


class Threads:
    """`for`, `with`, `next`."""

    name = "threads"

    def run(self, story: Coroutine[Any, Any, Any]) -> Any:
        """Run it to its end outside of any event loop: it has nothing to wait for."""
        try:
            story.send(None)
        except StopIteration as end:
            return end.value
        story.close()
        raise AssertionError("it waits")

    def function(self, source: Source) -> Callable[..., Any]:
        return source.plain

    async def next(self, stream: Any) -> Any:
        try:
            return next(stream)
        except StopIteration:
            return ENDED

    async def send(self, stream: Any, value: Any) -> Any:
        return stream.send(value)

    async def throw(self, stream: Any, error: BaseException) -> Any:
        return stream.throw(error)

    async def close(self, stream: Any) -> None:
        stream.close()

    async def all(self, stream: Any) -> list[Any]:
        return list(stream)

    async def leave_block(self, stream: Any, error: BaseException | None = None) -> None:
        """Take one chunk in a `with` block, and leave it."""
        with stream as entered:
            next(entered)
            if error is not None:
                raise error

    def returning(self, found: Any) -> Callable[..., Any]:
        return lambda *_args: found

    async def call(self, breaker: Any, function: Callable[[], Any]) -> Any:
        return breaker.call(function)


class Loop:
    """`async for`, `async with`, `anext`."""

    name = "asyncio"

    def run(self, story: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run(story)

    def function(self, source: Source) -> Callable[..., Any]:
        return source.asynchronous

    async def next(self, stream: Any) -> Any:
        return await anext(stream, ENDED)

    async def send(self, stream: Any, value: Any) -> Any:
        return await stream.asend(value)

    async def throw(self, stream: Any, error: BaseException) -> Any:
        return await stream.athrow(error)

    async def close(self, stream: Any) -> None:
        await stream.aclose()

    async def all(self, stream: Any) -> list[Any]:
        return [chunk async for chunk in stream]

    async def leave_block(self, stream: Any, error: BaseException | None = None) -> None:
        """Take one chunk in an `async with` block, and leave it."""
        async with stream as entered:
            await anext(entered)
            if error is not None:
                raise error

    def returning(self, found: Any) -> Callable[..., Any]:
        async def function(*_args: Any) -> Any:
            return await found if inspect.isawaitable(found) else found

        return function

    async def call(self, breaker: Any, function: Callable[[], Any]) -> Any:
        async def call() -> Any:
            return function()

        return await breaker.call_async(call)


COLOURS = (Threads(), Loop())
