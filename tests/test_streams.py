"""Streams: when a circuit is asked, what counts as what, and what the consumer sees."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import inspect
import json
import logging
import queue
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pybreaker
import pytest
from colours import COLOURS, ENDED, Source

from pybreaker_ext import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitBreakerListener,
    CircuitMemoryStorage,
    CircuitSQLiteStorage,
    FailedResult,
)
from pybreaker_ext.streams import (
    AsyncStream,
    EitherStream,
    IncompleteStreamError,
    Stream,
    anthropic_complete,
    anthropic_error,
    openai_complete,
    openai_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

BOTH = pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)


class BackendError(Exception):
    pass


class EqualToAllError(BackendError):
    """Equals whatever it is compared with."""

    def __eq__(self, other: object) -> bool:
        """Say so."""
        return True

    def __hash__(self) -> int:
        """Return one for all."""
        return 0


class ConsumersError(Exception):
    pass


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Log(CircuitBreakerListener):
    def __init__(self) -> None:
        self.told: list[Any] = []

    def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        self.told.append("before_call")

    def success(self, cb: Any) -> None:
        self.told.append("success")

    def failure(self, cb: Any, exc: BaseException) -> None:
        self.told.append(("failure", exc))

    def neutral(self, cb: Any, exc: BaseException) -> None:
        self.told.append(("neutral", type(exc)))


class Case:
    """A breaker on a clock, in half-open unless told otherwise, and what became of its circuit."""

    def __init__(self, *, closed: bool = False, **settings: Any) -> None:
        self.clock = Clock()
        self.log = Log()
        defaults = {"fail_max": 2, "success_threshold": 2, "probe_timeout": 30, "throw_new_error_on_trip": False}
        self.breaker = CircuitBreaker(
            state_storage=CircuitMemoryStorage("closed" if closed else "half-open", clock=self.clock),
            listeners=[self.log],
            **{**defaults, **settings},
        )

    @property
    def counted(self) -> tuple[str, int, int, int]:
        look = self.breaker.snapshot()
        return look.state, look.success_counter, look.fail_counter, look.probes


NOTHING, ONE_OUT, SUCCESS = ("half-open", 0, 0, 0), ("half-open", 0, 0, 1), ("half-open", 1, 0, 0)
FAILURE = ("open", 0, 1, 0)


def ways(colour: Any, case: Case, source: Source) -> dict[str, Callable[[], Any]]:
    """Return all ways to get a guarded stream of a source."""
    function = colour.function(source)
    return {
        "decorated": case.breaker(function),
        "stream": lambda: case.breaker.stream(function),
        "stream of what is returned": lambda: case.breaker.stream(colour.returning(function())),
        "call": lambda: case.breaker.call(function),
    }


@pytest.fixture(params=["decorated", "stream", "stream of what is returned", "call"])
def way(request: pytest.FixtureRequest) -> str:
    return request.param


@BOTH
class TestWhen:
    def test_never_iterated_is_nothing(self, colour: Any, way: str) -> None:
        case, source = Case(), Source(1)

        async def story() -> None:
            stream = ways(colour, case, source)[way]()
            await colour.close(stream)
            stream = ways(colour, case, source)[way]()
            del stream

        colour.run(story())
        gc.collect()
        assert (case.counted, source.calls, case.log.told) == (NOTHING, 0, [])

    def test_the_ask_comes_at_the_first_next(self, colour: Any, way: str) -> None:
        case, source = Case(), Source(1)

        async def story() -> None:
            stream = ways(colour, case, source)[way]()
            case.breaker.open()
            with pytest.raises(CircuitBreakerError):
                await colour.next(stream)

        colour.run(story())
        assert source.calls == 0

    def test_its_own_end_is_the_success_and_not_before(self, colour: Any, way: str) -> None:
        case, source = Case(), Source(1, 2)

        async def story() -> None:
            stream = ways(colour, case, source)[way]()
            assert (await colour.next(stream), case.counted) == (1, ONE_OUT)
            assert (await colour.next(stream), case.counted) == (2, ONE_OUT)
            assert (await colour.next(stream), case.counted) == (ENDED, SUCCESS)
            assert await colour.next(stream) == ENDED

        colour.run(story())
        assert (source.closed, case.log.told) == (1, ["before_call", "success"])

    @pytest.mark.parametrize("before", [0, 1, 3])
    def test_an_error_from_it_is_a_failure_and_surfaces_unchanged(self, colour: Any, way: str, before: int) -> None:
        error = BackendError()
        case, source = Case(), Source(*range(before), error)

        async def story() -> None:
            stream = ways(colour, case, source)[way]()
            for chunk in range(before):
                assert await colour.next(stream) == chunk
            with pytest.raises(BackendError) as raised:
                await colour.next(stream)
            assert raised.value is error

        colour.run(story())
        assert (case.counted, source.closed) == (FAILURE, 1)
        assert case.log.told == ["before_call", ("failure", error)]

    def test_the_error_that_trips_is_replaced_if_that_is_asked_for(self, colour: Any) -> None:
        """As of calls."""
        case, source = Case(throw_new_error_on_trip=True), Source(1, BackendError())

        async def story() -> None:
            with pytest.raises(CircuitBreakerError) as raised:
                await colour.all(case.breaker.stream(colour.function(source)))
            assert isinstance(raised.value.__cause__, BackendError)

        colour.run(story())

    def test_errors_are_judged_like_those_of_calls(self, colour: Any) -> None:
        case = Case(ignore=[BackendError], hold_for=lambda error: 5 if isinstance(error, OSError) else None)

        async def story() -> None:
            with pytest.raises(BackendError):
                await colour.all(case.breaker.stream(colour.function(Source(1, BackendError()))))
            assert case.counted == NOTHING
            with pytest.raises(OSError, match="busy"):
                await colour.all(case.breaker.stream(colour.function(Source(1, OSError("busy")))))
            assert (case.breaker.snapshot().reason, case.breaker.retry_after) == ("hold", 5.0)

        colour.run(story())

    def test_many_can_be_out_while_closed(self, colour: Any) -> None:
        case = Case(closed=True)

        async def story() -> None:
            streams = [case.breaker.stream(colour.function(Source(*range(3)))) for _ in range(10)]
            for chunk in range(3):
                assert [await colour.next(stream) for stream in streams] == [chunk] * 10

        colour.run(story())


@BOTH
class TestConsumersThatStop:
    """Neutral, the permit free at once, and the underlying stream closed."""

    def test_by_closing(self, colour: Any, way: str) -> None:
        case, source = Case(), Source(1, 2)

        async def story() -> None:
            stream = ways(colour, case, source)[way]()
            await colour.next(stream)
            await colour.close(stream)
            assert (case.counted, source.closed) == (NOTHING, 1)
            assert await colour.next(stream) == ENDED

        colour.run(story())
        assert case.log.told == ["before_call", ("neutral", GeneratorExit)]

    def test_by_being_collected(self, colour: Any, way: str) -> None:
        """pybreaker counts a failure."""
        case, source = Case(), Source(1, 2)

        async def story() -> None:
            stream = ways(colour, case, source)[way]()
            await colour.next(stream)
            del stream
            gc.collect()
            if colour.name == "asyncio":
                await asyncio.sleep(0.01)
            assert (case.counted, source.closed) == (NOTHING, 1)

        colour.run(story())

    @pytest.mark.parametrize("error", [None, ConsumersError(), KeyboardInterrupt()])
    def test_by_leaving_a_block(self, colour: Any, error: BaseException | None) -> None:
        case, source = Case(), Source(1, 2)

        async def story() -> None:
            stream = case.breaker.stream(colour.function(source))
            if error is None:
                await colour.leave_block(stream)
            else:
                with pytest.raises(type(error)):
                    await colour.leave_block(stream, error)
            assert (case.counted, source.closed) == (NOTHING, 1)

        colour.run(story())

    def test_by_an_error_of_its_own_that_is_thrown_in(self, colour: Any, way: str) -> None:
        """As `contextlib.contextmanager` does with what a `with` block raises."""
        case, source, error = Case(), Source(1, 2), ConsumersError()

        async def story() -> None:
            stream = ways(colour, case, source)[way]()
            await colour.next(stream)
            with pytest.raises(ConsumersError) as raised:
                await colour.throw(stream, error)
            assert raised.value is error

        colour.run(story())
        assert (case.counted, source.closed) == (NOTHING, 1)

    def test_by_an_error_that_the_source_makes_another_one_of(self, colour: Any) -> None:
        case = Case()

        def plain() -> Iterator[int]:
            try:
                yield 1
            except ConsumersError as error:
                raise RuntimeError from error

        async def asynchronous() -> Any:
            try:
                yield 1
            except ConsumersError as error:
                raise RuntimeError from error

        async def story() -> None:
            stream = case.breaker(plain if colour.name == "threads" else asynchronous)()
            await colour.next(stream)
            with pytest.raises(RuntimeError):
                await colour.throw(stream, ConsumersError())

        colour.run(story())
        assert case.counted == NOTHING

    def test_an_error_after_one_that_was_thrown_in_is_the_backends(self, colour: Any) -> None:
        case = Case()

        def plain() -> Iterator[int]:
            with contextlib.suppress(ConsumersError):
                yield 1
            yield 2
            raise BackendError

        async def asynchronous() -> Any:
            with contextlib.suppress(ConsumersError):
                yield 1
            yield 2
            raise BackendError

        async def story() -> None:
            stream = case.breaker(plain if colour.name == "threads" else asynchronous)()
            await colour.next(stream)
            assert await colour.throw(stream, ConsumersError()) == 2
            with pytest.raises(BackendError):
                await colour.next(stream)

        colour.run(story())
        assert case.counted == FAILURE

    def test_an_error_that_equals_the_one_that_was_thrown_in_is_not_that(self, colour: Any) -> None:
        case = Case()

        def plain() -> Iterator[int]:
            with contextlib.suppress(ConsumersError):
                yield 1
            raise EqualToAllError

        async def asynchronous() -> Any:
            with contextlib.suppress(ConsumersError):
                yield 1
            raise EqualToAllError

        async def story() -> None:
            stream = case.breaker(plain if colour.name == "threads" else asynchronous)()
            await colour.next(stream)
            with pytest.raises(EqualToAllError):
                await colour.throw(stream, ConsumersError())

        colour.run(story())
        assert case.counted == FAILURE

    def test_an_error_while_closing_is_the_consumers_to_see(self, colour: Any) -> None:
        case = Case()

        def plain() -> Iterator[int]:
            try:
                yield 1
            finally:
                raise BackendError

        async def asynchronous() -> Any:
            try:
                yield 1
            finally:
                raise BackendError

        async def story() -> None:
            stream = case.breaker(plain if colour.name == "threads" else asynchronous)()
            await colour.next(stream)
            with pytest.raises(BackendError):
                await colour.close(stream)

        colour.run(story())
        assert case.counted == NOTHING


@BOTH
class TestWhatPassesThrough:
    def test_what_is_sent_thrown_and_returned(self, colour: Any) -> None:
        case = Case(closed=True)
        source = Source("first", "second", returns="end")

        async def story() -> None:
            stream = case.breaker(colour.function(source))()
            assert await colour.next(stream) == "first"
            assert await colour.send(stream, "sent") == "second"
            if colour.name == "threads":  # async generators return nothing
                with pytest.raises(StopIteration) as stopped:
                    next(stream)
                assert stopped.value.value == "end"
            else:
                assert await colour.next(stream) == ENDED

        colour.run(story())
        assert source.got == ["sent", None]

    def test_stop_iteration_from_the_function_is_no_end(self, colour: Any) -> None:
        """Python makes a RuntimeError of it, as in every generator; a success it is not."""
        case = Case()
        error = StopIteration() if colour.name == "threads" else StopAsyncIteration()

        def plain() -> Any:
            raise error

        async def asynchronous() -> Any:
            raise error

        async def story() -> None:
            stream = case.breaker.stream(plain if colour.name == "threads" else asynchronous)
            with pytest.raises(RuntimeError):
                await colour.next(stream)

        colour.run(story())
        assert case.counted == FAILURE

    def test_attributes_of_the_underlying_stream(self, colour: Any) -> None:
        case, source = Case(), Source(1, 2)

        class Response:
            response = "the response"
            closed = 0

            def __init__(self) -> None:
                self.chunks = colour.function(source)()

            def __next__(self) -> Any:
                return next(self.chunks)

            async def __anext__(self) -> Any:
                return await anext(self.chunks)

            def close(self) -> None:
                self.closed += 1

        found = Response()

        async def story() -> None:
            stream = case.breaker.stream(colour.returning(found))
            with pytest.raises(AttributeError, match="before its first chunk"):
                _ = stream.response
            await colour.next(stream)
            assert (stream.response, stream.chunks) == ("the response", found.chunks)
            with pytest.raises(AttributeError, match="nothing"):
                _ = stream.nothing
            await colour.close(stream)
            assert stream.response == "the response"

        colour.run(story())
        assert found.closed == 1

    def test_signatures_and_kinds(self, colour: Any) -> None:
        case = Case()
        function = colour.function(Source(1))
        options: dict[str, Any] = {"complete": bool}
        for protected in (case.breaker(function), case.breaker()(function), case.breaker(**options)(function)):
            assert inspect.signature(protected) == inspect.signature(function)
            assert protected.__name__ == function.__name__
            assert inspect.isgeneratorfunction(protected) == inspect.isgeneratorfunction(function)
            assert inspect.isasyncgenfunction(protected) == inspect.isasyncgenfunction(function)

    def test_methods(self, colour: Any) -> None:
        case = Case(closed=True)
        breaker = case.breaker

        class Client:
            def __init__(self) -> None:
                self.source = Source(1, 2)

            @breaker
            def plain(self) -> Iterator[int]:
                yield from self.source.plain()

            @breaker
            async def asynchronous(self) -> Any:
                async for chunk in self.source.asynchronous():
                    yield chunk

            @staticmethod
            @breaker()
            def fixed() -> Iterator[int]:
                yield 3

        async def story() -> None:
            client = Client()
            assert await colour.all(client.plain() if colour.name == "threads" else client.asynchronous()) == [1, 2]
            assert list(Client.fixed()) == [3]

        colour.run(story())

    def test_once_only(self, colour: Any) -> None:
        case = Case()

        async def story() -> None:
            stream = case.breaker.stream(colour.function(Source(1)))
            assert await colour.all(stream) == [1]
            assert await colour.all(stream) == []

        colour.run(story())
        assert case.counted == SUCCESS


class TestColours:
    def test_what_stream_returns(self) -> None:
        breaker = Case().breaker

        async def coroutine() -> Any:
            return Source(1).asynchronous()

        assert type(breaker.stream(Source().plain)) is Stream
        assert type(breaker.stream(Source().asynchronous)) is AsyncStream
        assert type(breaker.stream(coroutine)) is AsyncStream
        assert type(breaker.stream(list)) is EitherStream

    def test_a_plain_function_may_return_either(self) -> None:
        case = Case(closed=True)
        plain, asynchronous = Source(1, 2), Source(1, 2)

        async def story() -> None:
            assert [chunk async for chunk in case.breaker.stream(lambda: asynchronous.asynchronous())] == [1, 2]
            async with case.breaker.stream(lambda: Source(1, 2).asynchronous()) as stream:
                assert await anext(stream) == 1
            async with await case.breaker.stream(lambda: asyncio.sleep(0, Source(3).asynchronous())) as stream:
                assert [chunk async for chunk in stream] == [3]
            stream = case.breaker.stream(lambda: Source(1, 2).asynchronous())
            assert await anext(stream) == 1
            await stream.close()
            assert await anext(stream, ENDED) == ENDED

        assert list(case.breaker.stream(lambda: plain.plain())) == [1, 2]
        with case.breaker.stream(lambda: Source(1, 2).plain()) as stream:
            assert next(stream) == 1
        stream = case.breaker.stream(lambda: Source(1, 2).plain())
        assert next(stream) == 1
        stream.close()
        assert next(stream, ENDED) == ENDED
        asyncio.run(story())

    def test_closing_before_the_first_chunk_can_be_awaited(self) -> None:
        case, source = Case(), Source(1)

        async def story() -> None:
            stream = case.breaker.stream(lambda: source.asynchronous())
            await stream.close()
            with pytest.raises(RuntimeError, match="iterated once"):
                await anext(stream)
            stream = case.breaker.stream(lambda: source.asynchronous())
            await stream.aclose()

        asyncio.run(story())
        assert (case.counted, source.calls) == (NOTHING, 0)

    def test_not_both_ways(self) -> None:
        stream = Case().breaker.stream(lambda: Source(1, 2).plain())
        assert next(stream) == 1
        with pytest.raises(RuntimeError, match="iterated once"):
            asyncio.run(anext(aiter(stream)))
        assert next(stream) == 2

    def test_the_wrong_colour_is_the_callers_mistake(self) -> None:
        case = Case()

        async def story() -> None:
            with pytest.raises(TypeError, match="use `for`"):
                await anext(case.breaker.stream(lambda: Source(1).plain()))

        asyncio.run(story())
        with pytest.raises(TypeError, match="use `async for`"):
            next(case.breaker.stream(lambda: Source(1).asynchronous()))
        with pytest.raises(TypeError, match="use `async for`"):
            next(case.breaker.stream(lambda: asyncio.sleep(0)))
        assert case.counted == NOTHING

    @pytest.mark.parametrize("found", ["an answer", b"an answer", {"an": "answer"}, None, 5])
    def test_what_is_no_stream(self, found: Any) -> None:
        case = Case()
        with pytest.raises(TypeError, match="which is no stream"):
            next(case.breaker.stream(lambda: found))

        async def story() -> None:
            with pytest.raises(TypeError, match="which is no stream"):
                await anext(case.breaker.stream(lambda: found))

        asyncio.run(story())
        assert case.counted == NOTHING

    def test_a_forgotten_stream_true_is_guessed(self) -> None:
        with pytest.raises(TypeError, match="was `stream=True` forgotten"):
            next(Case().breaker.stream(lambda: {"choices": []}))

    def test_context_managers_are_entered_and_left(self) -> None:
        """As Anthropic's `messages.stream` returns."""
        case = Case(closed=True)
        left: list[Any] = []

        @contextlib.contextmanager
        def plain() -> Iterator[Any]:
            yield iter([1, 2])
            left.append("plain")

        @contextlib.asynccontextmanager
        async def asynchronous() -> Any:
            yield Source(1, 2).asynchronous()
            left.append("asynchronous")

        async def story() -> None:
            assert [chunk async for chunk in case.breaker.stream(asynchronous)] == [1, 2]

        assert list(case.breaker.stream(plain)) == [1, 2]
        asyncio.run(story())
        assert left == ["plain", "asynchronous"]

    def test_a_stream_can_be_awaited_for_itself(self) -> None:
        """So that `await client.create(stream=True)` may become `await breaker.stream(client.create, stream=True)`."""
        case = Case(closed=True)

        @case.breaker(complete=lambda chunk: chunk == 2)
        async def chat() -> Any:
            return Source(1, 2).asynchronous()

        async def story() -> None:
            assert [chunk async for chunk in await chat()] == [1, 2]
            assert [chunk async for chunk in chat()] == [1, 2]

        asyncio.run(story())

    def test_streams_are_neither_copied_nor_guessed_at(self) -> None:
        stream = Case().breaker.stream(list)
        assert not hasattr(stream, "__deepcopy__")
        assert not hasattr(Stream.__new__(Stream), "_course")


