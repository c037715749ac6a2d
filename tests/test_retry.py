"""Retries: what is tried again, when, and what the caller gets."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import gc
import inspect
import math
import os
import subprocess
import sys
import threading
import weakref
from typing import TYPE_CHECKING, Any

import pytest
import tenacity
from around import ALL_COLOURS, COLOURS, Backend, StatusError, Time, breaker_on, name_of

from pybreaker_ext import CircuitBreaker, CircuitBreakerError, FailedResult, policies
from pybreaker_ext.http import is_client_error, retry_after
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


def policy_on(time: Time, **settings: Any) -> RetryPolicy:
    return RetryPolicy(**{"jitter": 0.0, **time.settings, **settings})


class Retried:
    """One retried call, and what became of it."""

    def __init__(self, colour: Any, policy: RetryPolicy, breaker: CircuitBreaker, backend: Callable[..., Any]) -> None:
        self.value: Any = None
        self.error: BaseException | None = None
        try:
            self.value = colour.run(policy.call, breaker, colour.function(backend))
        except BaseException as error:  # noqa: BLE001  whatever there is
            self.error = error

    @property
    def notes(self) -> list[str]:
        return getattr(self.error, "__notes__", [])


class TestWhatIsTriedAgain:
    def test_a_transient_failure(self, time: Time, colour: Any) -> None:
        backend = Backend(DOWN, StatusError(503), "answer")
        found = Retried(colour, policy_on(time), breaker_on(time, **policies.llm()), backend)
        assert (found.value, found.error, backend.calls, time.slept) == ("answer", None, 3, [0.1, 0.2])

    def test_no_more_than_opens_the_circuit(self, time: Time, colour: Any) -> None:
        """Of 7 attempts, the third trips the circuit: the other 4 never reach the backend, and nobody waits."""
        backend = Backend(DOWN)
        breaker = breaker_on(time, fail_max=3)
        found = Retried(colour, policy_on(time, max_attempts=7), breaker, backend)
        assert (backend.calls, len(time.slept)) == (3, 2)
        assert type(found.error) is CircuitBreakerError
        assert found.error.__cause__ is DOWN
        assert found.notes == ["RetryPolicy: 3 attempts in 0.30 s; no more, because the circuit is open"]

    def test_no_more_when_the_trip_keeps_the_calls_own_error(self, time: Time, colour: Any) -> None:
        backend = Backend(DOWN)
        breaker = breaker_on(time, fail_max=3, throw_new_error_on_trip=False)
        found = Retried(colour, policy_on(time, max_attempts=7), breaker, backend)
        assert (found.error, backend.calls, len(time.slept)) == (DOWN, 3, 2)

    def test_a_trip_that_could_be_waited_for(self, time: Time, colour: Any) -> None:
        """Who trips a circuit stops, also when it would be probed before the deadline."""
        backend = Backend(DOWN)
        Retried(colour, policy_on(time), breaker_on(time, fail_max=3, reset_timeout=1), backend)
        assert backend.calls == 3

    def test_no_rejected_call(self, time: Time, colour: Any) -> None:
        backend = Backend("answer")
        breaker = breaker_on(time)
        breaker.open(1)
        found = Retried(colour, policy_on(time), breaker, backend)
        assert type(found.error) is CircuitBreakerError
        assert (found.error.__cause__, backend.calls, time.slept) == (None, 0, [])
        assert found.notes == ["RetryPolicy: 0 attempts in 0.00 s; no more, because the circuit is open"]

    def test_a_circuit_that_others_open_meanwhile(self, time: Time, colour: Any) -> None:
        backend = Backend(DOWN)
        breaker = breaker_on(time)
        time.meanwhile = functools.partial(breaker.open, 5)
        found = Retried(colour, policy_on(time), breaker, backend)
        assert type(found.error) is CircuitBreakerError
        assert (backend.calls, time.slept) == (1, [0.1])
        assert found.notes == ["RetryPolicy: 1 attempt in 0.10 s; no more, because the circuit is open"]

    def test_a_circuit_that_others_open_during_the_attempt(self, time: Time, colour: Any) -> None:
        breaker = breaker_on(time)

        def backend() -> None:
            breaker.open(5)
            raise DOWN

        found = Retried(colour, policy_on(time), breaker, backend)
        assert (found.error, time.slept) == (DOWN, [])

    def test_no_rejection_of_a_breaker_further_in(self, time: Time, colour: Any) -> None:
        inner = breaker_on(time)
        inner.open()
        backend = Backend("answer")
        found = Retried(colour, policy_on(time), breaker_on(time), lambda: inner.call(backend))
        assert type(found.error) is CircuitBreakerError
        assert (backend.calls, time.slept) == (0, [])

    @pytest.mark.parametrize(
        ("settings", "error"),
        [
            ({"ignore": [ValueError]}, ValueError()),
            ({"include": [ValueError]}, KeyError()),
            ({"exclude": [ValueError]}, ValueError()),
            (policies.llm(), StatusError(400)),
            (policies.llm(), StatusError(400, 5)),
            (policies.llm(), StatusError(401)),
            ({}, StatusError(404)),
        ],
    )
    def test_nothing_but_failures_of_the_backend(
        self, time: Time, colour: Any, settings: dict[str, Any], error: Exception
    ) -> None:
        """The last one counts as a failure with this breaker, but is the caller's mistake all the same."""
        backend = Backend(error)
        found = Retried(colour, policy_on(time), breaker_on(time, **settings), backend)
        assert (found.error, backend.calls, time.slept) == (error, 1, [])
        assert len(found.notes) == 1

    @pytest.mark.parametrize(
        ("on", "calls"),
        [
            (ConnectionError, 2),
            ([KeyError, ConnectionError], 2),
            (lambda error: "no answer" in str(error), 2),
            (KeyError, 1),
            ([], 1),
            (lambda error: error.nothing, 1),
        ],
    )
    def test_only_what_it_is_told_to(self, time: Time, colour: Any, on: Any, calls: int) -> None:
        backend = Backend(DOWN, "answer")
        found = Retried(colour, policy_on(time, on=on), breaker_on(time), backend)
        assert (backend.calls, found.error) == (calls, None if calls == 2 else DOWN)

    def test_being_told_to_makes_nothing_else_retried(self, time: Time, colour: Any) -> None:
        for settings, error in [({"ignore": [ValueError]}, ValueError()), ({}, StatusError(400))]:
            backend = Backend(error)
            Retried(colour, policy_on(time, on=Exception), breaker_on(time, **settings), backend)
            assert backend.calls == 1

    @pytest.mark.parametrize(("on", "calls"), [(None, 3), (FailedResult, 3), (ConnectionError, 1)])
    def test_results_that_the_breaker_takes_for_failures(self, time: Time, colour: Any, on: Any, calls: int) -> None:
        backend = Backend("bad", "bad", "good")
        breaker = breaker_on(time, failure_result=lambda result: result == "bad")
        found = Retried(colour, policy_on(time, on=on), breaker, backend)
        assert (found.value, found.error, backend.calls) == ("good" if calls == 3 else "bad", None, calls)

    def test_the_last_bad_result_is_the_callers(self, time: Time, colour: Any) -> None:
        backend = Backend("bad")
        breaker = breaker_on(time, fail_max=3, failure_result=lambda result: result == "bad")
        found = Retried(colour, policy_on(time), breaker, backend)
        assert (found.value, found.error, backend.calls, breaker.current_state) == ("bad", None, 3, "open")

    def test_errors_that_tenacity_would_take_amiss(self, time: Time, colour: Any) -> None:
        """An error that is false, and tenacity's own order to try again."""

        class FalseError(Exception):
            def __bool__(self) -> bool:
                return False

        for error in (FalseError(), tenacity.TryAgain()):
            backend = Backend(error)
            found = Retried(colour, policy_on(time, max_attempts=2), breaker_on(time), backend)
            assert found.error is error
            assert backend.calls == 2
            backend = Backend(error)
            Retried(colour, policy_on(time), breaker_on(time, ignore=[Exception]), backend)
            assert backend.calls == 1


