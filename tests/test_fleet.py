"""Many real processes, one circuit, on a real Redis and on an SQLite file."""

from __future__ import annotations

import itertools
import time
from typing import TYPE_CHECKING

import fleet_tasks as tasks
import pytest
from fleet import Circuit, Fleet, fleet_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import RedisServer

_names = itertools.count()

#: Each story is told several times over; the slow run tells it fifty times.
ROUNDS = [pytest.param(3, id="3 rounds"), pytest.param(50, id="50 rounds", marks=pytest.mark.slow)]


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with fleet_of(20) as workers:
        yield workers


@pytest.fixture(params=["redis", "sqlite", "asyncio: redis", "asyncio: sqlite"])
def circuit(request: pytest.FixtureRequest, tmp_path: Path) -> Circuit:
    in_loop = request.param.startswith("asyncio")
    if request.param.endswith("sqlite"):
        return Circuit("sqlite", str(tmp_path / "circuits.db"), "c", in_loop=in_loop)
    server: RedisServer = request.getfixturevalue("redis_server")
    return Circuit("redis", server.url, "c", in_loop=in_loop)


def fresh(circuit: Circuit, **settings: object) -> Circuit:
    name = f"c{next(_names)}"
    return Circuit(circuit.kind, circuit.where, name, tuple(settings.items()), circuit.in_loop)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", ROUNDS)
@pytest.mark.parametrize("places", [1, 3])
def test_at_the_end_of_the_open_time_exactly_the_allowed_probes_run(
    fleet: Fleet, circuit: Circuit, places: int, rounds: int
) -> None:
    for _ in range(rounds):
        case = fresh(circuit, half_open_max_calls=places, success_threshold=places)
        breaker = case.breaker()
        breaker.open(0)
        results = fleet.at_once(tasks.attempt, case, 20, places)
        assert sorted(results) == ["probe"] * places + ["rejected"] * (20 - places)
        assert breaker.current_state == "closed"


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_one_failure_each_in_twenty_processes_trips_at_twenty(fleet: Fleet, circuit: Circuit, rounds: int) -> None:
    for _ in range(rounds):
        case = fresh(circuit, fail_max=20)
        results = fleet.at_once(tasks.fail_once, case)
        assert sorted(results) == ["failed"] * 19 + ["tripped"]
        snapshot = case.breaker().snapshot()
        assert (snapshot.state, snapshot.fail_counter, snapshot.trips) == ("open", 20, 1)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_one_failure_each_in_twenty_processes_is_counted_twenty_times(
    fleet: Fleet, circuit: Circuit, rounds: int
) -> None:
    for _ in range(rounds):
        case = fresh(circuit, fail_max=21)
        assert fleet.at_once(tasks.fail_once, case) == ["failed"] * 20
        snapshot = case.breaker().snapshot()
        assert (snapshot.state, snapshot.fail_counter) == ("closed", 20)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_two_successes_of_two_processes_close_while_ten_read(fleet: Fleet, circuit: Circuit, rounds: int) -> None:
    """In pybreaker, each process that notices half-open sets the shared success counter back."""
    for _ in range(rounds):
        case = fresh(circuit, success_threshold=2, fail_max=1)
        breaker = case.breaker()
        breaker.half_open()
        results = fleet.at_once(tasks.succeed_or_read, case, 0, 20, size=12)
        assert sorted(result for result in results if isinstance(result, str)) == ["first", "second"]
        seen = set().union(*(result for result in results if not isinstance(result, str)))
        assert seen <= {"half-open", "closed"}
        snapshot = breaker.snapshot()
        assert (snapshot.state, snapshot.success_counter, snapshot.reason) == ("closed", 0, "")


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", ROUNDS)
def test_a_killed_probe_is_replaced_after_one_lease_under_steady_traffic(
    fleet: Fleet, circuit: Circuit, rounds: int
) -> None:
    lease = 0.5
    for _ in range(rounds):
        fleet.ready()
        case = fresh(circuit, probe_timeout=lease)
        breaker = case.breaker()
        breaker.half_open()
        holder, others = fleet.workers[0], fleet.workers[1:4]
        holder.send(tasks.hang_in_probe, case)
        until(lambda: fleet.shared.counts[tasks.PROBES] == 1)
        for other in others:
            other.send(tasks.call_steadily, case, 2)
        holder.kill()
        ends = next(iter(breaker._read().after.permits.values())) / 1000
        began = [moment for other in others for moment in other.answer()]
        assert min(began) >= ends - 0.001  # not while the lease lasted (floor to a millisecond)
        assert breaker.current_state == "closed"


