"""Holds and back-off across a fleet: what one worker was told binds all, and a sequence goes on where it stopped."""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from typing import TYPE_CHECKING, Any

import pytest
from fleet import until

from pybreaker_ext import Backoff, CircuitBreaker, CircuitBreakerError, CircuitBreakerRegistry
from pybreaker_ext.http import retry_after, throttled_for

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class BackendError(Exception):
    """What a backend says; with headers as `retry_after` reads them."""

    def __init__(self, status: int = 503, wait: float | None = None) -> None:
        super().__init__(status)
        self.status_code = status
        self.headers = {} if wait is None else {"Retry-After": str(wait)}


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return str(request.getfixturevalue("redis_server").patient_url)
    return f"sqlite:///{tmp_path}/circuits.db"


@pytest.fixture(params=["memory", "sqlite", "redis"])
def every_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """For tests with one breaker, which need not share its circuit."""
    if request.param == "redis":
        return str(request.getfixturevalue("redis_server").url)
    return "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/circuits.db"


def worker(url: str, **settings: Any) -> CircuitBreaker:
    """Return a breaker as another worker has it: an object of its own."""
    return CircuitBreakerRegistry(url, max_staleness=0.0, **settings).get("claude")


def fails(breaker: CircuitBreaker, error: Exception) -> None:
    def backend() -> None:
        raise error

    with pytest.raises((BackendError, CircuitBreakerError)):
        breaker.call(backend)


def fails_async(breaker: CircuitBreaker, error: Exception) -> None:
    async def backend() -> None:
        raise error

    async def main() -> None:
        with pytest.raises((BackendError, CircuitBreakerError)):
            await breaker.call_async(backend)

    asyncio.run(main())


def open_time(breaker: CircuitBreaker) -> float:
    """Return the seconds for which the circuit was opened, as the store has them."""
    snapshot = breaker.snapshot()
    assert snapshot.open_until is not None
    assert snapshot.opened_at is not None
    return round(snapshot.open_until - snapshot.opened_at, 3)


def elsewhere(function: Callable[..., None], *args: Any) -> None:
    """Run a function in a process of its own, which ends after it."""
    process = multiprocessing.get_context("spawn").Process(target=function, args=args)
    process.start()
    process.join(60)
    assert process.exitcode == 0


def hold(url: str, seconds: float) -> None:
    fails(worker(url, hold_for=retry_after), BackendError(429, seconds))


def hold_anyway(url: str, seconds: float) -> None:
    """Ask before the circuit opens, be told when it is open."""
    breaker = worker(url, hold_for=retry_after)

    def backend() -> None:
        worker(url).open(30)
        raise BackendError(429, seconds)

    with pytest.raises((BackendError, CircuitBreakerError)):
        breaker.call(backend)


def trip(url: str) -> None:
    fails(worker(url, fail_max=1, reset_timeout=1, backoff=Backoff(2, maximum=16, jitter=0)), BackendError())


def recover(url: str) -> None:
    worker(url, success_threshold=1).call(int)


