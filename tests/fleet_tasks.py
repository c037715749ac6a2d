"""What the fleet's workers do: functions that travel to worker processes by name."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import pybreaker
import redis
from fleet import Circuit, shared, until

import pybreaker_ext

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBES, REJECTIONS, CALLS = 0, 1, 2


class BackendError(Exception):
    pass


def fail() -> None:
    raise BackendError


def fail_once(circuit: Circuit) -> str:
    try:
        circuit.call(fail)
    except pybreaker_ext.CircuitBreakerError as error:
        return "tripped" if error.__cause__ else "rejected"
    except BackendError:
        return "failed"
    raise AssertionError("a failing call returned")


def succeed_once(circuit: Circuit) -> str:
    return circuit.call(lambda: "succeeded")


def attempt(circuit: Circuit, total: int, places: int) -> str:
    """Call once; a call that gets through stays in the backend until all others were turned away."""

    def backend() -> str:
        shared().add(PROBES)
        until(lambda: shared().counts[REJECTIONS] + shared().counts[PROBES] == total)
        until(lambda: shared().counts[PROBES] >= places)
        return "probe"

    try:
        return circuit.call(backend)
    except pybreaker_ext.CircuitBreakerError:
        shared().add(REJECTIONS)
        return "rejected"


def read_often(circuit: Circuit, times: int) -> set[str]:
    breaker = circuit.breaker()
    return {breaker.state.name for _ in range(times)} | {breaker.current_state for _ in range(times)}


def succeed_or_read(circuit: Circuit, index_of_this: int, times: int) -> Any:
    """The first two to come succeed, one after the other; everybody else looks at the state."""
    place = shared().add(CALLS)
    if place == 1:
        result = circuit.call(lambda: "first")
        shared().add(PROBES)
        return result
    if place == 2:
        until(lambda: shared().counts[PROBES] == 1)
        return circuit.call(lambda: "second")
    return read_often(circuit, times)


def hang_in_probe(circuit: Circuit) -> None:
    """Become the probe, and never come back."""

    def backend() -> None:
        shared().add(PROBES)
        signal.pause()

    circuit.call(backend)


def call_steadily(circuit: Circuit, until_probes: int) -> list[float]:
    """Call all the time; return when this process's probes began, on the machine's clock."""
    breaker = circuit.breaker()
    began: list[float] = []

    def backend() -> None:
        began.append(time.time())
        shared().add(PROBES)

    def done() -> bool:
        with contextlib.suppress(pybreaker_ext.CircuitBreakerError):
            circuit.call(backend, breaker)
        return shared().counts[PROBES] >= until_probes

    until(done)
    return began


@contextlib.contextmanager
def wrong_clock(seconds: float) -> Iterator[None]:
    """Put this process's clocks wrong, as far as Python sees them."""
    real = {name: getattr(time, name) for name in ("time", "time_ns", "monotonic", "monotonic_ns")}
    for name, clock in real.items():
        offset = seconds * 1_000_000_000 if name.endswith("_ns") else seconds
        setattr(time, name, lambda clock=clock, offset=offset: clock() + offset)
    try:
        yield
    finally:
        for name, clock in real.items():
            setattr(time, name, clock)


def trip_with_wrong_clock(circuit: Circuit, seconds: float) -> float:
    """Trip the circuit; return the `retry_after` that the caller is told."""
    with wrong_clock(seconds):
        try:
            circuit.call(fail)
        except pybreaker_ext.CircuitBreakerError as error:
            return error.retry_after
    raise AssertionError("did not trip")


def look_with_wrong_clock(circuit: Circuit, seconds: float) -> tuple[str, float]:
    with wrong_clock(seconds):
        try:
            circuit.call(lambda: None)
        except pybreaker_ext.CircuitBreakerError as error:
            return "rejected", error.retry_after
    return "admitted", 0.0


def slow_call(circuit: Circuit, ending: str) -> str:
    """Be admitted, wait until the test says so, then end."""

    def backend() -> str:
        shared().add(CALLS)
        until(lambda: shared().counts[PROBES])
        if ending == "failure":
            raise BackendError
        return "late"

    try:
        return circuit.call(backend)
    except BackendError:
        return "late"


def plain_breaker(circuit: Circuit) -> Any:
    """Plain pybreaker on the same keys."""
    storage = pybreaker.CircuitRedisStorage("closed", redis.Redis.from_url(circuit.where), namespace=circuit.name)
    settings = dict(circuit.settings)
    names = ("fail_max", "reset_timeout", "success_threshold")
    return pybreaker.CircuitBreaker(state_storage=storage, **{k: settings[k] for k in names if k in settings})


def plain_call(circuit: Circuit, ending: str) -> str:
    breaker = plain_breaker(circuit)
    try:
        return breaker.call(fail if ending == "failure" else lambda: "succeeded")
    except pybreaker.CircuitBreakerError as error:
        return f"{type(error).__name__}: {error}"
    except BackendError:
        return "failed"


def our_call(circuit: Circuit, ending: str) -> str:
    breaker = circuit.breaker()
    try:
        return breaker.call(fail if ending == "failure" else lambda: "succeeded")
    except pybreaker.CircuitBreakerError as error:
        return f"{type(error).__name__}: {error}"
    except BackendError:
        return "failed"


def die_in_transaction(path: str) -> None:
    """Lock the file for writing, change it, and die before the end of the transaction."""
    import sqlite3

    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("UPDATE circuits SET state = 'open', generation = 7")
    shared().add(CALLS)
    os.kill(os.getpid(), signal.SIGKILL)
