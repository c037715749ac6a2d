"""Fallback chains: who is asked, in which order, who answers, and what the caller is told."""

from __future__ import annotations

import asyncio
import contextlib
import copy
import functools
import gc
import math
import pickle
import subprocess
import sys
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from around import ALL_COLOURS, COLOURS, Backend, StatusError, Time, breaker_on, name_of

from pybreaker_ext import CircuitBreaker, CircuitBreakerError, FailedResult, policies
from pybreaker_ext.fallback import AllTargetsFailedError, Attempt, FallbackChain, FallbackResult, Target
from pybreaker_ext.retry import RetryBudget, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOWN = ConnectionError("no answer")


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture(params=ALL_COLOURS, ids=name_of)
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


class Chain:
    """A chain of targets `a`, `b`, ... with a backend each."""

    def __init__(self, colour: Any, time: Time, *backends: Any, settings: Any = (), retry: Any = (), **chain: Any):
        self.colour = colour
        self.backends = [
            backend if callable(backend) and not isinstance(backend, type) else Backend(backend) for backend in backends
        ]
        self.breakers = [breaker_on(time, **dict(settings)) for _ in backends]
        policies_ = [RetryPolicy(**{"jitter": 0.0, **time.settings, **dict(retry)}) if retry else None] * len(backends)
        functions = [colour.function(backend) for backend in self.backends]
        self.chain: Any = FallbackChain(
            list(map(Target, "abcdefgh", self.breakers, functions, policies_)), clock=time, **chain
        )

    def call(self, *args: Any) -> FallbackResult[Any]:
        found: FallbackResult[Any] = self.colour.run(self.chain.call, *args)
        return found

    def error(self) -> BaseException:
        try:
            self.call()
        except BaseException as error:  # noqa: BLE001  whatever there is
            return error
        raise AssertionError("it has answered")

    @property
    def calls(self) -> list[int]:
        return [backend.calls for backend in self.backends]


def told(attempts: tuple[Attempt, ...]) -> list[tuple[str, str]]:
    return [(attempt.target, attempt.outcome) for attempt in attempts]


