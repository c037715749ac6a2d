"""Section 9: which hook is told what, when, in what order, and what a bad hook can't do."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import math
import threading
from typing import Any
from unittest.mock import Mock

import pybreaker
import pytest

import pybreaker_ext
from pybreaker_ext import CircuitBreaker, CircuitBreakerError, CircuitMemoryStorage
from pybreaker_ext.testing import Clock


class BackendError(Exception):
    pass


def fail() -> None:
    raise BackendError


class Log(pybreaker_ext.CircuitBreakerListener):
    """Has every hook."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        self.told.append(("before_call", func.__name__))

    def success(self, cb: Any) -> None:
        self.told.append("success")

    def failure(self, cb: Any, exc: BaseException) -> None:
        self.told.append(("failure", type(exc).__name__))

    def neutral(self, cb: Any, exc: BaseException) -> None:
        self.told.append(("neutral", type(exc).__name__))

    def rejected(self, cb: Any, error: CircuitBreakerError) -> None:
        self.told.append(("rejected", error.state, error.reason))

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        self.told.append((old_state.name, new_state.name))


@pytest.fixture
def log() -> Log:
    return Log()


def attempt(breaker: CircuitBreaker, function: Any) -> None:
    with contextlib.suppress(BackendError, CircuitBreakerError, KeyboardInterrupt):
        breaker.call(function)


def test_a_trip_a_rejection_a_probe_and_a_close(log: Log) -> None:
    breaker = CircuitBreaker(fail_max=1, reset_timeout=60, listeners=[log])
    for function in (fail, int):
        attempt(breaker, function)
    breaker.open(0)
    attempt(breaker, int)
    assert log.told == [
        ("before_call", "fail"),
        ("failure", "BackendError"),
        ("closed", "open"),
        ("rejected", "open", "failures"),
        ("open", "half-open"),
        ("before_call", "int"),
        ("half-open", "closed"),
        "success",
    ]


def test_neutral(log: Log) -> None:
    breaker = CircuitBreaker(ignore=[BackendError], listeners=[log])
    attempt(breaker, fail)
    breaker.half_open()
    attempt(breaker, fail)
    assert log.told == [
        ("before_call", "fail"),
        ("neutral", "BackendError"),
        ("closed", "half-open"),
        ("before_call", "fail"),
        ("neutral", "BackendError"),
    ]


def test_a_hold_is_neutral_then_a_change(log: Log) -> None:
    breaker = CircuitBreaker(hold_for=lambda _: 5, listeners=[log])

    def held_twice() -> None:
        """The inner call opens; the outer one's hold lengthens it, which is no change."""
        attempt(breaker, fail)
        fail()

    attempt(breaker, held_twice)
    assert log.told == [
        ("before_call", "held_twice"),
        ("before_call", "fail"),
        ("neutral", "BackendError"),
        ("closed", "open"),
        ("neutral", "BackendError"),
    ]


def test_an_excluded_error_is_a_success(log: Log) -> None:
    attempt(CircuitBreaker(exclude=[BackendError], listeners=[log]), fail)
    assert log.told == [("before_call", "fail"), "success"]


def test_old_listeners_without_the_optional_hooks() -> None:
    class Old:
        def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None: ...

    breaker = CircuitBreaker(fail_max=1, listeners=[Old()], ignore=[KeyError])
    for function in (int, fail, int, {}.popitem):
        attempt(breaker, function)


def test_blocks_and_generators_are_told_of_too(log: Log) -> None:
    breaker = CircuitBreaker(listeners=[log])
    with breaker.calling():
        pass
    list(breaker.call(lambda: (number for number in range(2))))

    @breaker
    def numbers() -> Any:
        yield 1

    list(numbers())
    assert log.told == [
        ("before_call", "calling"),
        "success",
        ("before_call", "<lambda>"),
        "success",
        ("before_call", "numbers"),
        "success",
    ]


def test_two_that_are_added_at_once_are_both_told(log: Log) -> None:
    class First:
        """While the breaker looks for its hooks, another thread adds a listener."""

        @property
        def before_call(self) -> None:
            if not others:
                others.append(threading.Thread(target=breaker.add_listener, args=(log,)))
                others[0].start()
                others[0].join(0.2)

    others: list[threading.Thread] = []
    breaker = CircuitBreaker()
    breaker.add_listener(First())
    others[0].join()
    breaker(int)()
    assert log.told == [("before_call", "int"), "success"]


