"""The local view: what a breaker decides without its store, and that this is never older than it may be."""

from __future__ import annotations

import asyncio
import gc
import math
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_forks import in_child

import pybreaker_ext
from pybreaker_ext import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitMemoryStorage,
    CircuitRedisStorage,
    CircuitSQLiteStorage,
)
from pybreaker_ext.storage import view as views
from pybreaker_ext.storage.view import LocalView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from servers import RedisServer

    from pybreaker_ext.machine import Decision, Event, Policy

#: Seconds; a sum of halves, which floats hold exactly.
STALENESS = 0.125


class Clock:
    """Seconds, by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Store:
    """A circuit that several breakers share, on a clock of its own; it writes down what it was asked."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self.circuit = CircuitMemoryStorage(clock=clock)
        self.asked: list[str] = []
        #: Runs when the decision is made, and has not yet arrived.
        self.on_the_way: Callable[[Decision], None] = lambda decision: None

    def apply(self, event: Event, policy: Policy) -> Decision:
        self.asked.append(event.kind)
        decision = self.circuit.apply(event, policy)
        self.on_the_way(decision)
        return decision

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        await asyncio.sleep(0)
        return self.apply(event, policy)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(views, "clock", clock)
    return clock


@pytest.fixture
def store(clock: Clock) -> Store:
    return Store(clock)


def breaker_on(store: Any, **settings: Any) -> CircuitBreaker:
    settings.setdefault("max_staleness", STALENESS)
    return CircuitBreaker(state_storage=store, **settings)


def fail() -> None:
    raise ZeroDivisionError


def outcome(breaker: CircuitBreaker, function: Callable[[], Any]) -> str:
    """Through the decorator, whose path is the shortest."""
    try:
        breaker(function)()
    except CircuitBreakerError as error:
        return "tripped" if error.__cause__ else "rejected"
    except ZeroDivisionError:
        return "failed"
    return "ok"


def outcome_async(breaker: CircuitBreaker, function: Callable[[], Any]) -> str:
    @breaker
    async def protected() -> Any:
        return function()

    async def main() -> str:
        try:
            await protected()
        except CircuitBreakerError as error:
            return "tripped" if error.__cause__ else "rejected"
        except ZeroDivisionError:
            return "failed"
        return "ok"

    return asyncio.run(main())


Outcome = "Callable[[CircuitBreaker, Callable[[], Any]], str]"
both_colours = pytest.mark.parametrize("call", [outcome, outcome_async], ids=["threads", "asyncio"])


@both_colours
class TestWhatNeedsNoStore:
    def test_a_success_while_all_is_well(self, call: Outcome, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)
        assert [call(breaker, int) for _ in range(5)] == ["ok"] * 5
        assert store.asked == ["ask"]
        clock.now += STALENESS
        assert [call(breaker, int) for _ in range(5)] == ["ok"] * 5
        assert store.asked == ["ask", "ask"]

    def test_a_rejection_while_the_open_time_lasts(self, call: Outcome, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store, fail_max=1, reset_timeout=60)
        assert [call(breaker, f) for f in (fail, int, int)] == ["tripped", "rejected", "rejected"]
        assert store.asked == ["ask", "failure"]
        clock.now += STALENESS
        assert [call(breaker, int) for _ in range(2)] == ["rejected"] * 2
        assert store.asked == ["ask", "failure", "ask"]

    def test_an_open_time_that_ends_first_ends_the_view(self, call: Outcome, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store, fail_max=1, reset_timeout=0.05)
        assert [call(breaker, f) for f in (fail, int)] == ["tripped", "rejected"]
        clock.now += 0.05
        assert call(breaker, int) == "ok"
        assert store.asked == ["ask", "failure", "ask", "success"]

    def test_an_ask_while_failures_are_counted(self, call: Outcome, store: Store) -> None:
        breaker = breaker_on(store)
        assert [call(breaker, f) for f in (fail, fail, int, int)] == ["failed", "failed", "ok", "ok"]
        assert store.asked == ["ask", "failure", "failure", "success"]
        assert store.circuit.counter == 0

    def test_a_neutral_end(self, call: Outcome, store: Store) -> None:
        breaker = breaker_on(store, ignore=[ZeroDivisionError])
        assert [call(breaker, fail) for _ in range(3)] == ["failed"] * 3
        assert store.asked == ["ask"]