class TestOrder:
    def test_the_first_answers(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, "one", "two")
        assert (chain.call(), chain.calls) == (FallbackResult("one", "a", ()), [1, 0])

    def test_the_next_one_when_it_fails(self, time: Time, colour: Any) -> None:
        def slowly() -> Exception:
            time.now += 3
            return DOWN

        chain = Chain(colour, time, Backend(slowly), DOWN, "three", "four")
        expected = (Attempt("a", "failure", DOWN, 3.0), Attempt("b", "failure", DOWN, 0.0))
        assert chain.call() == FallbackResult("three", "c", expected)
        assert chain.calls == [1, 1, 1, 0]

    def test_an_open_circuit_costs_no_call(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, "one", "two")
        chain.breakers[0].open()
        result = chain.call()
        assert (result.value, result.target, told(result.attempts)) == ("two", "b", [("a", "rejected")])
        assert isinstance(result.attempts[0].error, CircuitBreakerError)
        assert chain.calls == [0, 1]

    def test_a_failure_that_opens_the_circuit(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, DOWN, "two", settings={"fail_max": 1})
        result = chain.call()
        assert (result.value, told(result.attempts)) == ("two", [("a", "failure")])
        assert result.attempts[0].error.__cause__ is DOWN

    def test_a_backend_that_wants_to_be_left_alone(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, StatusError(429, 5), "two", settings=policies.llm())
        assert told(chain.call().attempts) == [("a", "hold")]
        assert told(chain.call().attempts) == [("a", "rejected")]
        assert chain.calls == [1, 2]

    def test_a_result_that_counts_as_a_failure(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, "bad", "good", settings={"failure_result": lambda result: result == "bad"})
        result = chain.call()
        assert (result.value, told(result.attempts)) == ("good", [("a", "failure")])
        error = result.attempts[0].error
        assert isinstance(error, FailedResult)
        assert error.result == "bad"

    def test_traffic_returns_to_the_first(self, time: Time, colour: Any) -> None:
        """As soon as its circuit lets a probe in."""
        chain = Chain(colour, time, Backend(DOWN, DOWN, "one"), "two", settings={"fail_max": 2, "reset_timeout": 30})
        assert [chain.call().target for _ in range(5)] == ["b"] * 5
        assert chain.calls == [2, 5]
        time.now += 30
        assert [chain.call().target for _ in range(5)] == ["a"] * 5
        assert chain.calls == [7, 5]

    def test_arguments_are_handed_on(self, time: Time, colour: Any) -> None:
        def backend(*args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        chain = Chain(colour, time, DOWN, backend)
        call = functools.partial(chain.chain.call, self=1, func=2, target=3)
        assert colour.run(call, 4, 5).value == ((4, 5), {"self": 1, "func": 2, "target": 3})


class TestErrorsOfTheCaller:
    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            (policies.llm(), StatusError(400)),
            (policies.llm(), StatusError(401)),
            ({}, StatusError(400)),
            ({"ignore": [ValueError]}, ValueError()),
            ({"include": [ValueError]}, KeyError()),
            ({"exclude": [ValueError]}, ValueError()),
        ],
    )
    def test_they_are_not_masked(self, time: Time, colour: Any, settings: Any, error: Exception) -> None:
        chain = Chain(colour, time, error, "two", settings=settings)
        assert chain.error() is error
        assert chain.calls == [1, 0]

    def test_one_that_opens_the_circuit_is_not_masked_either(self, time: Time, colour: Any) -> None:
        """Without a policy that knows better, a breaker counts them."""
        chain = Chain(colour, time, StatusError(400), "two", settings={"fail_max": 1})
        assert isinstance(chain.error().__cause__, StatusError)
        assert chain.calls == [1, 0]

    def test_a_later_targets_say_what_was_tried_before(self, time: Time, colour: Any) -> None:
        error = StatusError(400)
        chain = Chain(colour, time, DOWN, "two", error, "four")
        chain.breakers[1].open()
        for _ in range(2):
            assert chain.error() is error
        assert error.__notes__ == ["FallbackChain: raised by c, after a (failure), b (rejected)"]

    @pytest.mark.parametrize(
        "fall_back_on", [StatusError, [KeyError, StatusError], lambda error: error.status_code == 400]
    )
    def test_unless_it_is_asked_for(self, time: Time, colour: Any, fall_back_on: Any) -> None:
        chain = Chain(colour, time, StatusError(400), "two", settings=policies.llm(), fall_back_on=fall_back_on)
        result = chain.call()
        assert (result.value, told(result.attempts)) == ("two", [("a", "neutral")])

    def test_an_excluded_error_that_is_asked_for(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, ValueError(), "two", settings={"exclude": [ValueError]}, fall_back_on=ValueError)
        assert told(chain.call().attempts) == [("a", "success")]

    def test_a_rule_that_fails_asks_for_nothing(self, time: Time, colour: Any) -> None:
        error = StatusError(400)
        chain = Chain(colour, time, error, "two", fall_back_on=lambda error: error.nothing)
        assert chain.error() is error

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_interruptions(self, time: Time, colour: Any, error: type[BaseException]) -> None:
        chain = Chain(colour, time, error, "two")
        assert type(chain.error()) is error
        assert chain.calls == [1, 0]