class TestCancellation:
    def story(self, case: Case, consume: Callable[[Any], Any]) -> Source:
        source = Source(1)

        async def stalls() -> Any:
            async for chunk in source.asynchronous():
                yield chunk
                with contextlib.suppress(TimeoutError):
                    await asyncio.sleep(1000)

        async def main() -> None:
            stream = case.breaker.stream(stalls)
            with contextlib.suppress(TimeoutError, asyncio.CancelledError):
                await consume(stream)
            gc.collect()
            await asyncio.sleep(0.01)

        asyncio.run(main())
        return source

    def test_while_waiting_for_a_chunk(self) -> None:
        case = Case()

        async def consume(stream: Any) -> None:
            task = asyncio.ensure_future(self.all(stream))
            await asyncio.sleep(0.01)
            task.cancel()
            await task

        self.story(case, consume)
        assert (case.counted, case.log.told[1:]) == (NOTHING, [("neutral", asyncio.CancelledError)])

    def test_the_consumers_own_time_out_is_no_failure(self) -> None:
        case = Case()

        async def consume(stream: Any) -> None:
            async with asyncio.timeout(0.01):
                await self.all(stream)

        self.story(case, consume)
        assert case.counted == NOTHING

    async def all(self, stream: Any) -> list[Any]:
        return [chunk async for chunk in stream]