@both_colours
class TestWhatAlwaysAsks:
    def test_everything_when_it_must_not_be_stale(self, call: Outcome, store: Store) -> None:
        breaker = breaker_on(store, max_staleness=0.0)
        assert [call(breaker, int) for _ in range(3)] == ["ok"] * 3
        assert store.asked == ["ask", "success"] * 3

    def test_probes(self, call: Outcome, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store, fail_max=1, reset_timeout=1, success_threshold=3)
        call(breaker, fail)
        clock.now += 1
        store.asked.clear()
        assert [call(breaker, int) for _ in range(3)] == ["ok"] * 3
        assert store.asked == ["ask", "success"] * 3

    def test_a_success_that_ends_when_the_view_is_old(self, call: Outcome, store: Store, clock: Clock) -> None:
        def slow() -> None:
            clock.now += STALENESS

        breaker = breaker_on(store)
        assert [call(breaker, slow), call(breaker, int)] == ["ok", "ok"]
        assert store.asked == ["ask", "success"]


@both_colours
class TestNews:
    def test_ones_own_is_never_stale(self, call: Outcome, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store, fail_max=1, reset_timeout=60)
        seen = [call(breaker, f) for f in (int, fail, int)]
        breaker.close()
        seen += [call(breaker, int)]
        breaker.open()
        seen += [call(breaker, int)]
        breaker.reset()
        seen += [call(breaker, int)]
        assert seen == ["ok", "tripped", "rejected", "ok", "rejected", "ok"]
        assert clock.now == 1000

    def test_anothers_is_stale_for_so_long_at_most(self, call: Outcome, store: Store, clock: Clock) -> None:
        breaker, other = breaker_on(store, reset_timeout=60), breaker_on(store)
        call(breaker, int)
        other.open()
        clock.now += STALENESS / 2
        assert call(breaker, int) == "ok"
        clock.now += STALENESS / 2
        assert call(breaker, int) == "rejected"

    def test_what_was_read_is_news(self, call: Outcome, store: Store) -> None:
        breaker, other = breaker_on(store, reset_timeout=60), breaker_on(store)
        call(breaker, int)
        other.open()
        assert breaker.current_state == "open"
        assert call(breaker, int) == "rejected"

    def test_age_counts_from_when_the_question_was_sent(self, call: Outcome, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)

        def slowly(_: Decision) -> None:
            clock.now += STALENESS / 2

        store.on_the_way = slowly
        call(breaker, int)
        store.on_the_way = lambda decision: None
        store.asked.clear()
        clock.now += STALENESS / 4
        call(breaker, int)
        assert store.asked == []
        clock.now += STALENESS / 4
        call(breaker, int)
        assert store.asked == ["ask"]

    def test_a_late_answer_does_not_replace_a_newer_one(self, call: Outcome, store: Store, clock: Clock) -> None:
        """While an ask's answer is on the way, a failure of the same worker opens the circuit."""
        breaker = breaker_on(store, fail_max=1, reset_timeout=60)

        def overtaken(_: Decision) -> None:
            store.on_the_way = lambda decision: None
            clock.now += 0.01
            assert outcome(breaker, fail) == "tripped"

        store.on_the_way = overtaken
        assert call(breaker, int) == "ok"
        assert call(breaker, int) == "rejected"

    def test_a_store_whose_clock_was_set_back_is_believed(self, call: Outcome, clock: Clock) -> None:
        theirs = Clock()
        store = Store(theirs)
        breaker, other = breaker_on(store, reset_timeout=60), breaker_on(store)
        call(breaker, int)
        theirs.now -= 900
        other.open()
        clock.now += STALENESS
        assert call(breaker, int) == "rejected"
        store.asked.clear()
        assert [call(breaker, int) for _ in range(3)] == ["rejected"] * 3
        assert store.asked == []

    def test_a_lost_answer_leaves_nothing_to_rely_on(self, call: Outcome, store: Store) -> None:
        """Ctrl-C while the failure's report is under way: it has opened the circuit."""
        breaker = breaker_on(store, fail_max=1, reset_timeout=60)
        call(breaker, int)

        def interrupted(_: Decision) -> None:
            store.on_the_way = lambda decision: None
            raise KeyboardInterrupt

        store.on_the_way = interrupted
        with pytest.raises(KeyboardInterrupt):
            outcome(breaker, fail)
        assert call(breaker, int) == "rejected"