def test_one_that_is_added_while_another_says_how_long_it_is_deaf_is_told(log: Log) -> None:
    class Deaf(pybreaker_ext.CircuitBreakerListener):
        def success(self, cb: Any) -> None:
            pass

        def success_ignored_for(self, cb: Any) -> float:
            """Return an hour; meanwhile, another thread may add a listener."""
            adding = threading.Thread(target=cb.add_listener, args=(log,))
            adding.start()
            adding.join()
            return 3600

    breaker = CircuitBreaker(listeners=[Deaf()])
    for _ in range(2):
        breaker.call(int)
    assert log.told == [("before_call", "int"), "success"]


def test_each_object_is_told_once_of_what_others_did(log: Log) -> None:
    storage = CircuitMemoryStorage()
    other = CircuitBreaker(state_storage=storage)
    breaker = CircuitBreaker(state_storage=storage, listeners=[log])
    other.open()
    assert log.told == []
    for _ in range(3):
        assert breaker.state.name == "open"
        attempt(breaker, int)
    assert log.told == [("closed", "open"), *[("rejected", "open", "manual")] * 3]


def test_what_was_and_is_again_is_no_change(log: Log) -> None:
    storage = CircuitMemoryStorage()
    other = CircuitBreaker(state_storage=storage)
    breaker = CircuitBreaker(state_storage=storage, listeners=[log])
    other.open()
    other.close()
    assert breaker.state.name == "closed"
    assert log.told == []


def test_one_decision_can_tell_two_changes(log: Log) -> None:
    storage = CircuitMemoryStorage()
    breaker = CircuitBreaker(state_storage=storage, listeners=[log])
    CircuitBreaker(state_storage=storage).open(0)
    breaker.call(int)
    assert log.told[:2] == [("closed", "open"), ("open", "half-open")]


def test_what_foreign_writers_did_is_told_each_time(log: Log, redis_server: Any) -> None:
    """A read shows a foreign write without storing it; the next one may get the same generation."""
    with redis_server.client() as client:
        storage = pybreaker_ext.CircuitRedisStorage("closed", client, "n")
        breaker = CircuitBreaker(state_storage=storage, listeners=[log])
        breaker.call(int)
        log.told.clear()
        for state in ("open", "closed", "half-open", "closed", "open", "closed"):
            client.set("n:pybreaker:state", state)
            for _ in range(2):
                assert breaker.state.name == state
        changes = list(log.told)
        assert [new for _, new in changes] == ["open", "closed", "half-open", "closed", "open", "closed"]
        client.set("n:pybreaker:state", "half-open")
        assert breaker.state.name == "half-open"
        breaker.call(int)
        assert log.told[len(changes) :] == [
            ("closed", "half-open"),
            ("before_call", "int"),
            ("half-open", "closed"),
            "success",
        ]


def test_reading_current_state_tells_nothing(log: Log) -> None:
    storage = CircuitMemoryStorage()
    breaker = CircuitBreaker(state_storage=storage, listeners=[log])
    CircuitBreaker(state_storage=storage).open()
    assert (breaker.current_state, breaker.fail_counter, breaker.snapshot().state) == ("open", 0, "open")
    assert log.told == []


def test_changes_made_in_hooks_reach_every_listener_in_order() -> None:
    told: list[Any] = []

    class Named(pybreaker_ext.CircuitBreakerListener):
        def __init__(self, name: str, reaction: Any = None) -> None:
            self.name, self.reaction = name, reaction

        def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
            told.append((self.name, new_state.name))
            if self.reaction and new_state.name == "open":
                self.reaction(cb)

    breaker = CircuitBreaker(listeners=[Named("a", lambda cb: cb.half_open()), Named("b")])
    breaker.open()
    assert told == [("a", "open"), ("b", "open"), ("a", "half-open"), ("b", "half-open")]