@BOTH
class TestLeases:
    """Row 21: a probe that still sends is no dead holder."""

    def test_are_renewed_while_chunks_come(self, colour: Any, way: str) -> None:
        case, source = Case(probe_timeout=30), Source(*range(100))

        async def story() -> None:
            stream = ways(colour, case, source)[way]()
            for _ in range(20):
                await colour.next(stream)
                if colour.name == "asyncio":
                    await asyncio.sleep(0)  # it is told in the background
                case.clock.now += 11
                with pytest.raises(CircuitBreakerError):
                    await colour.call(case.breaker, lambda: None)
            await colour.close(stream)

        colour.run(story())

    @pytest.mark.parametrize(("lease", "third"), [(30, 10), (32, 11)])
    def test_at_most_once_in_a_third_of_a_lease(self, colour: Any, lease: float, third: float) -> None:
        """A chunk comes each second."""
        renewals: list[float] = []
        case = Case(probe_timeout=lease)
        storage = case.breaker._state_storage
        apply = storage.apply

        def noting(event: Any, policy: Any) -> Any:
            if event.kind == "renew":
                renewals.append(case.clock.now)
            return apply(event, policy)

        storage.apply = noting

        async def story() -> None:
            stream = case.breaker.stream(colour.function(Source(*range(1000))))
            for _ in range(100):
                await colour.next(stream)
                if colour.name == "asyncio":
                    await asyncio.sleep(0)
                case.clock.now += 1
            await colour.close(stream)

        colour.run(story())
        assert renewals == [100.0 + third * n for n in range(1, 10)]

    def test_end_when_nothing_comes(self, colour: Any) -> None:
        case = Case(probe_timeout=30)

        async def story() -> None:
            stream = case.breaker.stream(colour.function(Source(1, 2, 3)))
            await colour.next(stream)
            case.clock.now += 31
            await colour.call(case.breaker, lambda: None)  # another probe
            assert case.counted == SUCCESS
            assert await colour.all(stream) == [2, 3]  # it still has its say

        colour.run(story())
        assert case.breaker.current_state == "closed"

    def test_calls_in_a_closed_circuit_have_none(self, colour: Any) -> None:
        case = Case(closed=True)
        storage = case.breaker._state_storage
        apply, kinds = storage.apply, []
        storage.apply = lambda event, policy: (kinds.append(event.kind), apply(event, policy))[1]

        async def story() -> None:
            stream = case.breaker.stream(colour.function(Source(*range(5))))
            for _ in range(5):
                await colour.next(stream)
                case.clock.now += 100
            assert stream._course.watches is False
            await colour.close(stream)

        colour.run(story())
        assert "renew" not in kinds