class TestWaits:
    def test_they_grow_up_to_a_limit(self, time: Time, colour: Any) -> None:
        policy = policy_on(time, initial=1, multiplier=3, maximum=20, max_attempts=6)
        Retried(colour, policy, breaker_on(time), Backend(DOWN))
        assert time.slept == [1, 3, 9, 20, 20]

    @pytest.mark.parametrize(
        ("settings", "ranges"),
        [
            ({}, [(0.1, 0.6), (0.2, 0.7), (0.4, 0.9)]),
            ({"maximum": 0.6}, [(0.1, 0.6)] * 3),
            ({"maximum": 0.3}, [(0, 0.3)] * 3),
            ({"initial": 0}, [(0, 0.5)] * 3),
        ],
    )
    def test_chance_makes_them_longer(self, time: Time, settings: dict[str, Any], ranges: list[Any]) -> None:
        policy = policy_on(time, jitter=0.5, max_attempts=4, **settings)
        waits = []
        for _ in range(200):
            Retried(COLOURS[0], policy, breaker_on(time), Backend(DOWN))
            waits.append(time.slept)
            time.slept = []
        for found, (lowest, highest) in zip(zip(*waits, strict=True), ranges, strict=True):
            assert lowest <= min(found) < lowest + 0.1
            assert highest - 0.1 < max(found) <= highest

    def test_many_attempts_without_a_wait(self, time: Time) -> None:
        """Powers that no float can hold make no wait of none."""
        policy = policy_on(time, initial=0, max_attempts=1100)
        Retried(COLOURS[0], policy, breaker_on(time, fail_max=2000), Backend(DOWN))
        assert set(time.slept) == {0}

    def test_what_the_backend_asks_for_is_the_least(self, time: Time, colour: Any) -> None:
        """Also with a breaker that doesn't hold."""
        backend = Backend(StatusError(503, 2), "answer")
        found = Retried(colour, policy_on(time), breaker_on(time), backend)
        assert (found.value, time.slept) == ("answer", [2])

    def test_who_was_held_comes_back_spread_out(self, time: Time) -> None:
        waits = set()
        for _ in range(20):
            time.slept = []
            Retried(COLOURS[0], policy_on(time, jitter=0.5), breaker_on(time), Backend(StatusError(503, 2), "answer"))
            waits.update(time.slept)
        assert len(waits) > 10
        assert all(2 <= wait <= 2.5 for wait in waits)

    def test_a_hold_is_waited_for(self, time: Time, colour: Any) -> None:
        """The circuit is open until then; the next attempt is its probe."""
        breaker = breaker_on(time, **policies.llm())
        backend = Backend(StatusError(429, 2), "answer")
        found = Retried(colour, policy_on(time), breaker, backend)
        assert (found.value, time.slept, breaker.current_state) == ("answer", [2], "closed")

    def test_a_hold_of_a_rule_of_ones_own(self, time: Time, colour: Any) -> None:
        breaker = breaker_on(time, hold_for=lambda _error: 3)
        backend = Backend(DOWN, "answer")
        assert Retried(colour, policy_on(time), breaker, backend).value == "answer"
        assert time.slept == [3]

    def test_a_hold_by_a_result(self, time: Time, colour: Any) -> None:
        breaker = breaker_on(time, hold_result=lambda result: 3 if result == "later" else None)
        backend = Backend("later", "answer")
        assert Retried(colour, policy_on(time), breaker, backend).value == "answer"
        assert time.slept == [3]

    def test_a_longer_hold_of_another_caller(self, time: Time, colour: Any) -> None:
        breaker = breaker_on(time, hold_for=retry_after)

        def backend() -> str:
            if time.slept:
                return "answer"
            with pytest.raises(StatusError):
                breaker.call(Backend(StatusError(429, 7)))
            raise StatusError(429, 2)

        assert Retried(colour, policy_on(time), breaker, backend).value == "answer"
        assert time.slept == [7]


