"""Calls, decorators, blocks and generators through one breaker; what is raised and what counts."""

from __future__ import annotations

import asyncio
import gc
import inspect
import itertools
import math
import pickle
import threading
import traceback
from abc import ABCMeta
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pybreaker
import pytest
from fleet import until

import pybreaker_ext
from pybreaker_ext import Backoff, CircuitBreaker, CircuitBreakerError, CircuitMemoryStorage, CircuitState, FailedResult
from pybreaker_ext.outcome import Judge
from pybreaker_ext.testing import Clock

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


class BackendError(Exception):
    pass


class OtherError(Exception):
    pass


def fail(error: BaseException | None = None) -> None:
    raise error if error is not None else BackendError("sick")


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_breaker(clock: Clock) -> Callable[..., CircuitBreaker]:
    def new(**settings: Any) -> CircuitBreaker:
        storage = CircuitMemoryStorage(clock=clock)
        return CircuitBreaker(**{"fail_max": 2, "reset_timeout": 10, "state_storage": storage, "name": "b", **settings})

    return new


def counted(breaker: CircuitBreaker, error: BaseException) -> str:
    """Tell what an error counts as: a run of failures goes on, ends, or stays as it is."""
    breaker.reset()
    with pytest.raises(BackendError):
        breaker.call(fail)
    with pytest.raises(type(error)) as caught:
        breaker.call(fail, error)
    assert caught.value is error
    return {0: "success", 1: "neutral", 2: "failure"}[breaker.fail_counter]