class TestWhenNobodyAnswers:
    def test_one_error_with_every_cause(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, DOWN, "two", StatusError(503))
        chain.breakers[1].open()
        error = chain.error()
        assert type(error) is AllTargetsFailedError
        assert str(error) == "no target has answered: a (failure), b (rejected), c (failure) (3 sub-exceptions)"
        assert [type(cause) for cause in error.exceptions] == [ConnectionError, CircuitBreakerError, StatusError]
        assert error.exceptions == tuple(attempt.error for attempt in error.attempts)
        assert told(error.attempts) == [("a", "failure"), ("b", "rejected"), ("c", "failure")]
        assert (error.__cause__, error.__context__) == (None, None)

    def test_when_the_first_may_be_called_again(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, "one", "two", "three")
        for breaker, seconds in zip(chain.breakers, (50, 20, 30), strict=True):
            breaker.open(seconds)
        error = chain.error()
        assert isinstance(error, AllTargetsFailedError)
        assert error.retry_after == 20

    def test_trips_and_holds_count_too(self, time: Time, colour: Any) -> None:
        settings = policies.llm(fail_max=1, reset_timeout=40, backoff=None)
        chain = Chain(colour, time, DOWN, StatusError(429, 30), settings=settings)
        error = chain.error()
        assert isinstance(error, AllTargetsFailedError)
        assert error.retry_after == 30

    def test_what_a_backend_says_that_nobody_holds(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, StatusError(503, 7), StatusError(503, 9))
        error = chain.error()
        assert isinstance(error, AllTargetsFailedError)
        assert error.retry_after == 7

    @pytest.mark.parametrize("seconds", [20, math.inf])
    def test_when_a_chain_further_in_may_be_called_again(self, time: Time, colour: Any, seconds: float) -> None:
        inner = Chain(colour, time, "one", "two")
        for breaker, wait in zip(inner.breakers, (math.inf, seconds), strict=True):
            breaker.open(wait)
        outer: Any = FallbackChain([Target("inner", breaker_on(time), inner.chain.call)], clock=time)
        with pytest.raises(AllTargetsFailedError) as caught:
            colour.run(outer.call)
        assert caught.value.retry_after == seconds

    @pytest.mark.parametrize(("seconds", "max_elapsed"), [(20, 19.9), (math.inf, math.inf)])
    def test_retries_around_a_chain_wait_for_it(
        self, time: Time, colour: Any, seconds: float, max_elapsed: float
    ) -> None:
        """Or give up at once, when that is too late."""
        inner = Chain(colour, time, "one")
        inner.breakers[0].open(seconds)
        policy = RetryPolicy(**{"jitter": 0.0, **time.settings, "max_elapsed": max_elapsed})
        with pytest.raises(AllTargetsFailedError):
            colour.run(policy.call, breaker_on(time), inner.chain.call)
        assert time.slept == []

    def test_a_group_that_will_not_be_asked(self, time: Time, colour: Any) -> None:
        class Shy(ExceptionGroup[Exception]):
            @property
            def retry_after(self) -> float:
                raise ValueError

        error = Chain(colour, time, Shy("shy", [DOWN])).error()
        assert isinstance(error, AllTargetsFailedError)
        assert (error.retry_after, type(error.exceptions[0])) == (0, Shy)

    def test_at_once_when_a_circuit_is_closed(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, DOWN, "two")
        chain.breakers[1].open()
        error = chain.error()
        assert isinstance(error, AllTargetsFailedError)
        assert error.retry_after == 0

    def test_never_when_only_a_hand_can_end_it(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, "one")
        chain.breakers[0].open(math.inf)
        error = chain.error()
        assert isinstance(error, AllTargetsFailedError)
        assert error.retry_after == math.inf

    def test_it_counts_from_when_it_is_raised(self, time: Time, colour: Any) -> None:
        def slowly() -> Exception:
            time.now += 15
            return DOWN

        chain = Chain(colour, time, "one", Backend(slowly), settings={"fail_max": 1, "reset_timeout": 60})
        chain.breakers[0].open(20)
        error = chain.error()
        assert isinstance(error, AllTargetsFailedError)
        assert error.retry_after == pytest.approx(5)

    def test_parts_keep_what_is_told(self, time: Time, colour: Any) -> None:
        error = Chain(colour, time, DOWN, StatusError(503)).error()
        assert isinstance(error, AllTargetsFailedError)
        error.retry_after = 7.0
        for part in (*error.split(ConnectionError), copy.copy(error), pickle.loads(pickle.dumps(error))):  # noqa: S301
            assert type(part) is AllTargetsFailedError
            assert (part.retry_after, told(part.attempts)) == (7, told(error.attempts))
        try:
            raise error
        except* (ConnectionError, StatusError):
            pass