class TestGivingUp:
    def test_the_last_attempt_begins_before_the_end(self, time: Time, colour: Any) -> None:
        policy = policy_on(time, initial=1, max_elapsed=6.9)
        found = Retried(colour, policy, breaker_on(time), Backend(DOWN))
        assert time.slept == [1, 2]
        assert found.notes == [
            "RetryPolicy: 3 attempts in 3.00 s; no more, because the next one would begin after more than 6.9 s"
        ]

    def test_attempts_take_time_too(self, time: Time, colour: Any) -> None:
        def backend() -> None:
            time.now += 4
            raise DOWN

        Retried(colour, policy_on(time, initial=1, max_elapsed=10), breaker_on(time), backend)
        assert time.slept == [1]

    @pytest.mark.parametrize("settings", [{}, policies.llm()], ids=["not held", "held"])
    def test_at_once_when_the_backend_asks_for_longer(self, time: Time, colour: Any, settings: dict[str, Any]) -> None:
        backend = Backend(StatusError(429, 30))
        found = Retried(colour, policy_on(time, max_elapsed=29.9), breaker_on(time, **settings), backend)
        assert (found.error, backend.calls, time.slept) == (backend.answers[0], 1, [])

    def test_at_once_when_the_circuit_is_held_for_longer(self, time: Time, colour: Any) -> None:
        breaker = breaker_on(time, hold_for=retry_after)

        def backend() -> None:
            with pytest.raises(StatusError):
                breaker.call(Backend(StatusError(429, 70)))
            raise StatusError(429, 2)

        found = Retried(colour, policy_on(time, max_elapsed=60), breaker, backend)
        assert type(found.error) is StatusError
        assert time.slept == []

    def test_at_once_when_only_a_hand_can_end_it(self, time: Time, colour: Any) -> None:
        """Held as well, the circuit stays open for ever, and so would the wait last."""
        breaker = breaker_on(time, hold_for=retry_after)

        def backend() -> None:
            breaker.open(math.inf)
            raise StatusError(429, 2)

        found = Retried(colour, policy_on(time, max_elapsed=math.inf), breaker, backend)
        assert type(found.error) is StatusError
        assert time.slept == []

    def test_after_so_many_attempts(self, time: Time, colour: Any) -> None:
        backend = Backend(DOWN)
        found = Retried(colour, policy_on(time, max_attempts=4), breaker_on(time), backend)
        assert backend.calls == 4
        assert found.notes == ["RetryPolicy: 4 attempts in 0.70 s; no more, because no more are allowed"]

    def test_never_if_nothing_says_so(self, time: Time, colour: Any) -> None:
        backend = Backend(*[DOWN] * 300, "answer")
        found = Retried(colour, policy_on(time, max_elapsed=math.inf), breaker_on(time, fail_max=1000), backend)
        assert (found.value, backend.calls) == ("answer", 301)

    def test_within_less_time(self, time: Time) -> None:
        policy = policy_on(time, max_elapsed=10)
        assert policy.within(11) is policy
        assert policy.within(3) == dataclasses.replace(policy, max_elapsed=3)