@pytest.mark.parametrize("hours", [1, -1])
def test_a_process_whose_clock_is_an_hour_off_changes_nothing(fleet: Fleet, circuit: Circuit, hours: int) -> None:
    case = fresh(circuit, fail_max=1, reset_timeout=30)
    fleet.ready()
    assert 29 < fleet.one(tasks.trip_with_wrong_clock, case, hours * 3600.0, worker=0) <= 30
    verdict, wait = fleet.one(tasks.look_with_wrong_clock, case, hours * -3600.0, worker=1)
    assert (verdict, 0 < wait <= 30) == ("rejected", True)
    snapshot = case.breaker().snapshot()
    assert 0 < snapshot.retry_after <= 30
    assert abs(snapshot.now - time.time()) < 60


def test_a_slow_success_of_before_the_trip_does_not_close(fleet: Fleet, circuit: Circuit) -> None:
    case = fresh(circuit, fail_max=1, reset_timeout=60)
    fleet.ready()
    slow = fleet.workers[0]
    slow.send(tasks.slow_call, case, "success")
    until(lambda: fleet.shared.counts[tasks.CALLS] == 1)
    assert fleet.one(tasks.fail_once, case, worker=1) == "tripped"
    fleet.shared.add(tasks.PROBES)
    assert slow.answer() == "late"
    assert case.breaker().current_state == "open"


def test_a_slow_failure_of_an_old_generation_does_not_reopen(fleet: Fleet, circuit: Circuit) -> None:
    case = fresh(circuit, fail_max=1, reset_timeout=60)
    fleet.ready()
    slow = fleet.workers[0]
    slow.send(tasks.slow_call, case, "failure")
    until(lambda: fleet.shared.counts[tasks.CALLS] == 1)
    assert fleet.one(tasks.fail_once, case, worker=1) == "tripped"
    case.breaker().half_open()
    assert fleet.one(tasks.succeed_once, case, worker=2) == "succeeded"
    fleet.shared.add(tasks.PROBES)
    assert slow.answer() == "late"
    snapshot = case.breaker().snapshot()
    assert (snapshot.state, snapshot.fail_counter) == ("closed", 0)


def test_a_writer_killed_in_its_transaction_leaves_nothing_locked_and_nothing_changed(
    fleet: Fleet, tmp_path: Path
) -> None:
    case = Circuit("sqlite", str(tmp_path / "circuits.db"), "c", (("fail_max", 5),))
    fleet.ready()
    assert fleet.one(tasks.fail_once, case, worker=1) == "failed"
    victim = fleet.workers[0]
    victim.send(tasks.die_in_transaction, case.where)
    until(lambda: not victim.process.is_alive())
    assert fleet.shared.counts[tasks.CALLS] == 1
    assert fleet.one(tasks.fail_once, case, worker=1) == "failed"
    snapshot = case.breaker().snapshot()
    assert (snapshot.state, snapshot.fail_counter, snapshot.shared) == ("closed", 2, True)


def test_a_rolling_deploy_sees_plain_pybreakers_trips_and_closes(fleet: Fleet, redis_server: RedisServer) -> None:
    case = Circuit("redis", redis_server.url, "c", (("fail_max", 2), ("reset_timeout", 30), ("success_threshold", 1)))
    fleet.ready()
    still_open = "CircuitBreakerError: Timeout not elapsed yet, circuit breaker still open"
    # A plain worker trips: ours reject.
    assert fleet.one(tasks.plain_call, case, "failure", worker=0) == "failed"
    assert fleet.one(tasks.our_call, case, "success", worker=1) == "succeeded"
    assert fleet.one(tasks.plain_call, case, "failure", worker=0) == "failed"
    assert fleet.one(tasks.our_call, case, "failure", worker=1).endswith(
        "Failures threshold reached, circuit breaker opened"
    )
    # Ours has tripped on a count that both made: plain ones reject.
    assert fleet.one(tasks.plain_call, case, "success", worker=0) == still_open
    assert fleet.one(tasks.our_call, case, "success", worker=1) == still_open
    # The open time ends (both read opened_at): a plain worker probes and closes, ours admit.
    client = redis_server.client()
    client.set("c:pybreaker:opened_at", int(time.time()) - 31)
    assert fleet.one(tasks.plain_call, case, "success", worker=0) == "succeeded"
    assert client.get("c:pybreaker:state") == b"closed"
    assert fleet.one(tasks.our_call, case, "success", worker=1) == "succeeded"
    # A plain worker trips by itself: ours reject at once.
    assert fleet.one(tasks.plain_call, case, "failure", worker=0) == "failed"
    assert fleet.one(tasks.plain_call, case, "failure", worker=0).endswith(
        "Failures threshold reached, circuit breaker opened"
    )
    assert fleet.one(tasks.our_call, case, "success", worker=1) == still_open
    # The open time ends: ours probes and closes, plain ones admit.
    client.set("c:pybreaker:opened_at", int(time.time()) - 31)
    assert fleet.one(tasks.our_call, case, "success", worker=1) == "succeeded"
    assert fleet.one(tasks.plain_call, case, "success", worker=0) == "succeeded"
    assert case.breaker().current_state == "closed"
    client.close()