def test_a_rejection_by_the_view_says_when_to_come_back(store: Store, clock: Clock) -> None:
    breaker = breaker_on(store, fail_max=1, reset_timeout=60, name="claude")
    outcome(breaker, fail)
    clock.now += 0.05
    with pytest.raises(CircuitBreakerError) as caught:
        breaker.call(int)
    error = caught.value
    assert (error.breaker_name, error.state, error.reason) == ("claude", "open", "failures")
    assert error.retry_after == pytest.approx(59.95)


def test_open_until_closed_by_hand(store: Store) -> None:
    breaker = breaker_on(store)
    breaker.open(math.inf)
    with pytest.raises(CircuitBreakerError) as caught:
        breaker.call(int)
    assert caught.value.retry_after == math.inf


class TestListeners:
    def test_hear_of_every_call(self, store: Store, clock: Clock) -> None:
        told: list[Any] = []

        class Listener(pybreaker_ext.CircuitBreakerListener):
            def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
                told.append("before")

            def success(self, cb: Any) -> None:
                told.append("success")

            def failure(self, cb: Any, exc: BaseException) -> None:
                told.append("failure")

            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                told.append(f"{old_state.name} to {new_state.name}")

            def rejected(self, cb: Any, error: Any) -> None:
                told.append("rejected")

        breaker = breaker_on(store, fail_max=1, reset_timeout=60, listeners=[Listener()])
        for function in (int, int, fail, int, int):
            outcome(breaker, function)
        quiet = ["before", "success"]
        trip = ["before", "failure", "closed to open"]
        assert told == [*quiet, *quiet, *trip, "rejected", "rejected"]
        assert store.asked == ["ask", "failure"]

    def test_one_that_comes_later_hears_of_the_next_call(self, store: Store) -> None:
        told: list[str] = []

        class Listener:
            def success(self, cb: Any) -> None:
                told.append("success")

        breaker = breaker_on(store)
        protected = breaker(int)
        protected()
        listener = Listener()
        breaker.add_listener(listener)
        protected()
        breaker.remove_listener(listener)
        protected()
        assert told == ["success"]

    def test_hear_of_a_change_before_of_what_it_does(self, store: Store) -> None:
        """Whoever uses a view first tells its change, also when another thread's hook is still to run."""
        told: list[str] = []

        class Listener:
            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                told.append(new_state.name)

            def rejected(self, cb: Any, error: Any) -> None:
                told.append("rejected")

        breaker = breaker_on(store, listeners=[Listener()])
        breaker.call(int)
        decision = store.apply(pybreaker_ext.machine.Event("open", duration=60_000), breaker._policy)
        breaker._local.install(decision, breaker._local.clock())
        assert outcome(breaker, int) == "rejected"
        assert told == ["open", "rejected"]


@both_colours
def test_a_store_that_was_busy_once_is_asked_again_at_once(call: Outcome, clock: Clock) -> None:
    """What a process decides by itself, although the store is there, is good for one call."""
    from pybreaker_ext.errors import StoreBusyError
    from pybreaker_ext.storage.outage import Outage, StandIn

    class BusyStore(Store):
        def __init__(self) -> None:
            super().__init__(clock)
            self.stand_in = StandIn(Outage("the store"), "closed")
            self.busy = 1

        def apply(self, event: Event, policy: Policy) -> Decision:
            return self.stand_in.apply(self.attempt, event, policy)

        def attempt(self, event: Event, policy: Policy) -> Decision:
            if self.busy:
                self.busy -= 1
                raise StoreBusyError
            return super().apply(event, policy)

    store = BusyStore()
    store.circuit.apply(pybreaker_ext.machine.Event("open", duration=60_000), pybreaker_ext.machine.Policy())
    breaker = breaker_on(store)
    assert [call(breaker, int) for _ in range(3)] == ["ok", "rejected", "rejected"]