class TestCancelling:
    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
    def test_an_attempt_that_is_interrupted_is_the_last(
        self, time: Time, colour: Any, error: type[BaseException]
    ) -> None:
        backend = Backend(DOWN, error)
        found = Retried(colour, policy_on(time), breaker_on(time), backend)
        assert type(found.error) is error
        assert (backend.calls, found.notes) == (2, [])

    def test_a_wait_that_is_interrupted(self, time: Time, colour: Any) -> None:
        def interrupt() -> None:
            raise KeyboardInterrupt

        time.meanwhile = interrupt
        backend = Backend(DOWN)
        found = Retried(colour, policy_on(time), breaker_on(time), backend)
        assert type(found.error) is KeyboardInterrupt
        assert backend.calls == 1

    def test_a_wait_that_is_cancelled(self) -> None:
        """With the real sleep: it would take an hour."""
        backend = Backend(DOWN)
        breaker = CircuitBreaker()

        async def main() -> None:
            policy = RetryPolicy(initial=3600, maximum=3600, max_elapsed=math.inf)
            task = asyncio.create_task(policy.call_async(breaker, backend))
            while not backend.calls:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(asyncio.wait_for(main(), 60))
        assert (backend.calls, breaker.fail_counter) == (1, 1)

    def test_an_attempt_that_is_cancelled(self) -> None:
        async def main() -> None:
            begun = []

            async def backend() -> None:
                begun.append(True)
                await asyncio.sleep(3600)

            task = asyncio.create_task(RetryPolicy().call(CircuitBreaker(), backend))
            while not begun:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(begun) == 1

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_a_cancellation_that_the_function_has_made_an_error_of(self, time: Time) -> None:
        async def main() -> None:
            begun = []

            async def backend() -> None:
                begun.append(True)
                try:
                    await asyncio.sleep(3600)
                except asyncio.CancelledError:
                    raise DOWN from None

            task = asyncio.create_task(policy_on(time).call(breaker_on(time), backend))
            while not begun:
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(ConnectionError):
                await task
            assert len(begun) == 1

        asyncio.run(asyncio.wait_for(main(), 60))

    def test_time_outs_of_the_function_are_no_cancellation(self, time: Time) -> None:
        calls = []

        async def backend() -> str:
            calls.append(True)
            if len(calls) == 1:
                async with asyncio.timeout(0):
                    await asyncio.sleep(3600)
            return "answer"

        assert asyncio.run(policy_on(time).call_async(breaker_on(time), backend)) == "answer"
        assert len(calls) == 2