class TestRetries:
    def test_each_target_has_its_own(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, DOWN, Backend(DOWN, "two"), retry={"max_attempts": 3})
        result = chain.call()
        assert (result.value, chain.calls, time.slept) == ("two", [3, 2], [0.1, 0.2, 0.1])
        assert told(result.attempts) == [("a", "failure")]
        assert result.attempts[0].seconds == pytest.approx(0.3)
        assert "3 attempts" in DOWN.__notes__[0]

    def test_the_deadline_is_theirs_too(self, time: Time, colour: Any) -> None:
        """Of 10 s, the first wait takes 8: there is none for the second of 8, so the next target is tried."""
        retry = {"initial": 8, "maximum": 8}
        chain = Chain(colour, time, DOWN, DOWN, retry=retry, deadline=10)
        error = chain.error()
        assert isinstance(error, AllTargetsFailedError)
        assert (chain.calls, time.slept) == ([2, 1], [8])

    def test_those_before_a_coroutine_count(self, time: Time) -> None:
        """Of a function that fails at once, and later returns what must be awaited; and so do their waits."""
        backend = Backend(DOWN, DOWN, asyncio_down, asyncio_down)
        retry = RetryPolicy(jitter=0.0, max_attempts=4, **time.settings)
        chain: Any = FallbackChain([Target("a", breaker_on(time), backend, retry)], clock=time)
        error = error_of(chain)
        assert (backend.calls, time.slept) == (4, [0.1, 0.2, 0.4])
        assert error.attempts[0].seconds == pytest.approx(0.7)
        assert "4 attempts in 0.70 s" in error.exceptions[0].__notes__[0]

    def test_so_does_their_time(self, time: Time) -> None:
        backend = Backend(DOWN, asyncio_down)
        retry = RetryPolicy(initial=8.0, maximum=8.0, multiplier=1.0, jitter=0.0, max_elapsed=10.0, **time.settings)
        chain: Any = FallbackChain([Target("a", breaker_on(time), backend, retry)], clock=time)
        error_of(chain)
        assert (backend.calls, time.slept) == (2, [8.0])

    def test_one_call_counts_once_for_their_budget(self, time: Time) -> None:
        budget = RetryBudget(1.0, minimum=0, clock=time)
        backend = Backend(DOWN, asyncio_down)
        retry = RetryPolicy(initial=0.0, jitter=0.0, budget=budget, **time.settings)
        chain: Any = FallbackChain([Target("a", breaker_on(time), backend, retry)], clock=time)
        error_of(chain)
        assert (backend.calls, budget.take()) == (2, False)

    def test_time_begins_when_it_is_awaited(self, time: Time) -> None:
        """If nobody was tried before."""
        chain = FallbackChain([Target("a", breaker_on(time), lambda: answer("one"))], deadline=10, clock=time)

        async def main() -> Any:
            call: Any = chain.call()
            time.now += 60
            return await call

        assert asyncio.run(main()).value == "one"

    def test_an_open_circuit_is_skipped_at_once(self, time: Time, colour: Any) -> None:
        chain = Chain(colour, time, "one", "two", retry={"max_attempts": 3})
        chain.breakers[0].open(1)
        assert (chain.call().target, time.slept) == ("b", [])