class TestMemory:
    def test_an_exception_out_of_the_blue_does_not_part_record_and_view(self) -> None:
        """Raised at each line in turn of what a trip runs through."""
        for line in range(1, 400):
            storage = CircuitMemoryStorage()
            breaker = breaker_on(storage, fail_max=1, reset_timeout=60)
            outcome(breaker, int)
            left = line

            def trace(frame: Any, event: str, _: Any) -> Any:
                nonlocal left
                if "/pybreaker_ext/storage/" in frame.f_code.co_filename:
                    left -= 1
                    if left == 0:
                        raise InterruptedError
                return trace

            before = sys.gettrace()
            sys.settrace(trace)
            try:
                breaker._apply(pybreaker_ext.machine.Event("open", duration=60_000))
            except InterruptedError:
                pass
            finally:
                sys.settrace(before)
            state = breaker.current_state
            assert outcome(breaker, int) == ("ok" if state == "closed" else "rejected"), line
            if left > 0:
                break
        assert left > 0, "every line had its turn"

    """A circuit in memory is never stale, on whatever clock it runs."""

    @both_colours
    def test_two_breakers_see_each_others_changes_at_once(self, call: Outcome) -> None:
        storage = CircuitMemoryStorage()
        first, second = breaker_on(storage), breaker_on(storage)
        assert [call(first, int), call(second, int)] == ["ok", "ok"]
        first.open()
        assert call(second, int) == "rejected"
        storage.state = "closed"
        assert [call(first, int), call(second, int)] == ["ok", "ok"]
        second.reset()
        assert call(first, int) == "ok"

    @both_colours
    def test_time_is_the_storages(self, call: Outcome) -> None:
        clock = Clock()
        breaker = breaker_on(CircuitMemoryStorage(clock=clock), fail_max=1, reset_timeout=60)
        assert [call(breaker, f) for f in (fail, int)] == ["tripped", "rejected"]
        assert breaker.retry_after == 60
        clock.now += 60
        assert [call(breaker, f) for f in (int, int)] == ["ok", "ok"]

    def test_a_clock_that_is_set_back(self) -> None:
        clock = Clock()
        breaker = breaker_on(CircuitMemoryStorage(clock=clock), fail_max=1, reset_timeout=60)
        outcome(breaker, fail)
        clock.now -= 10
        with pytest.raises(CircuitBreakerError) as caught:
            breaker.call(int)
        assert caught.value.retry_after == 70

    def test_a_subclass_is_asked(self) -> None:
        asked: list[str] = []

        class Logging(CircuitMemoryStorage):
            def apply(self, event: Event, policy: Policy) -> Decision:
                asked.append(event.kind)
                return super().apply(event, policy)

        breaker = breaker_on(Logging(), max_staleness=0.0)
        outcome(breaker, int)
        assert asked == ["read", "ask", "success"]


def waiting_in_the_view(threads: list[threading.Thread]) -> int:
    """Return how many threads stand in the view's own code, where there is nothing but a lock to wait for."""
    frames = sys._current_frames()
    standing = [frames[thread.ident] for thread in threads if thread.ident in frames]
    return sum(frame.f_code is LocalView.joined.__code__ for frame in standing)