class TestErrors:
    def test_notes_do_not_pile_up(self, time: Time, colour: Any) -> None:
        error = ConnectionError()
        error.add_note("mine")
        for _ in range(3):
            Retried(colour, policy_on(time, max_attempts=2), breaker_on(time), Backend(error))
        assert error.__notes__ == ["mine", "RetryPolicy: 2 attempts in 0.10 s; no more, because no more are allowed"]

    def test_an_error_that_takes_no_notes(self, time: Time, colour: Any) -> None:
        @dataclasses.dataclass(frozen=True)
        class FrozenError(Exception):
            code: int

        error = FrozenError(5)
        assert Retried(colour, policy_on(time, max_attempts=2), breaker_on(time), Backend(error)).error is error

    def test_a_rule_that_fails_is_logged_without_the_calls_error(
        self, time: Time, caplog: pytest.LogCaptureFixture
    ) -> None:
        def rule(_error: Exception) -> bool:
            raise RuntimeError("of the rule")

        with pytest.raises(ConnectionError):
            policy_on(time, on=rule).call(breaker_on(time), Backend(DOWN))
        (logged,) = [record for record in caplog.records if record.name == "pybreaker_ext.ended"]
        assert "ConnectionError" in logged.getMessage()
        assert "no answer" not in caplog.text
        assert "of the rule" in caplog.text

    def test_nothing_is_kept_alive(self) -> None:
        """Not until the garbage collector comes: what an error's traceback holds may be large."""

        class Prompt:
            pass

        kept: list[weakref.ref[Prompt]] = []

        def backend() -> None:
            prompt = Prompt()
            kept.append(weakref.ref(prompt))
            raise ConnectionError

        async def backend_async() -> None:
            backend()

        policy = RetryPolicy(initial=0, jitter=0, max_attempts=3)

        async def main() -> None:
            with contextlib.suppress(ConnectionError):
                await policy.call(CircuitBreaker(), backend_async)

        gc.collect()
        gc.disable()
        try:
            with contextlib.suppress(ConnectionError):
                policy.call(CircuitBreaker(), backend)
            asyncio.run(main())
            assert [ref() for ref in kept] == [None] * 6
        finally:
            gc.enable()


