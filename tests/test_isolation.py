"""Many calls side by side: what happens to one happens to no other."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import gc
import itertools
import os
import signal
import threading
import time
import tracemalloc
import weakref
from typing import TYPE_CHECKING, Any

import pytest
from fleet import until

from pybreaker_ext import CircuitBreaker, CircuitBreakerError
from pybreaker_ext.isolation import Outcome, run_isolated, run_isolated_async

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds after which something that hangs is given up, and a test with it.
FOREVER = 60


class Threads:
    """Calls are functions, and wait for threading's events."""

    name = "threads"
    event = threading.Event

    def call(self, before: Any = None, answer: Any = None) -> Callable[[], Any]:
        """Return a call that waits for an event, and then returns or raises."""

        def call() -> Any:
            assert before is None or before.wait(FOREVER)
            return outcome_of(answer)

        return call

    def run(self, calls: Any, **settings: Any) -> list[Outcome[Any]]:
        return run_isolated(calls, **settings)


class Tasks:
    """Calls are coroutine functions, and wait for asyncio's events."""

    name = "asyncio"
    event = asyncio.Event

    def call(self, before: Any = None, answer: Any = None) -> Callable[[], Any]:
        async def call() -> Any:
            if before is not None:
                await asyncio.wait_for(before.wait(), FOREVER)
            return outcome_of(answer)

        return call

    def run(self, calls: Any, **settings: Any) -> list[Outcome[Any]]:
        return asyncio.run(run_isolated_async(calls, **settings))


def outcome_of(answer: Any) -> Any:
    answer = answer() if callable(answer) else answer
    if isinstance(answer, BaseException):
        raise answer
    return answer