@BOTH
class TestEndings:
    def test_without_a_complete_last_chunk_it_is_a_failure(self, colour: Any) -> None:
        case = Case(ignore=[Exception])  # nothing excuses a cut answer

        async def story() -> None:
            stream = case.breaker.stream(colour.function(Source(1, 2)), complete=lambda chunk: chunk == 3)
            assert [await colour.next(stream) for _ in range(2)] == [1, 2]
            with pytest.raises(IncompleteStreamError, match="ended before its answer was complete"):
                await colour.next(stream)

        colour.run(story())
        assert case.counted == FAILURE

    def test_the_last_chunk_is_what_counts(self, colour: Any) -> None:
        case, asked = Case(), []

        def complete(chunk: Any) -> bool:
            asked.append(chunk)
            return True

        async def story() -> None:
            @case.breaker(complete=complete)
            def decorated() -> Any:
                return colour.function(Source(1, 2, "", b"\n"))()

            assert await colour.all(decorated()) == [1, 2, "", b"\n"]

        colour.run(story())
        assert (asked, case.counted) == ([2], SUCCESS)

    def test_chunks_are_never_compared(self, colour: Any) -> None:
        """Nor asked whether they are true, as arrays are not."""

        class Chunk:
            def __eq__(self, other: object) -> bool:
                raise ConsumersError

            __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__
            __hash__ = None

            def __bool__(self) -> bool:
                raise ConsumersError

        case, chunk = Case(), Chunk()

        async def story() -> None:
            stream = case.breaker.stream(colour.function(Source(chunk)), complete=lambda last: last is chunk)
            assert await colour.next(stream) is chunk
            assert await colour.next(stream) == ENDED

        colour.run(story())
        assert case.counted == SUCCESS

    def test_an_empty_stream_is_cut_off(self, colour: Any) -> None:
        case = Case()

        async def story() -> None:
            with pytest.raises(IncompleteStreamError):
                await colour.all(case.breaker.stream(colour.function(Source()), complete=lambda _: True))

        colour.run(story())
        assert case.counted == FAILURE

    def test_a_consumer_that_stops_early_is_still_neutral(self, colour: Any) -> None:
        case = Case()

        async def story() -> None:
            stream = case.breaker.stream(colour.function(Source(1, 2)), complete=lambda _: False)
            await colour.next(stream)
            await colour.close(stream)

        colour.run(story())
        assert case.counted == NOTHING

    @pytest.mark.parametrize("then", ["end", "close", "error"])
    def test_an_error_event_is_a_failure_whatever_comes_then(self, colour: Any, then: str) -> None:
        case = Case(throw_new_error_on_trip=True)
        source = Source(1, "error", 2, *([BackendError()] if then == "error" else []))

        async def story() -> None:
            stream = case.breaker.stream(colour.function(source), failure_chunk=lambda chunk: chunk == "error")
            assert [await colour.next(stream) for _ in range(2)] == [1, "error"]
            assert case.counted == FAILURE  # at once
            assert await colour.next(stream) == 2
            if then == "error":
                with pytest.raises(BackendError):
                    await colour.next(stream)
            elif then == "end":
                assert await colour.next(stream) == ENDED
            await colour.close(stream)

        colour.run(story())
        assert case.counted == FAILURE
        failures = [told for told in case.log.told if told[0] == "failure"]
        assert [type(error) for _, error in failures] == [FailedResult]
        assert failures[0][1].result == "error"

    def test_an_error_event_in_an_incomplete_stream_counts_once(self, colour: Any) -> None:
        case = Case(closed=True)

        async def story() -> None:
            stream = case.breaker.stream(
                colour.function(Source(1)), complete=lambda _: False, failure_chunk=lambda _: True
            )
            with pytest.raises(IncompleteStreamError):
                await colour.all(stream)

        colour.run(story())
        assert case.counted == ("closed", 0, 1, 0)

    @pytest.mark.parametrize("name", ["complete", "failure_chunk"])
    def test_a_predicate_that_raises_is_logged_and_a_failure(
        self, colour: Any, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        case = Case()

        async def story() -> None:
            predicate: Any = {name: lambda _: 1 / 0}
            assert await colour.all(case.breaker.stream(colour.function(Source(1)), **predicate)) == [1]

        with caplog.at_level(logging.ERROR, "pybreaker_ext.streams"):
            colour.run(story())
        assert case.counted == FAILURE
        assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ZeroDivisionError]