def test_hooks_may_read_and_call(log: Log) -> None:
    class Nosy(pybreaker_ext.CircuitBreakerListener):
        calls = 0

        def success(self, cb: Any) -> None:
            self.calls += 1
            assert cb.state.name == "closed"
            if self.calls < 3:
                cb.call(int)

    breaker = CircuitBreaker(listeners=[Nosy(), log])
    breaker.call(int)
    assert log.told.count("success") == 3


def test_a_bad_hook_is_logged_and_harms_neither_call_nor_circuit_nor_other_hooks(
    log: Log, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad:
        def __getattr__(self, name: str) -> Any:
            def hook(*args: Any, **kwargs: Any) -> None:
                raise RuntimeError(f"bad {name}")

            return hook

    breaker = CircuitBreaker(fail_max=1, listeners=[Bad(), log])
    assert breaker.call(lambda: 5) == 5
    attempt(breaker, fail)
    attempt(breaker, int)
    assert log.told == [
        ("before_call", "<lambda>"),
        "success",
        ("before_call", "fail"),
        ("failure", "BackendError"),
        ("closed", "open"),
        ("rejected", "open", "failures"),
    ]
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.message for record in errors] == [
        f"The {name} hook of Bad failed"
        for name in ("before_call", "success", "before_call", "failure", "state_change", "rejected")
    ]
    assert all(record.exc_info for record in errors)


@pytest.mark.parametrize("hook", ["before_call", "success", "state_change"])
def test_a_stop_in_a_hook_stops_the_call_and_wedges_nothing(hook: str) -> None:
    class Stopping(pybreaker_ext.CircuitBreakerListener):
        def __init__(self) -> None:
            setattr(self, hook, self.stop)

        def stop(self, *args: Any) -> None:
            raise KeyboardInterrupt

    storage = CircuitMemoryStorage()
    breaker = CircuitBreaker(success_threshold=9, state_storage=storage, listeners=[Stopping()])
    CircuitBreaker(state_storage=storage).half_open()
    with pytest.raises(KeyboardInterrupt):
        breaker.call(int)
    assert breaker.snapshot().probes == 0