class TestDeadline:
    def test_no_target_begins_after_it(self, time: Time) -> None:
        def slowly() -> Exception:
            time.now += 5
            return DOWN

        chain = Chain(COLOURS[0], time, Backend(slowly), "two", deadline=5)
        error = chain.error()
        assert isinstance(error, AllTargetsFailedError)
        assert told(error.attempts) == [("a", "failure"), ("b", "timeout")]
        assert [type(cause) for cause in error.exceptions] == [ConnectionError, TimeoutError]
        assert str(error.exceptions[1]) == "b had no time left of the chain's 5 s"
        assert chain.calls == [1, 0]

    def test_in_asyncio_it_ends_what_runs(self, time: Time) -> None:
        """Which is neutral: nobody knows what the backend would have said."""

        async def hang() -> None:
            await asyncio.sleep(3600)

        async def main() -> None:
            breakers = [breaker_on(time) for _ in range(3)]
            functions = [asyncio_down, hang, hang]
            chain: Any = FallbackChain(list(map(Target, "abc", breakers, functions)), deadline=0.1)
            with pytest.raises(AllTargetsFailedError) as caught:
                await chain.call()
            assert told(caught.value.attempts) == [("a", "failure"), ("b", "timeout")]
            assert [breaker.fail_counter for breaker in breakers] == [1, 0, 0]
            assert caught.value.retry_after == 0
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_in_asyncio_it_ends_waits_between_retries(self, time: Time) -> None:
        retry = RetryPolicy(initial=50, maximum=50)
        chain = FallbackChain([Target("a", breaker_on(time), asyncio_down, retry)], deadline=60)
        with pytest.raises(AllTargetsFailedError):
            asyncio.run(run_with_little_time(chain))

    @pytest.mark.parametrize("where", ["an attempt", "a wait"])
    def test_in_asyncio_what_failed_before_is_told(self, time: Time, where: str) -> None:
        """With the wait that it asked for, of which a part is over."""
        throttled = StatusError(429, 5)
        later = Backend(throttled, asyncio.sleep(3600) if where == "an attempt" else None)

        async def backend() -> None:
            found = later()
            time.now += 2
            await found

        async def wait(seconds: float) -> None:
            await asyncio.sleep(0 if where == "an attempt" else seconds)

        retry = RetryPolicy(**{**time.settings, "sleep_async": wait})
        chain = FallbackChain([Target("a", breaker_on(time), backend, retry)], deadline=60)
        with pytest.raises(AllTargetsFailedError) as caught:
            asyncio.run(run_with_little_time(chain))
        assert told(caught.value.attempts) == [("a", "timeout")]
        (cause,) = caught.value.exceptions
        assert (type(cause), cause.__cause__) == (TimeoutError, throttled)
        assert "1 attempt " in throttled.__notes__[0]
        assert "deadline" in throttled.__notes__[0]
        assert caught.value.retry_after == pytest.approx(3 if where == "an attempt" else 5, abs=1)

    def test_a_failed_result_that_a_function_makes_of_it_is_no_answer(self, time: Time) -> None:
        async def stubborn() -> str:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                return "bad"
            raise AssertionError("it has slept")

        breaker = breaker_on(time, failure_result=lambda result: result == "bad")
        chain = FallbackChain([Target("a", breaker, stubborn)], deadline=0.05)
        error = error_of(chain)
        assert told(error.attempts) == [("a", "timeout")]
        assert isinstance(error.exceptions[0].__cause__, FailedResult)

    def test_what_is_awaited_too_late_ends_at_its_first_wait(
        self, time: Time, recwarn: pytest.WarningsRecorder
    ) -> None:
        backend = Backend(DOWN, lambda: asyncio.sleep(3600))

        async def main() -> None:
            call: Any = chain.call()
            time.now += 60
            with pytest.raises(AllTargetsFailedError) as caught:
                await call
            assert told(caught.value.attempts) == [("a", "timeout")]
            assert caught.value.exceptions[0].__cause__ is DOWN

        retry = RetryPolicy(jitter=0.0, **time.settings)
        chain = FallbackChain([Target("a", breaker_on(time), backend, retry)], deadline=10, clock=time)
        asyncio.run(main())
        gc.collect()
        assert [str(warning.message) for warning in recwarn] == []

    def test_a_function_that_makes_an_error_of_it(self, time: Time) -> None:
        async def stubborn() -> None:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                raise DOWN from None

        chain = FallbackChain([Target("a", breaker_on(time), stubborn)], deadline=0.05)
        with pytest.raises(AllTargetsFailedError) as caught:
            asyncio.run(chain.call())
        assert told(caught.value.attempts) == [("a", "timeout")]
        assert caught.value.exceptions[0].__cause__ is DOWN

    def test_a_targets_own_time_out_is_its_failure(self, time: Time) -> None:
        async def times_out() -> None:
            async with asyncio.timeout(0):
                await asyncio.sleep(3600)

        async def answers() -> str:
            return "two"

        chain: Any = FallbackChain(
            [Target("a", breaker_on(time), times_out), Target("b", breaker_on(time), answers)], deadline=60
        )
        assert told(asyncio.run(chain.call()).attempts) == [("a", "failure")]

    def test_a_targets_own_time_out_that_is_ignored(self, time: Time, colour: Any) -> None:
        error = TimeoutError()
        chain = Chain(colour, time, error, "two", settings={"ignore": [TimeoutError]}, deadline=60)
        assert chain.error() is error