class TestTimeouts:
    @pytest.mark.parametrize("chunks", [0, 2])
    def test_in_asyncio_a_chunk_that_does_not_come_is_a_failure(self, chunks: int) -> None:
        case = Case(ignore=[Exception])
        closed: list[bool] = []

        async def stalls() -> Any:
            try:
                for chunk in range(chunks):
                    yield chunk
                await asyncio.sleep(1000)
            finally:
                closed.append(True)

        @case.breaker(first_chunk_timeout=0.05, chunk_timeout=0.06)
        async def decorated() -> Any:
            return stalls()

        async def story() -> None:
            stream = decorated()
            for chunk in range(chunks):
                assert await anext(stream) == chunk
            wanted = r"next chunk .* chunk_timeout=0\.06" if chunks else r"first chunk .* first_chunk_timeout=0\.05"
            with pytest.raises(TimeoutError, match=wanted):
                await anext(stream)
            assert closed == [True]

        asyncio.run(story())
        assert case.counted == FAILURE

    def test_the_call_itself_is_part_of_the_first_wait(self) -> None:
        case = Case()

        async def stalls() -> Any:
            await asyncio.sleep(1000)

        async def story() -> None:
            with pytest.raises(TimeoutError, match="first chunk"):
                await anext(case.breaker.stream(stalls, first_chunk_timeout=0.05))

        asyncio.run(story())
        assert case.counted == FAILURE

    def test_the_consumers_time_between_chunks_is_its_own(self) -> None:
        case = Case()

        async def story() -> None:
            stream = case.breaker.stream(Source(1, 2).asynchronous, first_chunk_timeout=5, chunk_timeout=0.05)
            await anext(stream)
            await asyncio.sleep(0.1)
            assert await anext(stream) == 2
            assert await anext(stream, ENDED) == ENDED

        asyncio.run(story())
        assert case.counted == SUCCESS

    def test_each_wait_is_as_long_as_is_left(self, monkeypatch: pytest.MonkeyPatch) -> None:
        waits: list[float | None] = []
        timeout = asyncio.timeout
        monkeypatch.setattr(asyncio, "timeout", lambda limit: (waits.append(limit), timeout(limit))[1])

        async def story(**limits: float) -> list[float | None]:
            waits.clear()
            async for _ in Case().breaker.stream(Source(1).asynchronous, **limits):
                pass
            return [*waits]

        call, first, end = asyncio.run(story(first_chunk_timeout=1000))
        assert 900 < first <= call <= 1000
        assert end is None
        assert asyncio.run(story(chunk_timeout=1000)) == [None, None, 1000]

    def test_a_time_out_of_the_clients_own_passes(self) -> None:
        case, error = Case(), TimeoutError("the client's")

        async def story() -> None:
            with pytest.raises(TimeoutError) as raised:
                await anext(case.breaker.stream(Source(error).asynchronous, first_chunk_timeout=5))
            assert raised.value is error

        asyncio.run(story())
        assert case.counted == FAILURE

    def test_a_cancellation_is_none(self) -> None:
        case = Case()

        async def stalls() -> Any:
            await asyncio.sleep(1000)

        async def story() -> None:
            task = asyncio.ensure_future(anext(case.breaker.stream(stalls, first_chunk_timeout=500)))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(story())
        assert case.counted == NOTHING

    def test_for_threads_something_must_be_known_that_ends_a_wait(self) -> None:
        case, source = Case(), Source(1)
        with pytest.raises(TypeError, match="set the time-out of your client instead"):
            next(case.breaker.stream(source.plain, chunk_timeout=1))
        assert (case.counted, source.closed) == (NOTHING, 0)
        with pytest.raises(TypeError, match="generator function for threads"):
            case.breaker(chunk_timeout=1)(source.plain)

    @pytest.mark.parametrize("name", ["first_chunk_timeout", "chunk_timeout"])
    @pytest.mark.parametrize(
        ("value", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (True, TypeError)]
    )
    def test_are_checked(self, name: str, value: Any, error: type[Exception]) -> None:
        breaker = Case().breaker
        given: Any = {name: value}
        with pytest.raises(error, match=f"{name} must be a finite number of seconds above 0"):
            breaker.stream(Source().plain, **given)
        with pytest.raises(error, match=f"{name} must be a finite number of seconds above 0"):
            breaker(**given)

    def test_predicates_are_checked(self) -> None:
        breaker = Case().breaker
        for name in ("complete", "failure_chunk"):
            given: Any = {name: 5}
            with pytest.raises(TypeError, match=f"{name} must be callable or None, not 5"):
                breaker.stream(Source().plain, **given)
        with pytest.raises(TypeError, match="takes no argument 'timeout', only chunk_timeout, complete"):
            breaker(timeout=5)
        with pytest.raises(TypeError, match="func must be a function that returns a stream, not 5"):
            breaker.stream(5)  # type: ignore[call-overload]


