"""Streams through a breaker: what `stream`, and decorated generator functions, are made of."""

from __future__ import annotations

import functools
from types import AsyncGeneratorType
from typing import TYPE_CHECKING, Any, Final, TypeVar, overload

from pybreaker_ext.admission import CircuitAdmission
from pybreaker_ext.kinds import ASYNC_GENERATOR, COROUTINE, GENERATOR, kind_of
from pybreaker_ext.streams.course import Course
from pybreaker_ext.streams.guard import guard, guard_async
from pybreaker_ext.streams.rules import NO_RULES, Rules, checked
from pybreaker_ext.streams.stream import AsyncStream, EitherStream, Stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Iterator
    from contextlib import AbstractAsyncContextManager, AbstractContextManager

T = TypeVar("T")

_STREAMS: Final[dict[str, Callable[[Course], Any]]] = {
    GENERATOR: Stream,
    COROUTINE: AsyncStream,
    ASYNC_GENERATOR: AsyncStream,
}


class CircuitStreams(CircuitAdmission):
    """Streams; `CircuitBreaker` adds the other calls."""

    # A coroutine function's first: what it returns is no stream of its own. Those with `Any` are for mypy
    # and functions that are overloaded themselves, as those of OpenAI and Anthropic: it doesn't see which
    # of them returns a stream. Iterators before other iterables: a whole answer of theirs is iterable, too.

    @overload
    def stream(
        self,
        func: Callable[..., Awaitable[AsyncIterable[T] | AbstractAsyncContextManager[AsyncIterable[T]]]],
        /,
        *args: Any,
        first_chunk_timeout: float | None = None,
        chunk_timeout: float | None = None,
        complete: Callable[[Any], Any] | None = None,
        failure_chunk: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> AsyncStream[T]: ...

    @overload
    def stream(
        self,
        func: Callable[..., Awaitable[AsyncIterable[Any]]],
        /,
        *args: Any,
        first_chunk_timeout: float | None = None,
        chunk_timeout: float | None = None,
        complete: Callable[[Any], Any] | None = None,
        failure_chunk: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> AsyncStream[Any]: ...

    @overload
    def stream(
        self,
        func: Callable[..., AsyncIterable[T] | AbstractAsyncContextManager[AsyncIterable[T]]],
        /,
        *args: Any,
        first_chunk_timeout: float | None = None,
        chunk_timeout: float | None = None,
        complete: Callable[[Any], Any] | None = None,
        failure_chunk: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> AsyncStream[T]: ...

    @overload
    def stream(
        self,
        func: Callable[..., Iterator[T]],
        /,
        *args: Any,
        first_chunk_timeout: float | None = None,
        chunk_timeout: float | None = None,
        complete: Callable[[Any], Any] | None = None,
        failure_chunk: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> Stream[T]: ...

    @overload
    def stream(
        self,
        func: Callable[..., Iterator[Any]],
        /,
        *args: Any,
        first_chunk_timeout: float | None = None,
        chunk_timeout: float | None = None,
        complete: Callable[[Any], Any] | None = None,
        failure_chunk: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> Stream[Any]: ...

    @overload
    def stream(
        self,
        func: Callable[..., Iterable[T] | AbstractContextManager[Iterable[T]]],
        /,
        *args: Any,
        first_chunk_timeout: float | None = None,
        chunk_timeout: float | None = None,
        complete: Callable[[Any], Any] | None = None,
        failure_chunk: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> Stream[T]: ...

    def stream(
        self,
        func: Callable[..., Any],
        /,
        *args: Any,
        first_chunk_timeout: float | None = None,
        chunk_timeout: float | None = None,
        complete: Callable[[Any], Any] | None = None,
        failure_chunk: Callable[[Any], Any] | None = None,
        **kwargs: Any,
    ) -> Any:
        """Return the stream that `func(*args, **kwargs)` returns, guarded: nothing is called or asked before `next`.

        The stream's end is a success. An error from it, from the first chunk to the last, is judged
        like a call's. A consumer that stops early (`break`, `close`, cancellation, an error of its own)
        is neutral. The stream is closed in each case. Until its end it is one call, whose lease as a
        probe is renewed while chunks come.

        Args:
            func: A generator or async generator function, or any function that returns an iterator, an
                async iterator, or a context manager that gives one, or a coroutine function that does.
            args: Its arguments.
            first_chunk_timeout: Seconds, above 0, from the first `next` until the first chunk comes,
                the call itself included; None: no limit. In asyncio the wait is cancelled. Elsewhere a
                connection of httpx over HTTP/1.1 (and so of the SDKs of OpenAI and Anthropic), of
                requests or urllib3 is shut down, once the function has returned.
            chunk_timeout: The same, from asking for each further chunk until it comes.
            complete: Tells of the last chunk, blank lines apart, whether it ends a whole answer. A
                stream that ends without one is a failure.
            failure_chunk: Tells whether a chunk is the backend's word that it has failed. The consumer
                gets the chunk all the same.
            kwargs: Its keyword arguments.

        Returns:
            A `Stream` of a generator function, an `AsyncStream` of a coroutine function or an async
            generator function; of another function an `EitherStream`, which is both.

        Raises:
            TypeError: `func` can't be called, a time-out is no number, or a predicate can't be called.
            ValueError: A time-out isn't above 0 and finite.
        """
        if not callable(func):
            message = f"func must be a function that returns a stream, not {func!r}"
            raise TypeError(message)
        rules = checked(first_chunk_timeout, chunk_timeout, complete, failure_chunk)
        return self._stream(func, args, kwargs, rules)

    def _stream(self, func: Any, args: Any, kwargs: Any, rules: Rules) -> Any:
        return _STREAMS.get(kind_of(func), EitherStream)(self._course(func, args, kwargs, rules))

    def _course(self, func: Any, args: Any, kwargs: Any, rules: Rules = NO_RULES) -> Course:
        return Course(self, func, args, kwargs, rules)

    def _protected_stream(self, func: Any, rules: Rules) -> Any:
        """Return a function of the same kind whose results are guarded."""
        kind = kind_of(func)
        if kind is GENERATOR:
            if rules.timed:
                message = f"time-outs can't be kept in a generator function for threads, such as {func!r}"
                raise TypeError(message)
            protected: Any = guard(lambda *args, **kwargs: self._course(func, args, kwargs, rules))
        elif kind is ASYNC_GENERATOR:
            protected = guard_async(lambda *args, **kwargs: self._course(func, args, kwargs, rules))
        else:

            def protected(*args: Any, **kwargs: Any) -> Any:
                return self._stream(func, args, kwargs, rules)

        return functools.wraps(func)(protected)

    def _guarded_result(self, generator: Any) -> Any:
        """Guard a generator that came out of a call, whose function listeners have heard of."""
        guarded = guard_async if type(generator) is AsyncGeneratorType else guard
        return guarded(lambda: Course(self, None, (), {}, made=generator))()
