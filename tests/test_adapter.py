"""A pybreaker storage that a user wrote keeps working, as well as pybreaker's own API lets it."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pybreaker
import pytest
from stores import Clock

from pybreaker_ext import Backoff, CircuitBreaker, CircuitBreakerError, CircuitMemoryStorage


class DictStorage(pybreaker.CircuitBreakerStorage):
    """What a user might write: state in some database, whole seconds, every access noted."""

    def __init__(self, row: dict[str, Any] | None = None) -> None:
        super().__init__("dict")
        self.row = row if row is not None else {"state": "closed", "failures": 0, "successes": 0, "opened_at": None}

    @property
    def state(self) -> str:
        return self.row["state"]

    @state.setter
    def state(self, state: str) -> None:
        self.row["state"] = state

    def increment_counter(self) -> None:
        self.row["failures"] += 1

    def reset_counter(self) -> None:
        self.row["failures"] = 0

    def increment_success_counter(self) -> None:
        self.row["successes"] += 1

    def reset_success_counter(self) -> None:
        self.row["successes"] = 0

    @property
    def counter(self) -> int:
        return self.row["failures"]

    @property
    def success_counter(self) -> int:
        return self.row["successes"]

    @property
    def opened_at(self) -> datetime | None:
        return self.row["opened_at"]

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        self.row["opened_at"] = moment.replace(microsecond=0)


def fail(*args: Any) -> None:
    raise ZeroDivisionError(*args)


def outcome(breaker: Any, function: Any) -> str:
    try:
        breaker.call(function)
    except pybreaker.CircuitBreakerError as error:
        return "tripped" if error.__cause__ else "rejected"
    except ZeroDivisionError:
        return "failed"
    return "ok"


@pytest.mark.parametrize("make", [DictStorage, lambda: pybreaker.CircuitMemoryStorage("closed")])
def test_the_whole_circle(make: Any) -> None:
    storage = make()
    breaker = CircuitBreaker(fail_max=2, success_threshold=2, state_storage=storage)
    assert [outcome(breaker, f) for f in (fail, int, fail, fail, int)] == [
        "failed",
        "ok",
        "failed",
        "tripped",
        "rejected",
    ]
    assert (storage.state, storage.counter, storage.success_counter) == ("open", 2, 0)
    assert abs((storage.opened_at - datetime.now(UTC)).total_seconds()) < 60
    breaker.open(0)
    assert outcome(breaker, int) == "ok"
    assert (storage.state, storage.success_counter) == ("half-open", 1)
    assert outcome(breaker, int) == "ok"
    assert (storage.state, storage.counter, storage.success_counter) == ("closed", 0, 0)
    assert breaker.snapshot().shared


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The machine's clock, which stands still unless turned."""
    clock = Clock()
    monkeypatch.setattr(time, "time_ns", lambda: clock.now * 1000)
    return clock


@pytest.mark.parametrize("make", [DictStorage, lambda: pybreaker.CircuitMemoryStorage("closed")])
def test_the_open_times_of_a_backend_that_never_recovers(make: Any, clock: Clock) -> None:
    """Holds in between change nothing of it."""
    breaker = CircuitBreaker(
        fail_max=1,
        reset_timeout=1,
        backoff=Backoff(2, maximum=16, jitter=0),
        hold_for=lambda error: error.args[0],
        state_storage=make(),
        max_staleness=0.0,
    )

    def opens_for(seconds: float | None) -> float:
        with pytest.raises((ZeroDivisionError, CircuitBreakerError)):
            breaker.call(fail, seconds)
        wait = breaker.retry_after
        clock.advance(wait)
        return wait

    assert [opens_for(hold) for hold in (None, None, 7, None, None, 0.5, None, None)] == [1, 2, 7, 4, 8, 0.5, 16, 16]
    assert breaker.call(int) == 0
    assert (breaker.current_state, opens_for(None)) == ("closed", 1)


def test_the_longer_hold_wins(clock: Clock) -> None:
    breaker = CircuitBreaker(hold_for=lambda error: error.args[0], state_storage=DictStorage(), max_staleness=0.0)

    def told(first: float, then: float) -> float:
        """Both calls are under way when the first is told to stay away."""

        def held_twice() -> None:
            with pytest.raises(ZeroDivisionError):
                breaker.call(fail, first)
            fail(then)

        breaker.close()
        with pytest.raises(ZeroDivisionError):
            breaker.call(held_twice)
        return breaker.retry_after

    assert [told(60, 5), told(5, 60)] == [60, 60]


def test_one_probe_in_this_process() -> None:
    breaker = CircuitBreaker(state_storage=DictStorage())
    breaker.half_open()
    with breaker.calling(), pytest.raises(CircuitBreakerError):
        breaker.call(int)
    assert breaker.current_state == "closed"


def test_breakers_on_one_storage_object_share_the_circuit() -> None:
    storage = DictStorage()
    first, second = CircuitBreaker(state_storage=storage), CircuitBreaker(state_storage=storage)
    first.half_open()
    with first.calling():
        assert outcome(second, int) == "rejected"


def test_what_plain_pybreaker_writes_is_adopted() -> None:
    row = DictStorage().row
    plain = pybreaker.CircuitBreaker(fail_max=1, reset_timeout=60, state_storage=DictStorage(row))
    ours = CircuitBreaker(reset_timeout=60, state_storage=DictStorage(row), max_staleness=0.0)
    assert outcome(ours, int) == "ok"
    with pytest.raises(pybreaker.CircuitBreakerError):
        plain.call(fail)
    assert outcome(ours, int) == "rejected"
    assert 50 < ours.retry_after <= 60
    row["opened_at"] = datetime.now(UTC) - timedelta(seconds=61)
    assert outcome(ours, int) == "ok"
    assert plain.call(lambda: 1) == 1
    assert plain.current_state == "closed"


def test_what_ours_writes_is_seen_by_plain_pybreaker() -> None:
    row = DictStorage().row
    ours = CircuitBreaker(fail_max=1, state_storage=DictStorage(row))
    plain = pybreaker.CircuitBreaker(state_storage=DictStorage(row))
    outcome(ours, fail)
    with pytest.raises(pybreaker.CircuitBreakerError):
        plain.call(int)


def test_no_failure_is_lost_among_threads() -> None:
    storage = DictStorage()
    breaker = CircuitBreaker(fail_max=10_000, state_storage=storage)
    threads = [threading.Thread(target=lambda: [outcome(breaker, fail) for _ in range(50)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert storage.counter == 400


def test_a_storage_with_a_method_of_our_verbs_name() -> None:
    class Applied(pybreaker.CircuitMemoryStorage):
        def apply(self) -> None:
            raise AssertionError("that is the user's own")

    assert outcome(CircuitBreaker(state_storage=Applied("closed")), int) == "ok"


def test_storages_may_be_equal_and_not_hashable() -> None:
    class Equal(CircuitMemoryStorage):
        def __eq__(self, other: object) -> bool:
            return True

        __hash__ = None  # type: ignore[assignment]

    assert outcome(CircuitBreaker(state_storage=Equal()), int) == "ok"


def test_a_strange_state_is_closed() -> None:
    storage = DictStorage()
    storage.row["state"] = "ajar"
    assert outcome(CircuitBreaker(state_storage=storage), int) == "ok"
