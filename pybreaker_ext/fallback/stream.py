"""A stream from the first target that sends a first chunk. From then on it is that target's, to the end."""

from __future__ import annotations

import functools
import time
from typing import TYPE_CHECKING, Any, Final, Generic, Self, TypeVar

from pybreaker_ext.ended import FAILURE, NEUTRAL, SUCCESS, Ended, open_for, raised
from pybreaker_ext.errors import FailedResult, IncompleteStreamError
from pybreaker_ext.fallback.search import search, search_async
from pybreaker_ext.streams.source import NoStreamError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping
    from types import TracebackType

    from pybreaker_ext.fallback.answers import Attempt
    from pybreaker_ext.fallback.course import Course
    from pybreaker_ext.fallback.target import Target

T = TypeVar("T")

#: In the place of a chunk.
_END: Final = object()


class Origin:
    """Where a stream comes from, once that is known."""

    def __init__(self) -> None:
        self.target: str | None = None
        self.attempts: tuple[Attempt, ...] = ()
        self.stream: Any = None


class Opening:
    """What finds the target of one stream.

    Args:
        course_of: Returns the way along the chain.
        args: Arguments of the targets' functions.
        kwargs: Their keyword arguments.
    """

    def __init__(self, course_of: Callable[[], Course], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self._course_of = course_of
        self._args = args
        self._kwargs = kwargs
        self._begun = ""

    def chunks(self, origin: Origin) -> Generator[Any, None, None]:
        """Yield the chunks of the first target that sends one."""
        self._begin("threads")
        found = search(self._course_of(), lambda target: functools.partial(self._tried, target))
        stream, chunk = found.value
        origin.target, origin.attempts, origin.stream = found.target, found.attempts, stream
        del origin, found  # what they hold are errors, whose tracebacks hold this frame
        if chunk is not _END:
            with stream:
                yield chunk
                yield from stream

    async def chunks_async(self, origin: Origin) -> AsyncGenerator[Any, None]:
        """Yield the chunks of the first target that sends one."""
        self._begin("asyncio")
        found = await search_async(self._course_of(), lambda target: functools.partial(self._tried_async, target))
        stream, chunk = found.value
        origin.target, origin.attempts, origin.stream = found.target, found.attempts, stream
        del origin, found  # what they hold are errors, whose tracebacks hold this frame
        if chunk is not _END:
            async with stream:
                yield chunk
                async for later in stream:
                    yield later

    def _begin(self, how: str) -> None:
        if self._begun:
            message = f"this stream is iterated by {self._begun} already"
            raise RuntimeError(message)
        self._begun = how

    def _tried(self, target: Target[Any, Any]) -> Ended:
        options = {**target.stream_options, **self._kwargs}
        stream: Any = target.breaker.stream(target.func, *self._args, **options)
        _check_colour(target, stream, "__next__", "asyncio: use `async for`")
        late = _lateness(options)
        try:
            chunk = next(stream, _END)
        except Exception as error:  # noqa: BLE001  it is told
            return _failed(target, error, late=late())
        if not _tells_of_failure(chunk, options):
            return Ended(SUCCESS, (stream, chunk))
        stream.close()
        return _failed(target, FailedResult(chunk))

    async def _tried_async(self, target: Target[Any, Any]) -> Ended:
        options = {**target.stream_options, **self._kwargs}
        stream: Any = target.breaker.stream(target.func, *self._args, **options)
        _check_colour(target, stream, "__anext__", "threads: use `for`")
        late = _lateness(options)
        try:
            chunk = await anext(stream, _END)
        except Exception as error:  # noqa: BLE001  it is told
            return _failed(target, error, late=late())
        if not _tells_of_failure(chunk, options):
            return Ended(SUCCESS, (stream, chunk))
        await stream.aclose()
        return _failed(target, FailedResult(chunk))


class FallbackStream(Generic[T]):
    """A chain's stream: an iterator and a context manager, for threads or, if its targets' streams are, for asyncio.

    Nothing is called or asked before the first `next`. While a target has not sent its first chunk,
    the next target takes its place when it fails; later its error is the consumer's. A consumer
    that stops early closes the stream, which is neutral to its breaker. In asyncio leave it by
    `async with` or `aclose`.

    Raises:
        AllTargetsFailedError: From the first `next`: no target has sent a chunk.
        TypeError: From the first `next`: a target's stream is of the other kind, or none.
        RuntimeError: From `next`: it is iterated a second time in another way.
        Exception: From the first `next`, what says nothing against the target; and from the second one
            on whatever ends the stream too early.
    """

    __slots__ = ("_asynchronous", "_origin", "_plain")

    def __init__(self, opening: Opening) -> None:
        self._origin = Origin()
        self._plain = opening.chunks(self._origin)
        self._asynchronous = opening.chunks_async(self._origin)

    @property
    def target(self) -> str | None:
        """The name of the target that sends it; None before the first chunk."""
        return self._origin.target

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """What was tried before it, in order."""
        return self._origin.attempts

    @property
    def source(self) -> Any:
        """The target's guarded stream, which has what its provider's has; None before the first chunk."""
        return self._origin.stream

    def __iter__(self) -> Self:
        """Return this stream."""
        return self

    def __aiter__(self) -> Self:
        """Return this stream."""
        return self

    def __next__(self) -> T:
        """Return the next chunk."""
        plain = self._plain
        del self  # the tracebacks of errors that it tells of hold this frame, from Python 3.12 on
        chunk: T = next(plain)
        return chunk

    async def __anext__(self) -> T:
        """Return the next chunk."""
        asynchronous = self._asynchronous
        del self
        chunk: T = await anext(asynchronous)
        return chunk

    def close(self) -> None:
        """Stop early, and close the target's stream."""
        self._plain.close()

    async def aclose(self) -> None:
        """Stop early, and close the target's stream."""
        await self._asynchronous.aclose()

    def __enter__(self) -> Self:
        """Return this stream."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        self.close()

    async def __aenter__(self) -> Self:
        """Return this stream."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the stream."""
        await self.aclose()


def _check_colour(target: Target[Any, Any], stream: Any, method: str, what: str) -> None:
    if not hasattr(type(stream), method):
        message = f"the stream of {target.name!r} is for {what}"
        raise TypeError(message)


def _tells_of_failure(chunk: Any, options: Mapping[str, Any]) -> bool:
    """Tell whether the first chunk is the backend's word that it has failed, which its breaker has counted."""
    rule = options.get("failure_chunk")
    if rule is None or chunk is _END:
        return False
    try:
        return bool(rule(chunk))
    except Exception:  # noqa: BLE001  the breaker has logged it, and counted it as a failure
        return True


def _lateness(options: Mapping[str, Any]) -> Callable[[], bool]:
    """Return what tells whether the first chunk is too late."""
    began, limit = time.monotonic(), options.get("first_chunk_timeout")
    return lambda: limit is not None and time.monotonic() - began >= limit


def _failed(target: Target[Any, Any], error: Exception, *, late: bool = False) -> Ended:
    """Return what it came to that a stream has ended before its first chunk."""
    if isinstance(error, NoStreamError):
        return Ended(NEUTRAL, error=error)
    # Failures whatever the breaker's rules say.
    if isinstance(error, (FailedResult, IncompleteStreamError)) or (late and isinstance(error, TimeoutError)):
        return Ended(FAILURE, error=error, wait=open_for(target.breaker))
    return raised(target.breaker, error)