class TestHolds:
    def test_all_workers_are_told_the_same_end_and_reason(self, url: str) -> None:
        elsewhere(hold, url, 60)
        for _ in range(2):
            with pytest.raises(CircuitBreakerError) as caught:
                worker(url).call(int)
            assert caught.value.reason == "hold"
            assert 55 < caught.value.retry_after <= 60
        (change,) = worker(url).history()
        assert (change.new_state, change.reason) == ("open", "hold")

    @pytest.mark.parametrize(("longer", "ends"), [(90, 90), (5, 30)])
    def test_the_longer_one_wins_whoever_was_told_it(self, url: str, longer: int, ends: int) -> None:
        """The circuit was opened for 30 seconds meanwhile; this call's generation is an old one."""
        elsewhere(hold_anyway, url, longer)
        assert ends - 8 < worker(url).retry_after <= ends

    def test_a_hold_is_capped(self, url: str) -> None:
        fails(worker(url, hold_for=retry_after, max_hold=20), BackendError(429, 3600))
        assert 15 < worker(url).retry_after <= 20

    def test_jitter_and_back_off_have_no_part_in_it(self, url: str) -> None:
        """Neither in how long it is, nor it in how long the next trip is."""
        backoff = Backoff(2, maximum=16, jitter=1.0)
        breaker = worker(url, fail_max=1, reset_timeout=1, backoff=backoff, hold_for=throttled_for)
        for _ in range(2):
            fails(breaker, BackendError())
            breaker.open(0)
        for _ in range(5):
            fails(breaker, BackendError(429, 7))
            assert open_time(breaker) == 7
            breaker.open(0)
        fails(breaker, BackendError())
        snapshot = breaker.snapshot()
        assert (snapshot.trips, snapshot.reason) == (3, "failures")
        assert 4 <= open_time(breaker) <= 8.001

    def test_after_it_one_probe_goes_and_no_herd(self, url: str) -> None:
        breaker = worker(url, hold_for=lambda error: 0.001)
        fails(breaker, BackendError(429))
        workers = [worker(url, success_threshold=1) for _ in range(10)]
        inside, go_on, rejected = threading.Event(), threading.Event(), []

        def probe() -> None:
            inside.set()
            assert go_on.wait(30)

        thread = threading.Thread(target=workers[0].call, args=(probe,))
        until(lambda: workers[0].retry_after == 0)
        thread.start()
        assert inside.wait(30)
        for each in workers[1:]:
            with pytest.raises(CircuitBreakerError) as caught:
                each.call(int)
            rejected.append(caught.value.state)
        go_on.set()
        thread.join()
        assert rejected == ["half-open"] * 9
        assert workers[1].current_state == "closed"


class TestBackoff:
    def test_each_worker_goes_on_where_another_one_stopped(self, url: str) -> None:
        """Each trip is made by a process that ends after it; so is the close, after which it begins again."""
        seen = []
        for _ in range(6):
            elsewhere(trip, url)
            seen.append(open_time(worker(url)))
            worker(url).open(0)  # the time is over; trips stay counted
        assert seen == [1, 2, 4, 8, 16, 16]
        elsewhere(recover, url)
        elsewhere(trip, url)
        assert open_time(worker(url)) == 1

    def test_it_begins_again_after_a_close(self, url: str) -> None:
        settings: dict[str, Any] = {"fail_max": 1, "reset_timeout": 1, "backoff": Backoff(2, maximum=16, jitter=0)}
        breaker = worker(url, success_threshold=1, **settings)
        for expected in (1, 2, 4):
            fails(breaker, BackendError())
            snapshot = breaker.snapshot()
            assert round(snapshot.retry_after) == expected
            breaker.open(0)
        breaker.call(int)  # a probe, which closes
        fails(worker(url, **settings), BackendError())
        assert round(breaker.retry_after) == 1

    def test_jitter_only_lengthens(self, url: str) -> None:
        breaker = worker(url, fail_max=1, reset_timeout=1, backoff=Backoff(2, maximum=16, jitter=0.5))
        shares = []
        for span in (1, 2, 4, 8, 16, 16, 16, 16):
            fails(breaker, BackendError())
            shares.append(open_time(breaker) / span)
            breaker.open(0)
        assert all(1 <= share <= 1.501 for share in shares)
        assert len(set(shares)) > 1


@pytest.mark.parametrize("fail", [fails, fails_async])
@pytest.mark.parametrize("settings", [{"ignore": [BackendError]}, {"include": [KeyError]}, {"exclude": [BackendError]}])
def test_what_is_no_failure_gives_a_probes_place_back(
    every_url: str, settings: dict[str, Any], fail: Callable[..., None]
) -> None:
    breaker = worker(every_url, success_threshold=5, **settings)
    breaker.half_open()
    for _ in range(4):
        fail(breaker, BackendError(400))
    snapshot = breaker.snapshot()
    assert (snapshot.state, snapshot.probes) == ("half-open", 0)
    assert snapshot.success_counter == (4 if "exclude" in settings else 0)