class TestCall:
    def test_gives_arguments_and_result_through(self, new_breaker: Any) -> None:
        result = new_breaker().call(lambda *args, **kwargs: (args, kwargs), 1, func=2, self=3, kind=4)
        assert result == ((1,), {"func": 2, "self": 3, "kind": 4})

    def test_the_error_that_trips_is_replaced_and_kept_as_the_cause(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        with pytest.raises(BackendError):
            breaker.call(fail)
        error = BackendError("second")
        with pytest.raises(CircuitBreakerError, match="^Failures threshold reached, circuit breaker opened$") as caught:
            breaker.call(fail, error)
        assert caught.value.__cause__ is error
        assert (caught.value.breaker_name, caught.value.state, caught.value.reason) == ("b", "open", "failures")
        assert caught.value.retry_after == 10.0

    def test_or_not(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=1, throw_new_error_on_trip=False)
        with pytest.raises(BackendError):
            breaker.call(fail)
        assert breaker.current_state == CircuitState.OPEN

    def test_a_rejection_says_when_to_come_back(self, new_breaker: Any, clock: Clock) -> None:
        breaker = new_breaker()
        breaker.open()
        clock.advance(4)
        with pytest.raises(
            CircuitBreakerError, match="^Timeout not elapsed yet, circuit breaker still open$"
        ) as caught:
            breaker.call(fail)
        error = caught.value
        assert (error.breaker_name, error.state, error.reason, error.retry_after) == ("b", "open", "manual", 6.0)
        assert error.__cause__ is None
        assert breaker.retry_after == 6.0

    def test_a_rejection_in_half_open_too(self, new_breaker: Any, clock: Clock) -> None:
        breaker = new_breaker(probe_timeout=8)
        breaker.half_open()

        def probe() -> float:
            clock.advance(3)
            with pytest.raises(CircuitBreakerError) as caught:
                breaker.call(fail)
            assert caught.value.state == "half-open"
            assert breaker.snapshot().probes == 1
            assert breaker.retry_after == 5.0
            return caught.value.retry_after

        assert breaker.call(probe) == 5.0
        assert breaker.current_state == CircuitState.CLOSED

    def test_a_failing_probe(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=9)
        breaker.half_open()
        with pytest.raises(CircuitBreakerError, match="^Trial call failed, circuit breaker opened$"):
            breaker.call(fail)

    def test_back_off(self, new_breaker: Any, clock: Clock) -> None:
        breaker = new_breaker(fail_max=1, reset_timeout=1, backoff=Backoff(2, maximum=16, jitter=0))
        waits = []
        for _ in range(6):
            with pytest.raises(CircuitBreakerError) as caught:
                breaker.call(fail)
            waits.append(caught.value.retry_after)
            clock.advance(waits[-1])
        assert waits == [1, 2, 4, 8, 16, 16]

    def test_jitter_is_made_of_chance(self, new_breaker: Any) -> None:
        waits = set()
        breaker = new_breaker(fail_max=1, backoff=Backoff(jitter=0.5))
        for _ in range(30):
            breaker.close()
            with pytest.raises(CircuitBreakerError) as caught:
                breaker.call(fail)
            waits.add(caught.value.retry_after)
        assert min(waits) >= 10
        assert max(waits) <= 15
        assert len(waits) > 10

    def test_nothing_is_held_while_the_function_runs(self, new_breaker: Any) -> None:
        """Twenty calls are inside at the same moment, or the barrier breaks."""
        breaker, inside = new_breaker(), threading.Barrier(20, timeout=30)
        results: list[int] = []
        threads = [threading.Thread(target=lambda: results.append(breaker.call(inside.wait))) for _ in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(results) == list(range(20))

    def test_settings_take_effect_at_the_next_decision(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        breaker.fail_max, breaker.reset_timeout, breaker.success_threshold = 1, 3, 2
        assert (breaker.fail_max, breaker.reset_timeout, breaker.success_threshold) == (1, 3, 2)
        with pytest.raises(CircuitBreakerError) as caught:
            breaker.call(fail)
        assert caught.value.retry_after == 3
        breaker.half_open()
        breaker.call(int)
        assert (breaker.current_state, breaker.success_counter) == ("half-open", 1)
        breaker.call(int)
        assert breaker.current_state == "closed"

    def test_settings_that_two_threads_change_at_once_take_effect_both(self) -> None:
        class Slow(CircuitBreaker):
            def _new_policy(self) -> Any:
                """Return the policy; while the first change is being made, another thread makes one, too."""
                policy = super()._new_policy()
                if self.fail_max == 7 and not others:
                    others.append(threading.Thread(target=setattr, args=(self, "success_threshold", 3)))
                    others[0].start()
                    others[0].join(0.2)
                return policy

        others: list[threading.Thread] = []
        breaker = Slow()
        breaker.fail_max = 7
        others[0].join()
        assert (breaker._policy.fail_max, breaker._policy.success_threshold) == (7, 3)

    def test_the_traceback_leads_to_the_function(self, new_breaker: Any) -> None:
        with pytest.raises(BackendError) as caught:
            new_breaker().call(fail)
        assert [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)][-1] == "fail"


class TestCounts:
    """Section 4: an exception's and a result's meaning, in their order."""

    @pytest.mark.parametrize(
        "error", [asyncio.CancelledError(), KeyboardInterrupt(), SystemExit(3), GeneratorExit(), BaseException()]
    )
    def test_what_is_no_exception_is_neutral(self, new_breaker: Any, error: BaseException) -> None:
        everything = {"exclude": [BaseException], "include": [BaseException], "hold_for": lambda _: 5}
        assert counted(new_breaker(fail_max=3, include=[BackendError]), error) == "neutral"
        breaker = new_breaker(fail_max=3, **everything)
        with pytest.raises(type(error)):
            breaker.call(fail, error)
        assert breaker.current_state == "closed"

    def test_any_exception_is_a_failure(self, new_breaker: Any) -> None:
        assert counted(new_breaker(fail_max=3), ValueError()) == "failure"

    def test_ignored_is_neutral(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=3, ignore=[OtherError, lambda exc: "fine" in str(exc)])
        assert counted(breaker, OtherError()) == "neutral"
        assert counted(breaker, ValueError("fine")) == "neutral"
        assert counted(breaker, ValueError("bad")) == "failure"

    def test_excluded_is_a_success(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=3, exclude=[OtherError, lambda exc: "fine" in str(exc)])
        assert counted(breaker, OtherError()) == "success"
        assert counted(breaker, type("SubError", (OtherError,), {})()) == "success"
        assert counted(breaker, ValueError("fine")) == "success"
        assert counted(breaker, ValueError("bad")) == "failure"

    def test_not_included_is_neutral(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=3, include=[BackendError, lambda exc: "bad" in str(exc)])
        assert counted(breaker, BackendError()) == "failure"
        assert counted(breaker, ValueError("bad")) == "failure"
        assert counted(breaker, ValueError("odd")) == "neutral"

    def test_ignore_comes_before_exclude_and_exclude_before_include(self, new_breaker: Any) -> None:
        breaker = new_breaker(
            fail_max=3, ignore=[OtherError], exclude=[OtherError, ValueError], include=[BackendError, ValueError]
        )
        assert counted(breaker, OtherError()) == "neutral"
        assert counted(breaker, ValueError()) == "success"

    def test_a_hold_comes_first(self, new_breaker: Any) -> None:
        breaker = new_breaker(ignore=[BackendError], hold_for=lambda _: 7)
        error = BackendError()
        with pytest.raises(BackendError) as caught:
            breaker.call(fail, error)
        assert caught.value is error
        snapshot = breaker.snapshot()
        assert (snapshot.state, snapshot.reason, snapshot.retry_after, snapshot.trips) == ("open", "hold", 7.0, 0)

    @pytest.mark.parametrize("value", [None, 0, -1, 0.0, math.nan, math.inf, float("inf"), "7", True, [], object()])
    def test_any_other_value_is_no_hold(self, new_breaker: Any, value: Any) -> None:
        assert counted(new_breaker(fail_max=3, hold_for=lambda _: value), ValueError()) == "failure"

    def test_a_time_below_a_second_is_one(self, new_breaker: Any) -> None:
        breaker = new_breaker(hold_for=lambda _: 0.5)
        with pytest.raises(BackendError):
            breaker.call(fail)
        assert breaker.retry_after == 0.5

    def test_only_a_hold_has_a_duration(self) -> None:
        """So that who stands around the call waits for none."""
        judge = CircuitBreaker(failure_result=bool)._judge
        ends = [judge.result(0), judge.result(1), judge.error(ConnectionError(), lambda _: True)]
        assert [(end.kind, end.duration) for end in ends] == [("success", 0), ("failure", 0), ("failure", 0)]

    @pytest.mark.parametrize("rule", ["failure_result", "hold_result", None])
    def test_results_are_looked_at_when_a_rule_judges_them(self, rule: str | None) -> None:
        rules: dict[str, Any] = {"failure_result": None, "hold_result": None} | ({rule: bool} if rule else {})
        judge = Judge([], [], hold_for=bool, max_hold=600, **rules)
        assert judge.judges_results is (rule is not None)

    def test_types_of_any_metaclass(self, new_breaker: Any) -> None:
        """pybreaker calls such a class with the exception, and takes the instance for a yes."""

        class Meta(ABCMeta):
            pass

        class MetaError(Exception, metaclass=Meta):
            pass

        breaker = new_breaker(fail_max=3, exclude=[MetaError])
        assert counted(breaker, MetaError()) == "success"
        assert counted(breaker, ValueError()) == "failure"

    @pytest.mark.parametrize("setting", ["exclude", "include", "ignore"])
    def test_a_rule_that_raises_counts_a_failure_and_hides_nothing(
        self, new_breaker: Any, setting: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        breaker = new_breaker(fail_max=3, **{setting: [lambda exc: 1 / 0]})
        assert counted(breaker, ValueError()) == "failure"
        assert "ZeroDivisionError" in caplog.text

    def test_so_does_hold_for(self, new_breaker: Any, caplog: pytest.LogCaptureFixture) -> None:
        assert counted(new_breaker(fail_max=3, hold_for=lambda exc: 1 / 0), ValueError()) == "failure"
        assert "ZeroDivisionError" in caplog.text

    def test_hostile_truth_is_a_rule_that_raises(self, new_breaker: Any) -> None:
        class Hostile:
            def __bool__(self) -> bool:
                raise RuntimeError("no")

        assert counted(new_breaker(fail_max=3, ignore=[lambda exc: Hostile()]), ValueError()) == "failure"
        breaker = new_breaker(fail_max=3, failure_result=lambda result: Hostile())
        assert breaker.call(lambda: 5) == 5
        assert breaker.fail_counter == 1

    def test_is_system_error_is_still_the_hook_for_subclasses(self, clock: Clock) -> None:
        class Mine(CircuitBreaker):
            def is_system_error(self, exception: BaseException) -> bool:
                return not isinstance(exception, OtherError)

        assert counted(Mine(fail_max=3), OtherError()) == "success"
        assert counted(Mine(fail_max=3), ValueError()) == "failure"

    def test_exclusions_can_be_changed(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=3)
        breaker.add_excluded_exceptions(OtherError, ValueError)
        assert breaker.excluded_exceptions == (OtherError, ValueError)
        assert counted(breaker, ValueError()) == "success"
        breaker.remove_excluded_exception(ValueError)
        assert counted(breaker, ValueError()) == "failure"

    def test_a_failed_result_still_reaches_the_caller_also_when_it_trips(self, new_breaker: Any) -> None:
        seen: list[Any] = []

        class Listener(pybreaker.CircuitBreakerListener):
            def failure(self, cb: Any, exc: BaseException) -> None:
                seen.append(exc)

        breaker = new_breaker(failure_result=lambda result: result == 503, listeners=[Listener()])
        assert [breaker.call(lambda: 503), breaker.call(lambda: 503)] == [503, 503]
        assert breaker.current_state == "open"
        assert [(type(exc), exc.result) for exc in seen] == [(FailedResult, 503)] * 2

    def test_excluded_and_neutral_give_a_probe_back(self, new_breaker: Any) -> None:
        breaker = new_breaker(success_threshold=2, exclude=[OtherError], ignore=[ValueError])
        breaker.half_open()
        for error in (ValueError(), KeyboardInterrupt(), OtherError()):
            with pytest.raises(type(error)):
                breaker.call(fail, error)
        assert (breaker.current_state, breaker.success_counter) == ("half-open", 1)
        breaker.call(int)
        assert breaker.current_state == "closed"

    @pytest.mark.parametrize(
        ("way", "rule"),
        [
            *itertools.product(["call", "call_async", "stream"], ["hold_for", "ignore", "include", "exclude"]),
            *itertools.product(["call", "call_async"], ["failure_result", "hold_result"]),
        ],
    )
    def test_a_stop_in_a_rule_stops_the_call_and_wedges_nothing(self, new_breaker: Any, way: str, rule: str) -> None:
        def stop(_: object) -> None:
            raise KeyboardInterrupt

        breaker = new_breaker(**{rule: [stop] if rule in ("ignore", "include", "exclude") else stop})
        breaker.half_open()
        function = int if rule.endswith("result") else fail
        call: Any = {
            "call": lambda: breaker.call(function),
            "call_async": lambda: asyncio.run(breaker.call_async(function)),
            "stream": lambda: list(breaker.stream(function)),
        }[way]
        with pytest.raises(KeyboardInterrupt):
            call()
        until(lambda: breaker.snapshot().probes == 0)  # a thread gives it back when it has ended an event loop


class TestDecorator:
    def test_bare_with_parentheses_and_by_name(self, new_breaker: Any) -> None:
        breaker = new_breaker()

        def function(a: int, *, b: int = 2) -> int:
            """Add."""
            return a + b

        for protected in (breaker(function), breaker()(function), breaker.protect(function)):
            assert protected(1, b=4) == 5
            assert (protected.__name__, protected.__doc__) == ("function", "Add.")
            assert inspect.signature(protected) == inspect.signature(function)
            assert protected.__wrapped__ is function

    def test_on_methods(self, new_breaker: Any) -> None:
        breaker = new_breaker()

        class Client:
            @breaker
            def method(self, x: int) -> Any:
                return type(self), x

            @breaker
            @classmethod
            def above_class(cls, x: int) -> Any:
                return cls, x

            @classmethod
            @breaker
            def below_class(cls, x: int) -> Any:
                return cls, x

            @breaker
            @staticmethod
            def above_static(x: int) -> int:
                return x

            @staticmethod
            @breaker
            def below_static(x: int) -> int:
                return x

        client = Client()
        assert client.method(1) == client.above_class(1) == client.below_class(1) == (Client, 1)
        assert client.above_static(1) == Client.below_static(1) == Client.above_static(1) == 1
        breaker.open()
        for function in (client.method, Client.above_class, Client.below_class, client.above_static):
            with pytest.raises(CircuitBreakerError):
                function(1)

    def test_on_what_cannot_be_called(self, new_breaker: Any) -> None:
        with pytest.raises(TypeError, match="only a function can be protected, not 3"):
            new_breaker()(3)

    def test_with_unknown_arguments(self, new_breaker: Any) -> None:
        with pytest.raises(TypeError, match="takes no argument 'timeout'"):
            new_breaker()(timeout=3)


class TestBlock:
    def test_counts_like_a_call(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        with breaker.calling():
            pass
        with pytest.raises(BackendError), breaker.calling():
            fail()
        error = BackendError()
        with pytest.raises(CircuitBreakerError) as caught, breaker.calling():
            fail(error)
        assert caught.value.__cause__ is error
        with pytest.raises(CircuitBreakerError), breaker.calling():
            raise AssertionError("entered")

    def test_is_for_one_time(self, new_breaker: Any) -> None:
        breaker = new_breaker(half_open_max_calls=2)
        block = breaker.calling()
        with block, pytest.raises(RuntimeError, match="can be entered once"):
            block.__enter__()
        with pytest.raises(RuntimeError, match="can be left once"):
            block.__exit__(None, None, None)
        with pytest.raises(RuntimeError, match="can be left once"):
            breaker.calling().__exit__(None, None, None)

    def test_decorates_as_in_pybreaker(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        five = breaker.calling()(lambda: 5)
        assert (five(), five()) == (5, 5)
        breaker.open()
        with pytest.raises(CircuitBreakerError):
            five()

    def test_leaving_early_is_a_success(self, new_breaker: Any) -> None:
        breaker = new_breaker()

        def function() -> int:
            with breaker.calling():
                return 5

        breaker.half_open()
        assert function() == 5
        assert breaker.current_state == "closed"


class TestGenerators:
    def echo(self, breaker: CircuitBreaker) -> Callable[[], Generator[Any, Any, str]]:
        @breaker
        def echo() -> Generator[Any, Any, str]:
            try:
                got = yield "first"
            except OtherError as error:
                got = error
            yield got
            return "end"

        return echo

    def test_admitted_at_the_first_next(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        stream = self.echo(breaker)()
        breaker.open()
        with pytest.raises(CircuitBreakerError):
            next(stream)

    def test_never_iterated_is_nothing(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        breaker.half_open()
        stream = self.echo(breaker)()
        del stream
        gc.collect()
        assert breaker.snapshot().probes == 0

    def test_sends_throws_and_returns(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        stream = self.echo(breaker)()
        assert (next(stream), stream.send("sent")) == ("first", "sent")
        with pytest.raises(StopIteration) as stopped:
            next(stream)
        assert stopped.value.value == "end"
        stream = self.echo(breaker)()
        error = OtherError()
        assert (next(stream), stream.throw(error)) == ("first", error)

    def test_its_end_is_a_success_and_not_before(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        breaker.half_open()
        stream = self.echo(breaker)()
        next(stream)
        assert (breaker.snapshot().probes, breaker.current_state) == (1, "half-open")
        assert list(stream) == [None]
        assert breaker.current_state == "closed"

    def test_an_error_from_it_is_a_failure(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=1, throw_new_error_on_trip=False)

        @breaker
        def broken() -> Generator[int, None, None]:
            yield 1
            fail()

        stream = broken()
        next(stream)
        with pytest.raises(BackendError):
            next(stream)
        assert breaker.current_state == "open"

    @pytest.mark.parametrize("end", ["close", "forget"])
    def test_stopping_early_is_neutral_and_frees_the_place(self, new_breaker: Any, end: str) -> None:
        """pybreaker counts a failure."""
        breaker = new_breaker(fail_max=1)
        breaker.half_open()
        stream = self.echo(breaker)()
        next(stream)
        if end == "close":
            stream.close()
        else:
            del stream
            gc.collect()
        snapshot = breaker.snapshot()
        assert (snapshot.state, snapshot.probes, snapshot.fail_counter) == ("half-open", 0, 0)

    def test_is_still_a_generator_function(self, new_breaker: Any) -> None:
        assert inspect.isgeneratorfunction(self.echo(new_breaker()))

    def test_call_guards_generator_functions_and_generators_that_come_out(self, new_breaker: Any) -> None:
        breaker = new_breaker()

        def numbers(*, good: bool) -> Generator[int, None, None]:
            yield 1
            if not good:
                fail()

        for call in (
            lambda good: breaker.call(numbers, good=good),
            lambda good: breaker.call(lambda: numbers(good=good)),
        ):
            breaker.half_open()
            assert list(call(True)) == [1]
            assert breaker.current_state == "closed"
            breaker.half_open()
            with pytest.raises(CircuitBreakerError):
                list(call(False))
            assert breaker.current_state == "open"

    def test_one_that_came_out_and_is_not_iterated_frees_its_place(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        breaker.half_open()
        breaker.call(lambda: (i for i in range(3)))
        assert breaker.snapshot().probes == 0


class TestByHand:
    def test_open_for_a_time(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        assert breaker.open(3) is True
        assert breaker.retry_after == 3.0
        breaker.open()
        assert breaker.retry_after == 10.0
        breaker.open(math.inf)
        assert breaker.retry_after == math.inf
        assert breaker.snapshot().open_until == math.inf
        with pytest.raises(CircuitBreakerError) as caught:
            breaker.call(int)
        assert caught.value.retry_after == math.inf
        breaker.close()
        assert (breaker.retry_after, breaker.current_state) == (0.0, "closed")

    def test_neither_back_off_nor_jitter(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=1, backoff=Backoff(4, jitter=1))
        with pytest.raises(CircuitBreakerError):
            breaker.call(fail)
        breaker.open()
        assert breaker.retry_after == 10.0

    def test_reset(self, new_breaker: Any) -> None:
        breaker = new_breaker(fail_max=1)
        with pytest.raises(CircuitBreakerError):
            breaker.call(fail)
        breaker.reset()
        snapshot = breaker.snapshot()
        assert (snapshot.state, snapshot.fail_counter, snapshot.trips, snapshot.opened_at) == ("closed", 0, 0, None)

    def test_reading_changes_nothing(self, new_breaker: Any, clock: Clock) -> None:
        breaker = new_breaker()
        breaker.open()
        clock.advance(10)
        before = breaker.snapshot()
        for name in ("state", "current_state", "fail_counter", "success_counter", "retry_after"):
            getattr(breaker, name)
        assert breaker.snapshot() == before
        assert (before.state, before.retry_after) == ("open", 0.0)

    def test_states_by_assignment(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        for name in ("open", "half-open", "closed"):
            breaker.state = name
            assert (breaker.state.name, breaker.current_state) == (name, name)
        with pytest.raises(ValueError, match="state must be 'closed', 'open' or 'half-open', not 'ajar'"):
            breaker.state = "ajar"

    def test_state_objects_are_pybreakers(self, new_breaker: Any) -> None:
        breaker = new_breaker()
        assert isinstance(breaker.state, pybreaker.CircuitClosedState)
        breaker.open()
        assert isinstance(breaker.state, pybreaker.CircuitOpenState)
        breaker.half_open()
        assert isinstance(breaker.state, pybreaker.CircuitHalfOpenState)

    def test_breakers_that_share_a_storage_share_the_circuit(self) -> None:
        storage = CircuitMemoryStorage()
        first, second = CircuitBreaker(state_storage=storage), CircuitBreaker(state_storage=storage)
        first.open()
        with pytest.raises(CircuitBreakerError):
            second.call(int)

    @pytest.mark.parametrize(("state", "raised"), [("closed", False), ("open", False), ("half-open", False)])
    def test_the_constructors_state(self, state: str, raised: bool) -> None:
        """An open one without a time is due for a probe at once, as in pybreaker."""
        breaker = CircuitBreaker(state_storage=CircuitMemoryStorage(state))
        assert breaker.current_state == state
        assert breaker.call(lambda: 5) == 5


def test_pybreakers_setters_on_our_memory(clock: Clock) -> None:
    storage = CircuitMemoryStorage()
    storage.increment_counter()
    storage.increment_success_counter()
    storage.opened_at = datetime.now(UTC)
    storage.state = "open"
    assert (storage.state, storage.counter, storage.success_counter) == ("open", 1, 1)
    assert abs((storage.opened_at - datetime.now(UTC)).total_seconds()) < 10
    with pytest.raises(CircuitBreakerError):
        CircuitBreaker(state_storage=storage).call(int)
    storage.reset_counter()
    storage.reset_success_counter()
    assert (storage.counter, storage.success_counter) == (0, 0)
    with pytest.raises(ValueError, match="state must be"):
        storage.state = "ajar"


def test_plain_pybreaker_works_on_our_memory() -> None:
    breaker = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=0, state_storage=CircuitMemoryStorage("closed"))
    with pytest.raises(pybreaker.CircuitBreakerError):
        breaker.call(fail)
    assert breaker.current_state == "open"
    assert breaker.call(lambda: 5) == 5
    assert breaker.current_state == "closed"


def test_errors_travel_between_processes() -> None:
    error = CircuitBreakerError("message", breaker_name="b", state="half-open", retry_after=2.5, reason="hold")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    assert (str(copy), copy.args, copy.__dict__) == (str(error), error.args, error.__dict__)
    assert isinstance(copy, pybreaker.CircuitBreakerError)


def test_the_repr_names_it_and_does_no_io() -> None:
    breaker = CircuitBreaker(
        name="claude", fail_max=3, state_storage=pybreaker_ext.CircuitSQLiteStorage("/nowhere/x", "n")
    )
    assert repr(breaker) == "<CircuitBreaker name='claude' fail_max=3 reset_timeout=60 success_threshold=1>"


def test_no_breaker_is_left_behind() -> None:
    """A breaker holds no circle of references that only the garbage collector could undo."""
    import weakref

    breaker = CircuitBreaker()
    breaker.call(int)
    reference = weakref.ref(breaker)
    gc.disable()
    try:
        del breaker
        assert reference() is None
    finally:
        gc.enable()


def test_a_subclass_of_the_error_has_its_own_message() -> None:
    class MyError(CircuitBreakerError):
        def __init__(self, code: int) -> None:
            super().__init__(f"code {code}")

    assert str(MyError(5)) == "code 5"


def test_the_calls_own_error_is_not_in_the_log_behind_a_rules(caplog: pytest.LogCaptureFixture) -> None:
    def rule(error: BaseException) -> bool:
        raise LookupError

    def backend() -> None:
        raise ValueError("my prompt")

    with pytest.raises(ValueError, match="my prompt"):
        CircuitBreaker(ignore=[rule]).call(backend)
    assert "LookupError" in caplog.text
    assert "my prompt" not in caplog.text