class TestFunctions:
    def test_arguments_are_handed_on(self, time: Time, colour: Any) -> None:
        def backend(*args: Any, **kwargs: Any) -> Any:
            return args, kwargs

        function = colour.function(backend)
        run = functools.partial(policy_on(time).call, breaker=5, policy=6, self=7)
        assert colour.run(run, breaker_on(time), function, 1, 2) == ((1, 2), {"breaker": 5, "policy": 6, "self": 7})

    def test_what_can_only_be_awaited(self, time: Time) -> None:
        async def main() -> None:
            futures = [asyncio.get_running_loop().create_future() for _ in range(2)]
            futures[0].set_exception(DOWN)
            futures[1].set_result("answer")
            left = iter(futures)
            assert await policy_on(time).call_async(breaker_on(time), lambda: next(left)) == "answer"

        asyncio.run(main())

    def test_generators_are_refused(self, time: Time) -> None:
        def generator() -> Iterator[int]:
            yield 1

        async def async_generator() -> Any:
            yield 1

        policy, breaker = policy_on(time), breaker_on(time)
        for function in (generator, async_generator, lambda: generator()):
            with pytest.raises(TypeError, match="can't be retried once it has begun"):
                policy.call(breaker, function)
            with pytest.raises(TypeError, match="can't be retried once it has begun"):
                asyncio.run(policy.call_async(breaker, function))
        with pytest.raises(TypeError, match="can't be retried once it has begun"):
            policy(breaker)(generator)

    def test_what_is_no_breaker_or_function(self) -> None:
        policy: Any = RetryPolicy()
        for call in (lambda: policy.call(None, len), lambda: policy(None), lambda: policy.call(len, len)):
            with pytest.raises(TypeError, match=r"^breaker must be a pybreaker_ext.CircuitBreaker, not "):
                call()
        for call in (lambda: policy.call(CircuitBreaker(), None), lambda: policy(CircuitBreaker())(5)):
            with pytest.raises(TypeError, match="only a function can be called, not "):
                call()

    def test_decorating(self, time: Time) -> None:
        retried = policy_on(time)(breaker_on(time))
        backend = Backend(DOWN, "answer")

        @retried
        def plain(*, a: int = 5) -> Any:
            """Be plain."""
            return backend(a)

        @retried
        async def coroutine(*, a: int = 5) -> Any:
            return backend(a)

        class Client:
            @retried
            def method(self) -> Any:
                return self, backend()

            @retried
            @classmethod
            def of_class(cls) -> Any:
                return cls, backend()

            @retried
            @staticmethod
            def static() -> Any:
                return backend()

        client = Client()
        expected = [(plain, "answer"), (client.method, (client, "answer"))]
        expected += [(Client.of_class, (Client, "answer")), (Client.static, "answer")]
        for function, value in expected:
            backend.calls = 0
            assert (function(), backend.calls) == (value, 2)
        backend.calls = 0
        assert (asyncio.run(coroutine()), backend.calls) == ("answer", 2)
        assert (plain.__doc__, str(inspect.signature(plain))) == ("Be plain.", "(*, a: 'int' = 5) -> 'Any'")
        assert inspect.iscoroutinefunction(coroutine)

    def test_one_policy_for_many_tasks_and_threads(self) -> None:
        """tenacity keeps its state in the object and the thread: ours is the call's."""
        policy = RetryPolicy(initial=0.001, maximum=0.01, jitter=0.01)
        breaker = CircuitBreaker(fail_max=10_000)

        async def main(number: int) -> None:
            backends = [Backend(*[DOWN] * (place % 4), (number, place)) for place in range(30)]

            async def call(backend: Backend) -> Any:
                await asyncio.sleep(0)
                return backend()

            found = await asyncio.gather(*[policy.call(breaker, call, backend) for backend in backends])
            assert found == [(number, place) for place in range(30)]
            assert [backend.calls for backend in backends] == [place % 4 + 1 for place in range(30)]

        errors: list[BaseException] = []

        def thread(number: int) -> None:
            try:
                asyncio.run(main(number))
            except BaseException as error:  # noqa: BLE001  for the main thread
                errors.append(error)

        threads = [threading.Thread(target=thread, args=(number,)) for number in range(3)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert errors == []


class TestBudget:
    def test_retries_are_a_share_of_calls(self, time: Time, colour: Any) -> None:
        policy = policy_on(time, initial=0, budget=RetryBudget(0.1, clock=time))
        backend = Backend(ConnectionError)
        breaker = breaker_on(time, fail_max=1000)
        found = [Retried(colour, policy, breaker, backend) for _ in range(100)]
        assert backend.calls == 100 + 10
        assert found[-2].notes == ["RetryPolicy: 1 attempt in 0.00 s; no more, because the budget for retries is spent"]

    @pytest.mark.parametrize(("share", "calls", "allowed"), [(0.29, 100, 29), (0, 100, 1), (1, 3, 3), (0.5, 1, 1)])
    def test_shares(self, share: float, calls: int, allowed: int) -> None:
        budget = RetryBudget(share, clock=Time())
        for _ in range(calls):
            budget.add_call()
        assert [budget.take() for _ in range(allowed + 1)] == [True] * allowed + [False]

    def test_a_minimum(self) -> None:
        budget = RetryBudget(0, minimum=2, clock=Time())
        assert [budget.take() for _ in range(3)] == [True, True, False]
        assert not RetryBudget(0, minimum=0, clock=Time()).take()

    def test_what_is_older_than_the_window_does_not_count(self, time: Time) -> None:
        budget = RetryBudget(0.5, window=10, minimum=0, clock=time)
        for _ in range(4):
            budget.add_call()
        time.now += 9.9
        assert budget.take()
        time.now += 0.2
        assert not budget.take()
        for _ in range(2):
            budget.add_call()
        assert not budget.take()  # one for two calls was taken
        time.now += 9.8
        assert budget.take()
        time.now += 1e9
        assert not budget.take()

    def test_calls_that_were_rejected_earn_nothing(self, time: Time, colour: Any) -> None:
        budget = RetryBudget(1, minimum=0, clock=time)
        breaker = breaker_on(time)
        breaker.open()
        for _ in range(5):
            Retried(colour, policy_on(time, budget=budget), breaker, Backend(DOWN))
        assert not budget.take()

    def test_calls_that_are_not_retried_spend_nothing(self, time: Time, colour: Any) -> None:
        budget = RetryBudget(0, clock=time)
        for policy in (policy_on(time, budget=budget, max_attempts=1), policy_on(time, budget=budget, max_elapsed=0)):
            Retried(colour, policy, breaker_on(time), Backend(DOWN))
        assert budget.take()

    def test_threads_share_it(self) -> None:
        budget = RetryBudget(0.1, window=3600)
        taken: list[bool] = []

        def thread() -> None:
            for _ in range(500):
                budget.add_call()
            taken.extend([budget.take() for _ in range(500)])

        threads = [threading.Thread(target=thread) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert 50 <= sum(taken) <= 200
        assert sum(taken) + sum(budget.take() for _ in range(500)) == 200

    def test_a_forked_child_begins_anew(self) -> None:
        budget = RetryBudget(1, minimum=0)
        budget.add_call()
        with budget._lock:
            child = os.fork()
            if child == 0:
                os._exit(int(budget.take()))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert budget.take()


class TestArguments:
    @pytest.mark.parametrize("argument", ["initial", "maximum", "jitter", "max_elapsed"])
    @pytest.mark.parametrize("value", [-1, math.nan, "1", None, True])
    def test_of_seconds(self, argument: str, value: Any) -> None:
        with pytest.raises(
            (ValueError, TypeError), match=rf"^{argument} must be a .*number of seconds, .*not {value!r}"
        ):
            RetryPolicy(**{argument: value})

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"initial": math.inf}, "initial must be a finite number of seconds, 0 or more, not inf"),
            ({"multiplier": 0.9}, "multiplier must be a finite number of at least 1, not 0.9"),
            ({"max_attempts": 0}, "max_attempts must be at least 1, not 0"),
            ({"max_attempts": 1.5}, "max_attempts must be a whole number of at least 1, not 1.5"),
            ({"on": "x"}, "on must be a list of exception types and predicates, not 'x'"),
            ({"on": [5]}, "on must hold exception types and predicates only, not 5"),
            ({"budget": 5}, "budget must be a RetryBudget or None, not 5"),
            ({"clock": None}, "clock must be callable, not None"),
            ({"sleep": 5}, "sleep must be callable, not 5"),
            ({"sleep_async": 5}, "sleep_async must be callable, not 5"),
        ],
    )
    def test_of_policies(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises((ValueError, TypeError)) as caught:
            RetryPolicy(**settings)
        assert str(caught.value) == message

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"share": -0.1}, "share must be a finite number, 0 or more, not -0.1"),
            ({"share": math.inf}, "share must be a finite number, 0 or more, not inf"),
            ({"window": 0}, "window must be a finite number of seconds above 0, not 0"),
            ({"minimum": -1}, "minimum must be at least 0, not -1"),
            ({"clock": 5}, "clock must be callable, not 5"),
        ],
    )
    def test_of_budgets(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises((ValueError, TypeError)) as caught:
            RetryBudget(**settings)
        assert str(caught.value) == message

    def test_the_defaults_are_as_documented(self) -> None:
        names = ("initial", "maximum", "multiplier", "jitter", "max_elapsed", "max_attempts")
        assert [getattr(RetryPolicy(), name) for name in names] == [0.1, 10.0, 2.0, 0.5, 120.0, None]

    def test_without_tenacity_the_error_names_the_extra(self) -> None:
        program = "import sys; sys.modules['tenacity'] = None; import pybreaker_ext.retry"
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
        assert 'pip install "pybreaker-ext[retry]"' in run.stderr


def test_mistakes_are_told_by_the_same_rule_everywhere() -> None:
    """A trip by a mistake carries it as its cause."""
    breaker = CircuitBreaker(fail_max=1)
    with pytest.raises(CircuitBreakerError) as caught:
        breaker.call(Backend(StatusError(400)))
    assert is_client_error(caught.value)


def test_a_function_that_fails_before_it_returns_a_coroutine_has_no_more_attempts_than_others() -> None:
    called: list[int] = []

    async def fails() -> None:
        raise ConnectionError("later")

    def function() -> Any:
        called.append(1)
        if len(called) == 1:
            raise ConnectionError("at once")
        return fails()

    async def main() -> None:
        policy = RetryPolicy(initial=0, jitter=0, max_attempts=2)
        with pytest.raises(ConnectionError, match="later"):
            await policy.call(CircuitBreaker(fail_max=99), function)

    asyncio.run(main())
    assert len(called) == 2