class TestJoining:
    def test_threads_whose_view_is_too_old_wait_for_one(self, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)
        outcome(breaker, int)
        clock.now += STALENESS
        store.asked.clear()
        arrived, go_on = threading.Semaphore(0), threading.Event()

        def held_up(_: Decision) -> None:
            arrived.release()
            assert go_on.wait(30)

        store.on_the_way = held_up
        outcomes: list[str] = []
        threads = [threading.Thread(target=lambda: outcomes.append(outcome(breaker, int))) for _ in range(50)]
        for thread in threads:
            thread.start()
        assert arrived.acquire(timeout=30)
        go_on.set()
        for thread in threads:
            thread.join()
        assert (outcomes, store.asked) == (["ok"] * 50, ["ask"])

    def test_tasks_whose_view_is_too_old_wait_for_one(self, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)

        @breaker
        async def call() -> str:
            await asyncio.sleep(0)
            return "ok"

        async def main() -> None:
            for _ in range(3):
                assert await asyncio.gather(*(call() for _ in range(200))) == ["ok"] * 200
                clock.now += STALENESS

        asyncio.run(main())
        assert store.asked == ["ask"] * 3

    def test_successes_that_end_when_the_view_is_old_wait_for_one(self, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)

        async def main() -> None:
            all_inside, go_on = asyncio.Barrier(201), asyncio.Event()

            @breaker
            async def call() -> None:
                await all_inside.wait()
                await go_on.wait()

            calls = [asyncio.create_task(call()) for _ in range(200)]
            await all_inside.wait()
            clock.now += STALENESS
            go_on.set()
            await asyncio.gather(*calls)

        asyncio.run(main())
        assert store.asked == ["ask", "success"]

    def test_one_that_is_cancelled_keeps_nobody_waiting(self, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)

        @breaker
        async def call() -> str:
            return "ok"

        async def main() -> None:
            tasks = [asyncio.create_task(call()) for _ in range(5)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
            assert [type(result).__name__ for result in results] == ["CancelledError", *["str"] * 4]

        asyncio.run(main())

    def test_half_open_callers_do_not_wait_for_each_other(self, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store, half_open_max_calls=2)
        breaker.half_open()
        both = threading.Barrier(2)

        def meet(_: Decision) -> None:
            both.wait(30)

        store.on_the_way = meet
        outcomes: list[str] = []
        threads = [threading.Thread(target=lambda: outcomes.append(outcome(breaker, int))) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert outcomes == ["ok", "ok"]

    def test_one_that_is_cancelled_sends_nobody_off_at_once(self, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)

        @breaker
        async def call() -> str:
            return "ok"

        async def main() -> None:
            tasks = [asyncio.create_task(call()) for _ in range(200)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

        asyncio.run(main())
        assert len(store.asked) <= 2

    def test_an_answer_that_takes_longer_than_it_is_fresh_is_good_for_all_who_had_come(
        self, store: Store, clock: Clock
    ) -> None:
        breaker = breaker_on(store)
        arrived, answers = threading.Semaphore(0), threading.Semaphore(0)

        def slow(_: Decision) -> None:
            arrived.release()
            assert answers.acquire(timeout=30)
            clock.now += 2 * STALENESS

        store.on_the_way = slow
        outcomes: list[str] = []
        threads = [threading.Thread(target=lambda: outcomes.append(outcome(breaker, int))) for _ in range(20)]
        for thread in threads:
            thread.start()
        assert arrived.acquire(timeout=30)
        while waiting_in_the_view(threads) < len(threads) - 1:
            time.sleep(0.001)
        for _ in range(100):
            answers.release()
        for thread in threads:
            thread.join()
        assert outcomes == ["ok"] * 20
        # The successes come when the threads go on, one after the other, and find an older answer each.
        assert store.asked.count("ask") == 1

    def test_a_call_within_the_store_does_not_wait_for_itself(self, store: Store, clock: Clock) -> None:
        """A finalizer that runs in the middle of a refresh."""
        breaker = breaker_on(store)

        def finalizer(_: Decision) -> None:
            store.on_the_way = lambda decision: None
            assert outcome(breaker, int) == "ok"

        store.on_the_way = finalizer
        assert outcome(breaker, int) == "ok"

    def test_loops_one_after_the_other_leave_nothing(self, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)
        for _ in range(20):
            assert outcome_async(breaker, int) == "ok"
            clock.now += STALENESS
        gc.collect()
        assert len(breaker._local._joining_async) <= 1

    def test_nor_do_loops_whose_tasks_had_to_wait(self, store: Store, clock: Clock) -> None:
        breaker = breaker_on(store)

        @breaker
        async def call() -> None: ...

        async def main() -> None:
            await asyncio.gather(*(call() for _ in range(5)))

        for _ in range(20):
            asyncio.run(main())
            clock.now += STALENESS
        assert len(breaker._local._joining_async) <= 1

    def test_a_hook_waits_for_nobody(self, store: Store, clock: Clock) -> None:
        """It holds the hooks' turn, for which the one it would wait for may be waiting."""
        done = threading.Event()

        class Listener:
            def success(self, cb: Any) -> None:
                cb.remove_listener(self)
                clock.now += STALENESS
                refreshing, go_on = threading.Event(), threading.Event()

                def hold() -> None:
                    with cb._local._joining:
                        refreshing.set()
                        assert go_on.wait(30)

                thread = threading.Thread(target=hold)
                thread.start()
                assert refreshing.wait(30)
                assert outcome(cb, int) == "ok"
                go_on.set()
                thread.join()
                done.set()

        breaker = breaker_on(store, listeners=[Listener()])
        assert outcome(breaker, int) == "ok"
        assert done.is_set()


class TestRealStores:
    @pytest.fixture(params=["sqlite", "redis"])
    def storage(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Any]]:
        if request.param == "sqlite":
            yield lambda: CircuitSQLiteStorage(tmp_path / "circuits.db", "claude")
        else:
            with request.getfixturevalue("redis_server").client() as client:
                yield lambda: CircuitRedisStorage("closed", client, "claude")

    @both_colours
    def test_news_of_another_arrives(self, call: Outcome, storage: Callable[[], Any], clock: Clock) -> None:
        breaker, other = breaker_on(storage(), reset_timeout=60), breaker_on(storage(), fail_max=1)
        assert [call(breaker, int), call(other, fail)] == ["ok", "tripped"]
        assert call(breaker, int) == "ok"
        clock.now += STALENESS
        assert call(breaker, int) == "rejected"

    @pytest.mark.skipif(not hasattr(pybreaker_ext.forks.os, "fork"), reason="there is no fork")
    def test_a_child_has_a_view_of_its_own(self, storage: Callable[[], Any], clock: Clock) -> None:
        breaker = breaker_on(storage(), fail_max=1, reset_timeout=60)
        assert outcome(breaker, int) == "ok"
        held, let_go = threading.Event(), threading.Event()

        def hold() -> None:
            with breaker._local._joining:
                held.set()
                assert let_go.wait(30)

        thread = threading.Thread(target=hold)
        thread.start()
        assert held.wait(30)
        clock.now += STALENESS
        try:  # the child must not wait for the thread's lock, which nobody there lets go of
            assert in_child(lambda: [outcome(breaker, f) for f in (int, fail, int)]) == ["ok", "tripped", "rejected"]
        finally:
            let_go.set()
            thread.join()
        assert outcome(breaker, int) == "rejected"

    def test_a_million_calls_in_no_time_cost_two_commands(self, redis_server: RedisServer, clock: Clock) -> None:
        with redis_server.client() as client:
            breaker = breaker_on(CircuitRedisStorage("closed", client, "claude"))
            call = breaker(int)
            client.config_resetstat()
            for _ in range(1_000):
                call()
            commands = client.info("commandstats")
            assert sum(commands[name]["calls"] for name in commands if "eval" in name) <= 2  # NOSCRIPT, then EVAL


SECONDS = st.sampled_from([0.0, 0.03125, 0.0625, 0.125, 0.5, 1.0, 2.0])
STEPS = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(["ok", "fail", "open", "close", "reset"]), SECONDS))