@pytest.fixture(params=[Threads(), Tasks()], ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


def values(outcomes: list[Outcome[Any]]) -> list[Any]:
    return [outcome.value for outcome in outcomes]


class Running:
    """Counts how many calls run at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.now = 0
        self.most = 0

    def enter(self) -> None:
        with self._lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def leave(self) -> None:
        with self._lock:
            self.now -= 1


class TestOutcomes:
    def test_one_for_each_call_in_order(self, colour: Any) -> None:
        error = ConnectionError()
        calls = [colour.call(answer=answer) for answer in (1, error, None, "x")]
        outcomes = colour.run(calls, limit=2)
        assert [(outcome.index, outcome.value, outcome.error) for outcome in outcomes] == [
            (0, 1, None),
            (1, None, error),
            (2, None, None),
            (3, "x", None),
        ]
        assert all(outcome.seconds >= 0 for outcome in outcomes)

    def test_order_is_that_of_the_calls_and_not_of_their_ends(self, colour: Any) -> None:
        last_has_ended = colour.event()
        calls = [colour.call(last_has_ended, 1), colour.call(None, 2), colour.call(None, 3)]
        told: list[int] = []

        def progress(outcome: Outcome[Any]) -> None:
            told.append(outcome.index)
            if outcome.index == 2:
                last_has_ended.set()

        assert values(colour.run(calls, limit=2, progress=progress)) == [1, 2, 3]
        assert told == [1, 2, 0]

    def test_no_calls(self, colour: Any) -> None:
        assert colour.run([], limit=5) == []

    def test_unwrapping(self) -> None:
        assert Outcome(0, 5).unwrap() == 5
        assert Outcome(0).unwrap() is None
        error = ConnectionError()
        with pytest.raises(ConnectionError) as caught:
            Outcome(0, None, error).unwrap()
        assert caught.value is error

    def test_how_long_each_ran(self, colour: Any) -> None:
        """Not how long it waited for its turn."""

        def rest() -> None:
            time.sleep(0.05)

        outcomes = colour.run([colour.call(answer=rest)] * 10, limit=1)
        assert all(outcome.seconds >= 0.05 for outcome in outcomes)
        assert min(outcome.seconds for outcome in outcomes) < 0.25


class TestIsolation:
    def test_one_that_fails_or_hangs_among_a_hundred(self, colour: Any) -> None:
        """The others end while the one still hangs, each as if it were alone; a time-out ends that."""
        others = colour.event()
        left = itertools.count(98, -1)

        def progress(outcome: Outcome[Any]) -> None:
            if outcome.index != 50 and next(left) == 0:
                others.set()

        error = TimeoutError()
        calls = [colour.call(answer=index) for index in range(100)]
        calls[50] = colour.call(others, error)
        outcomes = colour.run(calls, limit=10, progress=progress)
        assert values(outcomes) == [index if index != 50 else None for index in range(100)]
        assert outcomes[50].error is error

    def test_one_that_is_cancelled_among_a_hundred(self) -> None:
        """By its own task, by an inner one, or before it has begun."""

        async def cancel_itself() -> None:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(FOREVER)

        async def cancelled_inside() -> None:
            inner = asyncio.create_task(asyncio.sleep(FOREVER))
            asyncio.get_running_loop().call_soon(inner.cancel)
            await inner

        async def main() -> None:
            calls = [Tasks().call(answer=index) for index in range(100)]
            calls[10], calls[20] = cancel_itself, cancelled_inside
            outcomes = await run_isolated_async(calls, limit=7)
            assert [outcome.index for outcome in outcomes if outcome.error] == [10, 20]
            assert [type(outcomes[index].error) for index in (10, 20)] == [asyncio.CancelledError] * 2
            task = asyncio.current_task()
            assert task is not None
            assert task.cancelling() == 0

        asyncio.run(main())

    def test_one_whose_task_is_cancelled_before_it_begins(self) -> None:
        async def main() -> None:
            def calls() -> Iterator[Any]:
                yield Tasks().call(answer=1)
                yield Tasks().call(answer=2)
                (found,) = [task for task in asyncio.all_tasks() - known if "_run_async" in str(task)][:1]
                found.cancel()

            known = asyncio.all_tasks()
            outcomes = await run_isolated_async(calls(), limit=5)
            assert sorted(str(type(outcome.error)) for outcome in outcomes) == sorted(
                map(str, (type(None), asyncio.CancelledError))
            )

        asyncio.run(main())

    def test_no_call_sees_the_context_of_another(self, colour: Any) -> None:
        variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable", default=0)
        variable.set(5)

        def bump() -> int:
            variable.set(variable.get() + 1)
            return variable.get()

        assert values(colour.run([colour.call(answer=bump)] * 20, limit=2)) == [6] * 20
        assert variable.get() == 5

    def test_a_dead_backend_takes_no_time_of_the_others(self, colour: Any) -> None:
        """Its circuit opens, and then its calls cost next to nothing."""
        calls_of_dead = []
        dead, well = CircuitBreaker(fail_max=3), CircuitBreaker()

        def fail() -> None:
            calls_of_dead.append(True)
            raise ConnectionError

        def ask(breaker: CircuitBreaker, answer: Any) -> Any:
            return functools.partial(breaker.call, colour.call(answer=answer))

        calls = [ask(dead, fail) if index % 2 else ask(well, index) for index in range(100)]
        outcomes = colour.run(calls, limit=1)
        assert len(calls_of_dead) == 3
        assert [outcome.value for outcome in outcomes[::2]] == list(range(0, 100, 2))
        assert {type(outcome.error) for outcome in outcomes[7::2]} == {CircuitBreakerError}

    def test_a_backend_that_hangs_does_not_starve_another(self, colour: Any) -> None:
        """All of one's calls come first and hang: half of the places are the other's all the same."""
        well = colour.event()
        left = itertools.count(49, -1)
        calls = [("dead", colour.call(well))] * 50 + [("well", colour.call(answer=1))] * 50

        def progress(outcome: Outcome[Any]) -> None:
            if outcome.index >= 50 and next(left) == 0:
                well.set()

        def of(backend: str, call: Any) -> Any:
            return functools.partial(with_backend, call, backend=backend)

        def with_backend(call: Any, *, backend: str) -> Any:
            del backend
            return call()

        outcomes = colour.run(
            [of(*call) for call in calls],
            limit=4,
            progress=progress,
            backend_of=lambda call: call.keywords["backend"],
        )
        assert values(outcomes) == [None] * 50 + [1] * 50
        assert [outcome.error for outcome in outcomes] == [None] * 100


class TestBounds:
    @pytest.mark.parametrize("limit", [1, 3, 100])
    def test_no_more_than_so_many_at_once(self, colour: Any, limit: int) -> None:
        running = Running()
        full = colour.event()

        def of_threads() -> None:
            running.enter()
            if running.now == min(limit, 30):
                full.set()
            assert full.wait(FOREVER)
            running.leave()

        async def of_tasks() -> None:
            running.enter()
            if running.now == min(limit, 30):
                full.set()
            await asyncio.wait_for(full.wait(), FOREVER)
            running.leave()

        colour.run([of_threads if colour.name == "threads" else of_tasks] * 30, limit=limit)
        assert running.most == min(limit, 30)

    def test_calls_are_read_as_there_is_place(self, colour: Any) -> None:
        read = itertools.count()
        ended: list[int] = []
        ahead: list[int] = []

        def calls() -> Iterator[Any]:
            for index in range(1000):
                next(read)
                ahead.append(index - len(ended))
                yield colour.call(answer=index)

        outcomes = colour.run(calls(), limit=10, progress=lambda outcome: ended.append(outcome.index))
        assert values(outcomes) == list(range(1000))
        assert max(ahead) < 10

    def test_many_calls_take_the_memory_of_their_outcomes(self) -> None:
        async def call() -> None:
            return None

        async def main() -> int:
            tracemalloc.start()
            outcomes = await run_isolated_async((call for _ in range(20_000)), limit=10)
            assert len(outcomes) == 20_000
            current, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            return peak - current

        assert asyncio.run(main()) < 4_000_000


class TestCancelling:
    def test_cancelling_the_whole_cancels_all_and_waits_for_them(self) -> None:
        ended: list[int] = []

        async def call(index: int, begun: asyncio.Event) -> None:
            try:
                begun.set()
                await asyncio.sleep(FOREVER)
            finally:
                await asyncio.sleep(0.01)
                ended.append(index)

        async def main() -> None:
            begun = asyncio.Event()
            calls = (functools.partial(call, index, begun) for index in range(1000))
            task = asyncio.create_task(run_isolated_async(calls, limit=20))
            await begun.wait()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()  # who is impatient gets no more
            with pytest.raises(asyncio.CancelledError):
                await task
            assert sorted(ended) == list(range(20))
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(main())

    def test_a_time_out_around_the_whole(self) -> None:
        async def main() -> None:
            async with asyncio.timeout(0.05):
                await run_isolated_async([functools.partial(asyncio.sleep, FOREVER)] * 5, limit=2)

        with pytest.raises(TimeoutError):
            asyncio.run(main())

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
    def test_what_is_no_exception_ends_the_whole(self, colour: Any, error: type[BaseException]) -> None:
        begun: list[int] = []

        def calls() -> Iterator[Any]:
            for index in range(1000):
                begun.append(index)
                yield colour.call(answer=error() if index == 3 else None)

        with pytest.raises(error):
            colour.run(calls(), limit=2)
        assert len(begun) < 1000  # others may have ended while that one was about to

    def test_ctrl_c_while_threads_run(self) -> None:
        """Those that run are waited for, and no other begins."""
        ran: list[int] = []
        interrupted = threading.Event()

        def call(index: int) -> None:
            ran.append(index)
            if index == 1:
                os.kill(os.getpid(), signal.SIGINT)
            assert interrupted.wait(FOREVER)

        def handler(_signal: int, _frame: Any) -> None:
            interrupted.set()
            raise KeyboardInterrupt

        before = signal.signal(signal.SIGINT, handler)
        try:
            with pytest.raises(KeyboardInterrupt):
                run_isolated([functools.partial(call, index) for index in range(100)], limit=2)
        finally:
            signal.signal(signal.SIGINT, before)
        # The pool does not know a thread that it was about to start, and so has not waited for it.
        until(lambda: not any("isolation" in thread.name for thread in threading.enumerate()))
        assert sorted(ran) == [0, 1]

    def test_calls_that_break_off(self, colour: Any) -> None:
        """An error of the iterable is nobody's outcome; what it comes from is kept."""
        error, cause = ValueError(), KeyError()
        error.__cause__ = cause

        def calls() -> Iterator[Any]:
            yield colour.call()
            raise error

        with pytest.raises(ValueError) as caught:
            colour.run(calls(), limit=5)
        assert (caught.value, caught.value.__cause__) == (error, cause)


class TestProgress:
    def test_each_outcome_is_told_once_here(self, colour: Any) -> None:
        told: list[Any] = []
        outcomes = colour.run(
            [colour.call(answer=index) for index in range(50)],
            limit=7,
            progress=lambda outcome: told.append((outcome, threading.current_thread())),
        )
        assert sorted((outcome for outcome, _ in told), key=lambda outcome: outcome.index) == outcomes
        assert {thread for _, thread in told} == {threading.current_thread()}

    def test_one_that_fails_is_logged(self, colour: Any, caplog: pytest.LogCaptureFixture) -> None:
        def progress(_outcome: Any) -> None:
            raise RuntimeError("of the callback")

        assert values(colour.run([colour.call(answer=1)] * 2, limit=1, progress=progress)) == [1, 1]
        assert caplog.text.count("RuntimeError: of the callback") == 2


class TestArguments:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"limit": 0}, "limit must be at least 1, not 0"),
            ({"limit": None}, "limit must be a whole number of at least 1, not None"),
            ({"limit": 1, "progress": 5}, "progress must be callable or None, not 5"),
            ({"limit": 1, "backend_of": 5}, "backend_of must be callable or None, not 5"),
        ],
    )
    def test_bad_ones(self, colour: Any, settings: dict[str, Any], message: str) -> None:
        with pytest.raises((ValueError, TypeError)) as caught:
            colour.run([], **settings)
        assert str(caught.value) == message

    def test_what_is_no_call(self, colour: Any) -> None:
        async def coroutine_function() -> None: ...

        for call in (5, coroutine_function()):
            with pytest.raises(TypeError, match="calls must hold functions without arguments only, not "):
                colour.run([call], limit=1)

    def test_coroutines_in_threads(self) -> None:
        async def coroutine_function() -> None: ...

        with pytest.raises(TypeError, match="use run_isolated_async"):
            run_isolated([coroutine_function], limit=1)
        (outcome,) = run_isolated([lambda: coroutine_function()], limit=1)
        assert "use run_isolated_async" in str(outcome.error)


def test_outcomes_keep_no_circles() -> None:
    class Prompt:
        pass

    kept: list[weakref.ref[Prompt]] = []

    def call() -> None:
        prompt = Prompt()
        kept.append(weakref.ref(prompt))
        raise ConnectionError

    async def call_async() -> None:
        call()

    def look(outcomes: list[Any]) -> None:
        for outcome in outcomes:
            with pytest.raises(ConnectionError):
                outcome.unwrap()
        del outcomes, outcome

    async def main() -> None:  # what it returned would be kept by `asyncio.run`, from Python 3.12 on
        look(await run_isolated_async([call_async] * 2, limit=1))

    gc.collect()
    gc.disable()
    try:
        look(run_isolated([call] * 2, limit=1))
        asyncio.run(main())
        assert [ref() for ref in kept] == [None] * 4
    finally:
        gc.enable()