async def asyncio_down() -> None:
    raise DOWN


async def answer(value: Any) -> Any:
    return value


def error_of(chain: FallbackChain[Any, Any]) -> AllTargetsFailedError:
    """Return the error of a chain whose functions return coroutines."""

    async def main() -> None:
        await chain.call()

    with pytest.raises(AllTargetsFailedError) as caught:
        asyncio.run(main())
    return caught.value


async def run_with_little_time(chain: FallbackChain[Any, Any]) -> None:
    """Have the loop's clock jump over the deadline while the chain waits."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(chain.call())
    await asyncio.sleep(0.01)
    now = loop.time
    loop.time = lambda: now() + 60  # type: ignore[method-assign]
    await task


class TestCancelling:
    def test_it_falls_back_on_nobody(self, time: Time) -> None:
        async def main() -> None:
            begun = asyncio.Event()

            async def hang() -> None:
                begun.set()
                await asyncio.sleep(3600)

            other = Backend("two")
            chain: Any = FallbackChain(
                [Target("a", breaker_on(time), hang), Target("b", breaker_on(time), COLOURS[1].function(other))]
            )
            task = asyncio.ensure_future(chain.call())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert other.calls == 0

        asyncio.run(asyncio.wait_for(main(), 60))

    @pytest.mark.parametrize("retry", [None, RetryPolicy(initial=0, jitter=0)])
    def test_nor_when_a_function_makes_an_error_of_it(self, time: Time, retry: RetryPolicy | None) -> None:
        async def main() -> None:
            begun: list[bool] = []

            async def stubborn() -> None:
                begun.append(True)
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    raise DOWN from None

            other = Backend("two")
            chain: Any = FallbackChain(
                [
                    Target("a", breaker_on(time), stubborn, retry),
                    Target("b", breaker_on(time), COLOURS[1].function(other)),
                ]
            )
            task = asyncio.ensure_future(chain.call())
            while not begun:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(ConnectionError):
                await task
            assert (len(begun), other.calls) == (1, 0)

        asyncio.run(asyncio.wait_for(main(), 60))


class TestFunctions:
    def test_one_coroutine_function_makes_the_chain_asynchronous(self, time: Time) -> None:
        chain: Any = FallbackChain(
            [
                Target("a", breaker_on(time), Backend(DOWN)),
                Target("b", breaker_on(time), COLOURS[1].function(Backend("two"))),
            ]
        )
        assert asyncio.run(chain.call()).value == "two"

    def test_generators_need_stream(self, time: Time) -> None:
        def generator() -> Iterator[int]:
            yield 1

        for function in (generator, lambda: generator()):
            chain: Any = FallbackChain([Target("a", breaker_on(time), function)])
            with pytest.raises(TypeError, match="stream"):
                chain.call()
            with pytest.raises(TypeError, match="stream"):
                asyncio.run(chain.call_async())

    def test_one_chain_for_many_tasks(self) -> None:
        async def answer(number: int) -> int:
            await asyncio.sleep(0)
            return number

        async def main() -> None:
            breakers = [CircuitBreaker(fail_max=10_000) for _ in range(2)]
            chain = FallbackChain([Target("a", breakers[0], fails), Target("b", breakers[1], answer)])
            found = await asyncio.gather(*map(chain.call, range(100)))
            assert [(result.value, told(result.attempts)) for result in found] == [
                (number, [("a", "failure")]) for number in range(100)
            ]

        async def fails(number: int) -> int:
            await asyncio.sleep(0)
            raise ConnectionError(number)

        asyncio.run(main())


class TestArguments:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: FallbackChain(5), "targets must be a list of Targets, not 5"),
            (lambda: FallbackChain([5]), "targets must hold Targets only, not 5"),
            (lambda: FallbackChain([]), "targets must be at least one, with names that differ, not []"),
            (lambda: chain_of("a", "a"), "targets must be at least one, with names that differ, not ['a', 'a']"),
            (lambda: chain_of("a", deadline=0), "deadline must be a finite number of seconds above 0, not 0"),
            (lambda: chain_of("a", deadline="1"), "deadline must be a finite number of seconds above 0, not '1'"),
            (
                lambda: chain_of("a", fall_back_on=[5]),
                "fall_back_on must hold exception types and predicates only, not 5",
            ),
            (lambda: chain_of("a", clock=None), "clock must be callable, not None"),
            (lambda: target(name=5), "name must be a text, not 5"),
            (lambda: target(name=""), "name must be a text that isn't empty, not ''"),
            (lambda: target(breaker=None), "breaker must be a pybreaker_ext.CircuitBreaker, not None"),
            (lambda: target(func=5), "func must be callable, not 5"),
            (lambda: target(retry=5), "retry must be a RetryPolicy or None, not 5"),
            (lambda: target(stream_options=5), "stream_options must be a mapping, not 5"),
            (
                lambda: target(stream_options={"t": 5}),
                "stream_options must have chunk_timeout, complete, failure_chunk, first_chunk_timeout only, not 't'",
            ),
            (
                lambda: target(stream_options={"chunk_timeout": 0}),
                "chunk_timeout must be a finite number of seconds above 0, not 0",
            ),
        ],
    )
    def test_bad_ones(self, make: Callable[[], Any], message: str) -> None:
        with pytest.raises((ValueError, TypeError)) as caught:
            make()
        assert str(caught.value) == message

    def test_it_needs_no_extra(self) -> None:
        program = "import sys; sys.modules['tenacity'] = None; import pybreaker_ext.fallback"
        subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def target(**settings: Any) -> Any:
    return Target(**{"name": "a", "breaker": CircuitBreaker(), "func": len, **settings})


def chain_of(*names: str, **settings: Any) -> Any:
    return FallbackChain([target(name=name) for name in names], **settings)


def test_nothing_is_kept_alive() -> None:
    """Not until the garbage collector comes: what an error's traceback holds may be large."""

    class Prompt:
        pass

    kept: list[weakref.ref[Prompt]] = []

    def fail() -> None:
        prompt = Prompt()
        kept.append(weakref.ref(prompt))
        raise ConnectionError

    async def fail_async() -> None:
        fail()

    retry = RetryPolicy(initial=0, jitter=0, max_attempts=2)

    def chain(*functions: Any, deadline: float | None = None) -> Any:
        targets = [Target(str(n), CircuitBreaker(), f, retry) for n, f in enumerate(functions)]
        return FallbackChain(targets, deadline=deadline)

    async def answer() -> None: ...

    async def hang() -> None:
        await asyncio.sleep(3600)

    async def main() -> None:
        with contextlib.suppress(AllTargetsFailedError):
            await chain(fail_async, fail_async).call()
        assert (await chain(fail_async, answer).call()).target == "1"
        with contextlib.suppress(AllTargetsFailedError):
            await chain(Backend(fail, fail_async)).call()
        with contextlib.suppress(AllTargetsFailedError):
            await chain(Backend(fail, hang), deadline=0.05).call()

    gc.collect()
    gc.disable()
    try:
        with contextlib.suppress(AllTargetsFailedError):
            chain(fail, fail).call()
        assert chain(fail, dict).call().target == "1"
        assert [ref() for ref in kept] == [None] * 6
        asyncio.run(main())
        assert [ref() for ref in kept] == [None] * 15
    finally:
        gc.enable()
