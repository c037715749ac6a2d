"""What `breaker.stream` returns: iterators and context managers around a guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from pybreaker_ext.streams.course import ASYNC, SYNC
from pybreaker_ext.streams.guard import guard, guard_async

if TYPE_CHECKING:
    from collections.abc import Generator
    from types import TracebackType

    from pybreaker_ext.streams.course import Course

T = TypeVar("T")


def _underlying(stream: Any, name: str) -> Any:
    """Return an attribute of what the function returned."""
    if name.startswith("_"):  # ours, or Python's own questions
        message = f"{type(stream).__name__!r} object has no attribute {name!r}"
        raise AttributeError(message)
    underlying = stream._course.stream
    if underlying is None:
        message = f"the stream has no attribute {name!r} before its first chunk has been asked for"
        raise AttributeError(message)
    return getattr(underlying, name)


class Stream(Iterator[T]):
    """A guarded stream for threads: an iterator, and a context manager that closes it.

    The circuit is asked at the first `next`. The end of the stream is a success, an error from it a
    failure; a consumer that stops early is neutral, and closes it. Other attributes, such as
    `response`, are those of the stream that the function returned, from the first chunk on.

    Raises:
        CircuitBreakerError: From `next`: the stream was rejected, or its failure has opened the circuit.
        IncompleteStreamError: From `next`: it ended without a chunk that is `complete`.
        TimeoutError: From `next`: a chunk did not come in time.
        TypeError: From `next`: the function returned no stream, or one for asyncio, or one whose
            waits can't be ended while a time-out was given.
        RuntimeError: From `next`: it is iterated a second time in another way.
    """

    __slots__ = ("_course", "_run")

    def __init__(self, course: Course) -> None:
        self._course = course
        self._run = guard(lambda: course)()

    def __iter__(self) -> Iterator[T]:  # noqa: PYI034  see below
        """Return the guard itself, so that a loop goes to it without a detour."""
        return self._run

    def __next__(self) -> T:
        """Return the next chunk."""
        chunk: T = next(self._run)
        return chunk

    def send(self, value: Any) -> T:
        """Send a value into the generator that the function returned, and return the next chunk."""
        chunk: T = self._run.send(value)
        return chunk

    def throw(self, error: BaseException) -> T:
        """Throw an error into the generator that the function returned, and return the next chunk."""
        try:
            chunk: T = self._run.throw(error)
        finally:
            del error  # or it and this frame would keep each other
        return chunk

    def close(self) -> None:
        """Stop early, which is neutral, and close the underlying stream."""
        self._run.close()

    def __enter__(self) -> Self:
        """Return this stream. The circuit is asked at its first chunk."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        self.close()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of what the function returned."""
        return _underlying(self, name)


class AsyncStream(AsyncIterator[T]):
    """A guarded stream for asyncio: an asynchronous iterator, and a context manager that closes it.

    The circuit is asked at the first `anext`. The end of the stream is a success, an error from it a
    failure; a consumer that stops early is neutral, and closes it. Leave it by `async with` or
    `aclose`, or else it is closed when it is collected. Awaiting it gives itself. Other attributes,
    such as `response`, are those of the stream that the function returned, from the first chunk on.

    Raises:
        CircuitBreakerError: From `anext`: the stream was rejected, or its failure has opened the circuit.
        IncompleteStreamError: From `anext`: it ended without a chunk that is `complete`.
        TimeoutError: From `anext`: a chunk did not come in time.
        TypeError: From `anext`: the function returned no stream, or one for threads.
        RuntimeError: From `anext`: it is iterated a second time in another way.
    """

    __slots__ = ("_course", "_run")

    def __init__(self, course: Course) -> None:
        self._course = course
        self._run = guard_async(lambda: course)()

    def __aiter__(self) -> AsyncIterator[T]:  # noqa: PYI034  see below
        """Return the guard itself, so that a loop goes to it without a detour."""
        return self._run

    def __anext__(self) -> Any:
        """Return the next chunk."""
        return self._run.__anext__()

    def asend(self, value: Any) -> Any:
        """Send a value into the generator that the function returned, and return the next chunk."""
        return self._run.asend(value)

    def athrow(self, error: BaseException) -> Any:
        """Throw an error into the generator that the function returned, and return the next chunk."""
        return self._run.athrow(error)

    async def aclose(self) -> None:
        """Stop early, which is neutral, and close the underlying stream."""
        await self._run.aclose()

    close = aclose

    def __await__(self) -> Generator[Any, Any, Self]:
        """Return this stream, for functions that had to be awaited to get it."""
        return self
        yield

    async def __aenter__(self) -> Self:
        """Return this stream. The circuit is asked at its first chunk."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        await self.aclose()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of what the function returned."""
        return _underlying(self, name)


class _Closed:
    """What `close` returns when nothing has to be waited for."""

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield


class EitherStream(Generic[T]):
    """A guarded stream of a plain function, which may return a stream of either kind.

    It is a `Stream` to who says `for`, `with` and `next`, and an `AsyncStream` to who says `async for`,
    `async with` and `anext`; `iter` and `aiter` give these themselves.
    """

    __slots__ = ("_asynchronous", "_course", "_plain")

    def __init__(self, course: Course) -> None:
        self._course = course
        self._plain: Stream[T] = Stream(course)
        self._asynchronous: AsyncStream[T] = AsyncStream(course)

    def __iter__(self) -> Stream[T]:
        """Return the stream for threads."""
        return self._plain

    def __aiter__(self) -> AsyncStream[T]:
        """Return the stream for asyncio."""
        return self._asynchronous

    def __next__(self) -> T:
        """Return the next chunk."""
        return next(self._plain)

    def __anext__(self) -> Any:
        """Return the next chunk."""
        return self._asynchronous.__anext__()

    def send(self, value: Any) -> T:
        """Send a value into the generator that the function returned, and return the next chunk."""
        return self._plain.send(value)

    def throw(self, error: BaseException) -> T:
        """Throw an error into the generator that the function returned, and return the next chunk."""
        try:
            return self._plain.throw(error)
        finally:
            del error  # or it and this frame would keep each other

    def asend(self, value: Any) -> Any:
        """Send a value into the generator that the function returned, and return the next chunk."""
        return self._asynchronous.asend(value)

    def athrow(self, error: BaseException) -> Any:
        """Throw an error into the generator that the function returned, and return the next chunk."""
        return self._asynchronous.athrow(error)

    def close(self) -> Any:
        """Stop early, which is neutral, and close the underlying stream; in asyncio, await what is returned."""
        if self._course.begun == ASYNC:
            return self._asynchronous.aclose()
        self._course.begun = SYNC
        self._plain.close()
        return _Closed()

    async def aclose(self) -> None:
        """Stop early, which is neutral, and close the underlying stream."""
        if self._course.begun == SYNC:
            self._plain.close()
            return
        self._course.begun = ASYNC
        await self._asynchronous.aclose()

    def __await__(self) -> Generator[Any, Any, Self]:
        """Return this stream, for functions that had to be awaited to get it."""
        return self
        yield

    def __enter__(self) -> Stream[T]:
        """Return the stream for threads. The circuit is asked at its first chunk."""
        return self._plain

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        self._plain.close()

    async def __aenter__(self) -> AsyncStream[T]:
        """Return the stream for asyncio. The circuit is asked at its first chunk."""
        return self._asynchronous

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        await self._asynchronous.aclose()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of what the function returned."""
        return _underlying(self, name)