class TestTheWatchdog:
    """For threads: waits are ended from another one."""

    def watch(self) -> tuple[Any, threading.Event]:
        from pybreaker_ext.streams.watchdog import Watch, Watchdog

        cut = threading.Event()
        return Watch(Watchdog(), cut.set), cut

    def test_cuts_what_lasts_too_long(self) -> None:
        watch, cut = self.watch()
        watch.begin(0.02)
        assert cut.wait(30)
        assert watch.end()
        watch.leave()

    def test_leaves_alone_what_ends_in_time(self) -> None:
        watch, cut = self.watch()
        for _ in range(100):
            watch.begin(30)
            assert not watch.end()
        watch.leave()
        assert not cut.is_set()

    def test_is_not_lost_when_its_thread_could_not_be_started(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """There may be too many at that moment."""

        def start(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        watch, cut = self.watch()
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            with pytest.raises(RuntimeError, match="can't start"):
                watch.begin(0.02)
            watch.leave()
        watch.begin(0.02)
        assert cut.wait(30)
        assert watch.end()
        watch.leave()

    def test_looks_at_the_soonest_of_many(self) -> None:
        watch, cut = self.watch()
        patient = [type(watch)(watch._dog, lambda: None) for _ in range(10)]
        for other in patient:
            other.begin(1000)
        watch.begin(0.02)
        assert cut.wait(30)
        assert not any(other.end() for other in patient)
        for other in (watch, *patient):
            other.leave()

    def test_one_that_may_last_for_ages_keeps_no_other_from_being_cut(self) -> None:
        """Longer than any lock can be waited for."""
        watch, cut = self.watch()
        patient = type(watch)(watch._dog, lambda: None)
        patient.begin(1e300)
        watch.begin(0.02)
        assert cut.wait(30)
        for other in (watch, patient):
            other.leave()

    def test_the_time_is_from_now(self) -> None:
        watch, _ = self.watch()
        before = time.monotonic()
        watch.begin(1000)
        assert before + 1000 <= watch.until <= time.monotonic() + 1000
        watch.leave()

    def test_sleeps_until_then_and_for_ages_when_nobody_waits(self) -> None:
        watch, _ = self.watch()
        slept: queue.SimpleQueue[Any] = queue.SimpleQueue()

        class Noting(threading.Condition):
            def wait(self, timeout: float | None = None) -> bool:
                slept.put(timeout)
                return super().wait(timeout)

        watch._dog._changed = Noting(threading.RLock())
        watch.begin(1000)
        assert 900 < slept.get(timeout=30) <= 1000
        watch.begin(0.02)
        watch.end()
        while (seconds := slept.get(timeout=30)) <= 1000:
            pass
        assert seconds == threading.TIMEOUT_MAX
        watch.leave()

    def test_goes_on_when_it_has_cut(self) -> None:
        watch, cut = self.watch()
        for _ in range(2):
            cut.clear()
            watch.begin(0.02)
            assert cut.wait(30)
            assert watch.end()
        watch.leave()

    def test_its_thread_ends_with_the_last_watch(self) -> None:
        watch, _ = self.watch()
        watch.begin(1000)
        thread = watch._dog._thread
        assert thread.is_alive()
        assert thread.daemon
        watch.leave()
        thread.join(30)
        assert not thread.is_alive()
        watch.begin(1000)
        assert watch._dog._thread is not thread
        watch.leave()


class TestPredicates:
    def chunk(self, **fields: Any) -> Any:
        return SimpleNamespace(**fields)

    @pytest.mark.parametrize("form", ["object", "mapping", "line", "bytes"])
    def test_of_openai(self, form: str) -> None:
        shape = self.shape(form)
        assert openai_complete(shape({"choices": [{"finish_reason": "stop"}]}))
        assert not openai_complete(shape({"choices": [{"finish_reason": None}]}))
        assert openai_complete(shape({"choices": [], "usage": {"total_tokens": 5}}))
        assert not openai_complete(shape({"choices": []}))
        assert openai_complete(shape({"type": "response.completed"}))
        assert not openai_complete(shape({"type": "response.failed"}))
        assert not openai_complete(shape({"type": "response.output_text.delta"}))
        assert openai_error(shape({"error": {"message": "overloaded"}}))
        assert openai_error(shape({"type": "response.failed"}))
        assert not openai_error(shape({"choices": [{"finish_reason": None}], "error": None}))

    @pytest.mark.parametrize("form", ["object", "mapping", "line", "bytes"])
    def test_of_anthropic(self, form: str) -> None:
        shape = self.shape(form)
        assert anthropic_complete(shape({"type": "message_stop"}))
        assert not anthropic_complete(shape({"type": "message_delta"}))
        assert anthropic_error(shape({"type": "error", "error": {"type": "overloaded_error"}}))
        for kind in ("message_start", "content_block_start", "content_block_delta", "content_block_stop", "ping", "x"):
            assert not anthropic_complete(shape({"type": kind}))
            assert not anthropic_error(shape({"type": kind}))

    def test_lines(self) -> None:
        assert openai_complete("data: [DONE]\n\n")
        assert openai_complete(b'data: {"choices": [{"finish_reason": null}]}\n\ndata: [DONE]\n\n')
        assert not openai_complete(b'data: [DONE]\n\ndata: {"choices": [{"finish_reason": null}]}\n\n')
        assert openai_error('data: {"error": {}}\ndata: {"error": {"message": "m"}}\ndata: [DONE]')

    def test_the_last_event_of_some_lines_is_what_counts(self) -> None:
        assert anthropic_complete('data: {"type": "ping"}\n\ndata: {"type": "message_stop"}\n\n')
        assert not anthropic_complete('data: {"type": "message_stop"}\n\ndata: {"type": "ping"}\n\n')

    @pytest.mark.parametrize("field", ["", "comment", "event", "id", "retry", "dat", "data2"])
    def test_other_fields_than_data_say_nothing(self, field: str) -> None:
        assert not anthropic_complete(f'{field}: {{"type": "message_stop"}}')
        assert not anthropic_error(f'{field}: {{"type": "error"}}')
        assert not openai_complete(f"{field}: [DONE]")
        assert not openai_error(f'{field}: {{"type": "error"}}')

    @pytest.mark.parametrize(
        "chunk", [None, 5, "", b"", "data:", "data: {", "data: 5", b"\xff", object(), {}, [], "[" * 9999]
    )
    def test_what_is_none_of_these_says_nothing(self, chunk: Any) -> None:
        for predicate in (openai_complete, openai_error, anthropic_complete, anthropic_error):
            assert predicate(chunk) is False

    def shape(self, form: str) -> Callable[[dict[str, Any]], Any]:
        if form == "mapping":
            return lambda fields: fields
        if form == "object":
            return lambda fields: json.loads(json.dumps(fields), object_hook=lambda found: SimpleNamespace(**found))
        if form == "line":
            return lambda fields: f"data: {json.dumps(fields)}"
        return lambda fields: f"event: x\ndata:{json.dumps(fields)}\n\n".encode()


class TestWhatPybreakerGetsWrong:
    """Shown on pybreaker itself, and the same with ours."""

    def breakers(self) -> tuple[Any, Any]:
        return pybreaker.CircuitBreaker(fail_max=1), CircuitBreaker(fail_max=1)

    def test_an_abandoned_generator_is_a_failure(self) -> None:
        def numbers() -> Iterator[int]:
            yield 1
            yield 2

        for breaker, state in zip(self.breakers(), ("open", "closed"), strict=True):
            stream = breaker.call(numbers)
            next(stream)
            with contextlib.suppress(pybreaker.CircuitBreakerError):
                stream.close()
            assert breaker.current_state == state

    def test_what_a_generator_returns_is_lost(self) -> None:
        def numbers() -> Any:
            yield 1
            return "end"

        def returned(breaker: Any) -> Any:
            stream = breaker.call(numbers)
            next(stream)
            with pytest.raises(StopIteration) as stopped:
                next(stream)
            return stopped.value.value

        assert [returned(breaker) for breaker in self.breakers()] == [None, "end"]

    def test_async_generators_are_not_seen(self) -> None:
        async def broken() -> Any:
            yield 1
            raise BackendError

        async def story(breaker: Any) -> str:
            with contextlib.suppress(BackendError, pybreaker.CircuitBreakerError):
                async for _ in breaker(broken)():
                    pass
            return breaker.current_state

        assert [asyncio.run(story(breaker)) for breaker in self.breakers()] == ["closed", "open"]


class TestStores:
    """Sent by asyncio's own client, and kept in a file."""

    def test_a_stream_of_each_end_on_redis_in_asyncio(self, redis_server: Any) -> None:
        from pybreaker_ext import CircuitRedisStorage

        client = redis_server.client(socket_timeout=10, socket_connect_timeout=10)
        storage = CircuitRedisStorage("closed", client, "streams")
        with client:
            self.story(CircuitBreaker(fail_max=1, probe_timeout=30, state_storage=storage))

    def test_a_stream_of_each_end_on_sqlite_in_asyncio(self, tmp_path: Path) -> None:
        self.story(CircuitBreaker(fail_max=1, state_storage=CircuitSQLiteStorage(tmp_path / "c.db", "n")))

    def story(self, breaker: CircuitBreaker) -> None:
        async def main() -> None:
            await breaker.half_open_async()
            stream = breaker.stream(Source(1, 2).asynchronous)
            await anext(stream)
            assert (await breaker.snapshot_async()).probes == 1
            await stream.aclose()
            assert (await breaker.snapshot_async()).probes == 0
            assert [chunk async for chunk in breaker.stream(Source(1, 2).asynchronous)] == [1, 2]
            assert (await breaker.snapshot_async()).state == "closed"
            with pytest.raises(CircuitBreakerError):
                await self.broken(breaker)
            assert (await breaker.snapshot_async()).state == "open"

        asyncio.run(main())

    async def broken(self, breaker: CircuitBreaker) -> None:
        async for _ in breaker.stream(Source(1, BackendError()).asynchronous):
            pass


def test_ten_thousand_at_once_keep_no_chunks() -> None:
    """Each holds its last chunk at most, and only when that is asked for."""
    breaker = CircuitBreaker()
    kept: list[Any] = []

    class Chunk:
        alive = 0

        def __init__(self) -> None:
            Chunk.alive += 1

        def __del__(self) -> None:
            Chunk.alive -= 1

    async def chunks() -> Any:
        for _ in range(20):
            yield Chunk()
            await asyncio.sleep(0)

    async def consume(**rules: Any) -> None:
        async for chunk in breaker.stream(chunks, **rules):
            del chunk
            kept.append(Chunk.alive)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(10_000):
                group.create_task(consume(**({"complete": bool} if number % 2 else {})))

    asyncio.run(main())
    assert len(kept) == 200_000
    assert max(kept) <= 20_000  # at most one that is yielded and one that is remembered of each
    assert breaker.fail_counter == 0


def test_partials_and_callable_objects() -> None:
    case = Case(closed=True)

    class Function:
        def __call__(self, first: int) -> Iterator[int]:
            yield first

    assert list(case.breaker.stream(functools.partial(Function(), 5))) == [5]
