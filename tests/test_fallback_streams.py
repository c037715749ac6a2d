"""Streams of fallback chains: a switch before the first chunk, and never after it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from around import StatusError, Time
from colours import COLOURS, ENDED, Loop, Source

from pybreaker_ext import CircuitBreaker, CircuitBreakerError, CircuitMemoryStorage, FailedResult, policies
from pybreaker_ext.fallback import AllTargetsFailedError, Attempt, FallbackChain, FallbackStream, Target
from pybreaker_ext.retry import RetryPolicy
from pybreaker_ext.streams import IncompleteStreamError

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)
DOWN = ConnectionError("no answer")


def complete(chunk: Any) -> bool:
    return bool(chunk == "end")


class Chain:
    """A chain of targets `a`, `b`, ... with a stream each."""

    def __init__(self, colour: Any, *sources: Source, options: Any = (), breaker: Any = (), retry: Any = None, **chain):
        self.colour = colour
        self.sources = sources
        settings = {"fail_max": 100, **dict(breaker)}
        self.breakers = [CircuitBreaker(**settings) for _ in sources]
        targets = [
            Target(name, breaker, colour.function(source), retry, dict(options))
            for name, breaker, source in zip("abcdefgh", self.breakers, sources, strict=False)
        ]
        self.chain: Any = FallbackChain(targets, **chain)
        self.stream: FallbackStream[Any] = self.chain.stream("?")

    @property
    def calls(self) -> list[int]:
        return [source.calls for source in self.sources]

    def all(self) -> list[Any]:
        """Consume the whole stream."""
        found: list[Any] = self.colour.run(self.colour.all(self.stream))
        return found


def told(attempts: tuple[Attempt, ...]) -> list[tuple[str, str]]:
    return [(attempt.target, attempt.outcome) for attempt in attempts]


@BOTH
class TestBeforeTheFirstChunk:
    def test_the_first_answers(self, colour: Any) -> None:
        chain = Chain(colour, Source(1, 2, 3), Source(4))
        assert (chain.stream.target, chain.calls) == (None, [0, 0])
        assert chain.all() == [1, 2, 3]
        assert (chain.stream.target, chain.stream.attempts, chain.calls) == ("a", (), [1, 0])

    def test_nothing_is_called_before_it(self, colour: Any) -> None:
        chain = Chain(colour, Source(1))
        colour.run(colour.close(chain.stream))
        assert chain.calls == [0]

    def test_the_next_one_when_it_fails(self, colour: Any) -> None:
        chain = Chain(colour, Source(DOWN), Source(1, 2), Source(3))
        assert chain.all() == [1, 2]
        assert (chain.stream.target, told(chain.stream.attempts)) == ("b", [("a", "failure")])
        assert chain.stream.attempts[0].error is DOWN
        assert [breaker.fail_counter for breaker in chain.breakers] == [1, 0, 0]

    def test_an_open_circuit_costs_no_call(self, colour: Any) -> None:
        chain = Chain(colour, Source(1), Source(2))
        chain.breakers[0].open()
        assert (chain.all(), chain.calls) == ([2], [0, 1])
        assert told(chain.stream.attempts) == [("a", "rejected")]

    def test_a_failure_that_opens_the_circuit(self, colour: Any) -> None:
        chain = Chain(colour, Source(DOWN), Source(2), breaker={"fail_max": 1})
        assert chain.all() == [2]
        assert chain.breakers[0].current_state == "open"

    def test_an_end_without_an_answer(self, colour: Any) -> None:
        chain = Chain(
            colour,
            Source(),
            Source("end"),
            options={"complete": complete},
            # A rule that does not know this failure.
            breaker={"include": [ConnectionError]},
        )
        assert chain.all() == ["end"]
        assert isinstance(chain.stream.attempts[0].error, IncompleteStreamError)

    def test_an_empty_stream_is_an_answer_if_nothing_says_otherwise(self, colour: Any) -> None:
        chain = Chain(colour, Source(), Source(2))
        assert (chain.all(), chain.stream.target) == ([], "a")

    def test_a_first_chunk_that_says_failure(self, colour: Any) -> None:
        chain = Chain(colour, Source("error", 1), Source(2), options={"failure_chunk": lambda chunk: chunk == "error"})
        assert chain.all() == [2]
        error = chain.stream.attempts[0].error
        assert isinstance(error, FailedResult)
        assert error.result == "error"
        assert chain.breakers[0].fail_counter == 1
        assert chain.sources[0].closed == 1

    def test_a_rule_that_fails_says_failure(self, colour: Any) -> None:
        chain = Chain(colour, Source(1), options={"failure_chunk": lambda chunk: chunk.nothing})
        with pytest.raises(AllTargetsFailedError) as caught:
            chain.all()
        assert isinstance(caught.value.exceptions[0], FailedResult)
        assert chain.breakers[0].fail_counter == 1

    @pytest.mark.parametrize("error", [StatusError(400), KeyboardInterrupt()])
    def test_what_says_nothing_against_the_target(self, colour: Any, error: BaseException) -> None:
        chain = Chain(colour, Source(error), Source(2), breaker=policies.llm())
        with pytest.raises(type(error)) as caught:
            chain.all()
        assert caught.value is error
        assert chain.calls == [1, 0]

    def test_unless_it_is_asked_for(self, colour: Any) -> None:
        chain = Chain(colour, Source(StatusError(400)), Source(2), breaker=policies.llm(), fall_back_on=StatusError)
        assert chain.all() == [2]

    def test_nobody_answers(self, colour: Any) -> None:
        chain = Chain(colour, Source(DOWN), Source(2), Source(DOWN))
        chain.breakers[1].open(20)
        with pytest.raises(AllTargetsFailedError) as caught:
            chain.all()
        assert told(caught.value.attempts) == [("a", "failure"), ("b", "rejected"), ("c", "failure")]
        assert isinstance(caught.value.exceptions[1], CircuitBreakerError)
        assert caught.value.retry_after == 0
        assert chain.stream.target is None

    def test_each_target_has_its_retries(self, colour: Any) -> None:
        time = Time()
        retry = RetryPolicy(max_attempts=3, jitter=0, **time.settings)
        chain = Chain(colour, Source(DOWN), Source(2), retry=retry)
        assert (chain.all(), chain.calls, time.slept) == ([2], [3, 1], [0.1, 0.2])

    def test_a_later_chunk_is_never_waited_for(self, colour: Any) -> None:
        """Each is passed on before the next one is asked for."""
        source = Source(1, 2, 3)
        chain = Chain(colour, source)

        async def story() -> None:
            for number in (1, 2, 3):
                assert await colour.next(chain.stream) == number
                assert len(source.got) == number - 1
            assert await colour.next(chain.stream) is ENDED
            assert await colour.next(chain.stream) is ENDED

        colour.run(story())


@BOTH
class TestAfterTheFirstChunk:
    def test_an_error_is_the_consumers(self, colour: Any) -> None:
        chain = Chain(colour, Source(*range(40), DOWN), Source("end"), retry=RetryPolicy(initial=0, jitter=0))
        seen: list[Any] = []

        async def story() -> None:
            while True:
                seen.append(await colour.next(chain.stream))

        with pytest.raises(ConnectionError) as caught:
            colour.run(story())
        assert caught.value is DOWN
        assert (seen, chain.calls) == (list(range(40)), [1, 0])
        assert chain.breakers[0].fail_counter == 1

    def test_a_stream_that_is_cut_is_no_short_success(self, colour: Any) -> None:
        chain = Chain(colour, Source(*range(40)), Source("end"), options={"complete": complete})
        with pytest.raises(IncompleteStreamError):
            chain.all()
        assert chain.calls == [1, 0]

    def test_stopping_early_is_neutral_and_closes_it(self, colour: Any) -> None:
        chain = Chain(colour, Source(DOWN), Source(1, 2))
        chain.breakers[1].half_open()
        colour.run(colour.leave_block(chain.stream))
        assert chain.sources[1].closed == 1
        assert chain.breakers[1].snapshot().probes == 0
        assert chain.breakers[1].current_state == "half-open"

    def test_an_error_of_the_consumer(self, colour: Any) -> None:
        chain = Chain(colour, Source(1, 2), Source(3))
        with pytest.raises(ValueError):
            colour.run(colour.leave_block(chain.stream, ValueError()))
        assert chain.sources[0].closed == 1
        assert chain.breakers[0].fail_counter == 0
        assert chain.calls == [1, 0]


class TestColours:
    def test_what_the_provider_gives_with_it(self) -> None:
        class Chunks:
            response = "of the provider"

            def __iter__(self) -> Any:
                return self

            def __next__(self) -> int:
                return 1

        chain: Any = FallbackChain([Target("a", CircuitBreaker(), Chunks)])
        stream = chain.stream()
        assert stream.source is None
        assert next(stream) == 1
        assert stream.source.response == "of the provider"

    def test_plain_functions_that_return_streams_of_either_kind(self) -> None:
        source = Source(1, 2)
        breaker = CircuitBreaker()
        plain: Any = FallbackChain([Target("a", breaker, lambda: source.plain())])
        assert list(plain.stream()) == [1, 2]

        async def main() -> None:
            for function in (lambda: source.asynchronous(), Loop().returning(source.asynchronous())):
                chain: Any = FallbackChain([Target("a", breaker, function)])
                async with chain.stream() as stream:
                    assert [chunk async for chunk in stream] == [1, 2]

        asyncio.run(main())

    def test_the_other_colour_is_no_failure_of_the_target(self) -> None:
        async def consume(stream: Any) -> None:
            await anext(stream)

        for target, other in (
            (Target("a", CircuitBreaker(), Source(1).asynchronous), next),
            (Target("a", CircuitBreaker(), lambda: Source(1).asynchronous()), next),
            (Target("a", CircuitBreaker(), Source(1).plain), lambda stream: asyncio.run(consume(stream))),
            (Target("a", CircuitBreaker(), lambda: Source(1).plain()), lambda stream: asyncio.run(consume(stream))),
        ):
            spare = Source(2)
            chain: Any = FallbackChain([target, Target("b", CircuitBreaker(), spare.plain)])
            with pytest.raises(TypeError, match="use `"):
                other(chain.stream())
            assert spare.calls == 0
            assert target.breaker.fail_counter == 0

    def test_one_that_is_begun_in_one_way_cannot_go_on_in_another(self) -> None:
        chain: Any = FallbackChain([Target("a", CircuitBreaker(), lambda: Source(1, 2).plain())])
        stream = chain.stream()
        assert next(stream) == 1

        async def consume() -> None:
            await anext(stream)

        with pytest.raises(RuntimeError, match="iterated by threads already"):
            asyncio.run(consume())


class TestDeadline:
    def test_it_is_for_the_first_chunk(self) -> None:
        async def hang() -> Any:
            await asyncio.sleep(3600)
            yield 1

        async def main() -> None:
            breakers = [CircuitBreaker(), CircuitBreaker()]
            chain: Any = FallbackChain(
                [Target("a", breakers[0], Source(DOWN).asynchronous), Target("b", breakers[1], hang)], deadline=0.1
            )
            with pytest.raises(AllTargetsFailedError) as caught:
                await anext(chain.stream())
            assert told(caught.value.attempts) == [("a", "failure"), ("b", "timeout")]
            assert breakers[1].fail_counter == 0

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_it_is_not_for_later_ones(self) -> None:
        async def slowly() -> Any:
            yield 1
            await asyncio.sleep(0.15)
            yield 2

        async def main() -> None:
            chain: Any = FallbackChain([Target("a", CircuitBreaker(), slowly)], deadline=0.1)
            assert [chunk async for chunk in chain.stream()] == [1, 2]

        asyncio.run(main())

    def test_a_stall_before_the_first_chunk_is_a_failure(self) -> None:
        async def hang() -> Any:
            await asyncio.sleep(3600)
            yield 1

        async def main() -> None:
            breaker = CircuitBreaker(include=[ConnectionError])  # a rule that does not know this failure
            stalling = Target("a", breaker, hang, stream_options={"first_chunk_timeout": 0.05})
            chain: Any = FallbackChain([stalling, Target("b", CircuitBreaker(), Source(2).asynchronous)])
            stream = chain.stream()
            assert [chunk async for chunk in stream] == [2]
            assert told(stream.attempts) == [("a", "failure")]
            assert stalling.breaker.fail_counter == 1

        asyncio.run(main())


class TestCancelling:
    @pytest.mark.parametrize("chunks", [0, 1])
    def test_it_falls_back_on_nobody(self, chunks: int) -> None:
        async def main() -> None:
            begun = asyncio.Event()
            spare = Source(2)

            async def hang() -> Any:
                for number in range(chunks):
                    yield number
                begun.set()
                await asyncio.sleep(3600)

            breaker = CircuitBreaker()
            breaker.half_open()
            chain: Any = FallbackChain([Target("a", breaker, hang), Target("b", CircuitBreaker(), spare.asynchronous)])

            async def consume() -> None:
                async with chain.stream() as stream:
                    async for _ in stream:
                        pass

            task = asyncio.create_task(consume())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (spare.calls, breaker.fail_counter, breaker.snapshot().probes) == (0, 0, 0)

        asyncio.run(asyncio.wait_for(main(), 60))


def test_nothing_is_kept_alive() -> None:
    """Not until the garbage collector comes: what an error's traceback holds may be large."""

    class Prompt:
        pass

    kept: list[weakref.ref[Prompt]] = []

    def fail() -> Iterator[int]:
        prompt = Prompt()
        kept.append(weakref.ref(prompt))
        raise ConnectionError
        yield 1

    gc.collect()
    gc.disable()
    try:
        chain: Any = FallbackChain([Target(name, CircuitBreaker(), fail) for name in "ab"])
        with contextlib.suppress(AllTargetsFailedError):
            next(chain.stream())
        chain = FallbackChain([Target("a", CircuitBreaker(), fail), Target("b", CircuitBreaker(), Source(1).plain)])
        assert list(chain.stream()) == [1]
        assert [ref() for ref in kept] == [None] * 3
    finally:
        gc.enable()


def test_a_memory_storage_of_ones_own_clock_tells_when_to_come_back() -> None:
    time = Time()
    breaker = CircuitBreaker(fail_max=1, reset_timeout=20, state_storage=CircuitMemoryStorage(clock=time))
    chain: Any = FallbackChain([Target("a", breaker, Source(DOWN).plain)], clock=time)
    with pytest.raises(AllTargetsFailedError) as caught:
        next(chain.stream())
    assert caught.value.retry_after == 20