@given(steps=STEPS, fail_max=st.integers(1, 3), threshold=st.integers(1, 2))
def test_each_verdict_was_the_stores_a_moment_ago(
    steps: list[tuple[int, str, float]], fail_max: int, threshold: int
) -> None:
    """Three workers: whatever one is told without the store, the store would have said since `max_staleness`."""
    clock = Clock()
    original, views.clock = views.clock, clock
    try:
        store = Store(clock)
        settings = {"fail_max": fail_max, "success_threshold": threshold, "reset_timeout": 1}
        workers = [breaker_on(store, **settings) for _ in range(3)]
        #: The circuit as it was from each moment on.
        history: list[tuple[float, Any]] = [(-math.inf, None)]

        def verdicts_since(moment: float) -> set[str]:
            began = [index for index, (since, _) in enumerate(history) if since <= moment][-1]
            return {_verdict(record, max(since, moment)) for since, record in history[began:]}

        for worker, what, pause in steps:
            store.asked.clear()
            if what in ("ok", "fail"):
                seen = outcome(workers[worker], int if what == "ok" else fail)
                verdict = "rejected" if seen == "rejected" else "admitted"
                if "ask" not in store.asked:
                    assert verdict in verdicts_since(clock.now - STALENESS)
                if what == "fail" and verdict == "admitted":
                    assert "failure" in store.asked  # none is lost
            else:
                getattr(workers[worker], what)()
            history.append((clock.now, store.circuit._record))
            clock.now += pause
    finally:
        views.clock = original


def _verdict(record: Any, now: float) -> str:
    """Return what an ask would have got; in half-open nobody may decide that without the store."""
    if record is None or record.state == "closed":
        return "admitted"
    if record.state == "open" and now * 1000 < record.open_until:
        return "rejected"
    return "ask"