def test_hooks_of_one_breaker_never_run_at_the_same_time() -> None:
    class Meeting(pybreaker_ext.CircuitBreakerListener):
        inside = most = 0

        def success(self, cb: Any) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            for _ in range(1000):
                pass
            self.inside -= 1

    listener = Meeting()
    breaker = CircuitBreaker(listeners=[listener])
    threads = [threading.Thread(target=lambda: [breaker.call(int) for _ in range(200)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert listener.most == 1


def test_hooks_run_in_the_thread_of_their_call() -> None:
    threads = set()

    class Where(pybreaker_ext.CircuitBreakerListener):
        def success(self, cb: Any) -> None:
            threads.add(threading.current_thread().name)

    breaker = CircuitBreaker(listeners=[Where()])
    thread = threading.Thread(target=breaker.call, args=(int,), name="caller")
    thread.start()
    thread.join()
    assert threads == {"caller"}


def test_in_many_threads_each_change_is_told_once_in_the_order_of_generations(log: Log) -> None:
    """The names must chain: each change begins where the one before has ended."""
    storage = CircuitMemoryStorage()
    breaker = CircuitBreaker(fail_max=1, reset_timeout=0, state_storage=storage, listeners=[log])
    functions = [fail, int] * 100
    threads = [threading.Thread(target=lambda: [attempt(breaker, f) for f in functions]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    names = ("closed", "open", "half-open")
    changes = [entry for entry in log.told if isinstance(entry, tuple) and entry[0] in names]
    assert changes
    assert changes[0][0] == "closed"
    assert all(earlier[1] == later[0] for earlier, later in itertools.pairwise(changes))


class Deaf(pybreaker_ext.CircuitBreakerListener):
    def __init__(self, seconds: float) -> None:
        self.seconds, self.told = seconds, 0

    def success(self, cb: Any) -> None:
        self.told += 1

    def success_ignored_for(self, cb: Any) -> float:
        return self.seconds


class TestClosedSuccesses:
    """Whoever doesn't want to hear of them, isn't called."""

    def protected(self, *listeners: Any) -> tuple[Clock, CircuitBreaker, Any]:
        clock = Clock()
        breaker = CircuitBreaker(listeners=listeners, state_storage=CircuitMemoryStorage(clock=clock))
        function = breaker(lambda: None)

        def both() -> None:
            function()
            breaker.call(int)

        return clock, breaker, both

    def test_are_not_told_for_as_long_as_a_listener_ignores_them(self) -> None:
        deaf = Deaf(5)
        clock, _, both = self.protected(deaf)
        both()
        clock.advance(4.9)
        both()
        assert deaf.told == 1
        clock.advance(0.1)
        both()
        assert deaf.told == 2

    def test_are_told_if_one_listener_wants_them(self, log: Log) -> None:
        for listeners in ((Deaf(5), log), (Deaf(5), Deaf(0))):
            _, _, both = self.protected(*listeners)
            both()
            assert listeners[0].told == 2
        assert log.told.count("success") == 2

    def test_are_told_to_whoever_is_added_later(self, log: Log) -> None:
        _, breaker, both = self.protected(Deaf(5))
        both()
        breaker.add_listener(log)
        both()
        breaker.remove_listener(log)
        both()
        assert [entry if entry == "success" else entry[0] for entry in log.told] == ["before_call", "success"] * 2

    def test_that_change_something_or_are_probes_are_always_told(self) -> None:
        deaf = Deaf(math.inf)
        _, breaker, both = self.protected(deaf)
        both()
        attempt(breaker, fail)
        both()  # the first ends the failures
        breaker.half_open()
        both()  # the first closes
        assert deaf.told == 3

    def test_in_asyncio(self) -> None:
        deaf = Deaf(5)
        clock, breaker, _ = self.protected(deaf)

        @breaker
        async def function() -> None: ...

        async def three() -> None:
            for _ in range(3):
                await function()
                await breaker.call_async(int)

        asyncio.run(three())
        clock.advance(5)
        asyncio.run(three())
        assert deaf.told == 2

    @pytest.mark.parametrize("answer", [None, "5", math.nan, -1])
    def test_are_told_if_the_answer_is_no_time(self, answer: Any, caplog: pytest.LogCaptureFixture) -> None:
        deaf = Deaf(answer)
        _, _, both = self.protected(deaf)
        both()
        assert deaf.told == 2
        assert caplog.text == ""

    def test_a_mock_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        listener = Mock()
        _, _, both = self.protected(listener)
        both()
        assert listener.success.call_count == listener.before_call.call_count == 2
        assert caplog.text == ""

    def test_a_listener_that_fails_to_say_is_told(self, caplog: pytest.LogCaptureFixture) -> None:
        deaf = Deaf(5)
        deaf.success_ignored_for = {}.popitem  # type: ignore[assignment, method-assign]
        _, _, both = self.protected(deaf)
        both()
        assert deaf.told == 2
        assert "success_ignored_for" in caplog.text

    @pytest.mark.parametrize("base", [object, pybreaker.CircuitBreakerListener, pybreaker_ext.CircuitBreakerListener])
    def test_hooks_that_are_only_inherited_are_not_called(self, base: type) -> None:
        class Empty(base):  # type: ignore[misc]
            pass

        breaker = CircuitBreaker(listeners=[Empty()])
        assert not breaker._notifier.tells_before_call
        assert breaker._notifier.deaf_until == math.inf


def test_the_calls_own_error_is_not_in_the_log_behind_the_hooks(caplog: pytest.LogCaptureFixture) -> None:
    class SecretError(BackendError):
        pass

    def tell_secret() -> None:
        raise SecretError("my prompt")

    class Bad:
        def failure(self, cb: Any, exc: BaseException) -> None:
            try:
                raise KeyError  # noqa: TRY301  something to raise from
            except KeyError as error:
                raise ExceptionGroup("bad", [LookupError()]) from error

    breaker = CircuitBreaker(listeners=[Bad()])
    attempt(breaker, tell_secret)
    assert "The failure hook of Bad failed" in caplog.text
    assert "KeyError" in caplog.text
    assert "my prompt" not in caplog.text


def test_a_store_that_is_busy_is_not_away() -> None:
    from pybreaker_ext.errors import StoreBusyError
    from pybreaker_ext.storage.outage import Outage, StandIn

    told: list[str] = []

    class Listener:
        def storage_lost(self, cb: Any, error: BaseException | None) -> None:
            told.append("lost")

        def storage_restored(self, cb: Any, away: float) -> None:
            told.append("restored")

    class Busy:
        outage = Outage("the store")
        stand_in = StandIn(outage, "closed")
        circuit = CircuitMemoryStorage()
        busy = True

        def apply(self, event: Any, policy: Any) -> Any:
            return self.stand_in.apply(self.attempt, event, policy)

        def attempt(self, event: Any, policy: Any) -> Any:
            if self.busy:
                raise StoreBusyError
            return self.circuit.apply(event, policy)

    store = Busy()
    breaker = CircuitBreaker(state_storage=store, listeners=[Listener()], max_staleness=0.0)
    attempt(breaker, int)
    store.busy = False
    attempt(breaker, int)
    assert told == []


class TestWhatHooksAreTold:
    def test_each_failure_hears_of_its_own_count(self, redis_server: Any) -> None:
        counted: list[int] = []

        class Listener:
            def failure(self, cb: Any, exc: BaseException) -> None:
                counted.append(cb.last_seen.fail_counter)

        with redis_server.client() as client:
            breaker = CircuitBreaker(
                fail_max=10_000,
                listeners=[Listener()],
                state_storage=pybreaker_ext.CircuitRedisStorage("closed", client, "n"),
            )
            threads = [threading.Thread(target=lambda: [attempt(breaker, fail) for _ in range(100)]) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert sorted(counted) == list(range(1, 801))

    def test_a_change_comes_with_what_showed_it(self) -> None:
        shown: list[Any] = []

        class Listener:
            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                shown.append((new_state.name, new_state.snapshot))

        breaker = CircuitBreaker(fail_max=1, reset_timeout=60, listeners=[Listener()], name="claude")
        attempt(breaker, fail)
        ((name, snapshot),) = shown
        assert (name, snapshot.name, snapshot.state, snapshot.reason) == ("open", "claude", "open", "failures")
        assert (snapshot.trips, snapshot.fail_counter, snapshot.retry_after) == (1, 1, 60)

    def test_also_when_another_worker_made_it(self, redis_server: Any) -> None:
        shown: list[Any] = []

        class Listener:
            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                shown.append(new_state.snapshot.reason)

        with redis_server.client() as client:
            first, second = (
                CircuitBreaker(
                    fail_max=1,
                    listeners=[Listener()],
                    max_staleness=0.0,
                    state_storage=pybreaker_ext.CircuitRedisStorage("closed", client, "n"),
                )
                for _ in range(2)
            )
            attempt(first, fail)
            attempt(second, int)
        assert shown == ["failures", "failures"]

    def test_what_was_last_seen_needs_no_store(self) -> None:
        seen: list[Any] = []

        class Listener:
            def failure(self, cb: Any, exc: BaseException) -> None:
                seen.append(cb.last_seen.fail_counter)

        breaker = CircuitBreaker(listeners=[Listener()])
        assert breaker.last_seen is None or breaker.last_seen.state == "closed"
        for _ in range(3):
            attempt(breaker, fail)
        assert seen == [1, 2, 3]

    def test_the_store_goes_and_comes_back(self) -> None:
        from test_outage import FlakyStore

        class Listener(Log):
            def storage_lost(self, cb: Any, error: BaseException | None) -> None:
                self.told.append(("storage_lost", str(error)))

            def storage_restored(self, cb: Any, away: float) -> None:
                self.told.append(("storage_restored", away))

        store, log = FlakyStore(), Listener()
        breaker = CircuitBreaker(fail_max=1, state_storage=store, listeners=[log], max_staleness=0.0)
        attempt(breaker, int)
        store.away = True
        for function in (int, fail, int):
            attempt(breaker, function)
        store.away = False
        store.now += 5
        attempt(breaker, int)
        quiet = [("before_call", "int"), "success"]
        assert log.told == [
            *quiet,
            ("storage_lost", "away"),
            *quiet,
            ("before_call", "fail"),
            ("failure", "BackendError"),
            ("closed", "open"),
            ("rejected", "open", "failures"),
            ("open", "closed"),
            ("storage_restored", 5.0),
            *quiet,
        ]
