"""Streams of many real processes: broken ones trip, and a probe that still sends keeps its place."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
import stream_tasks as tasks
from backend import serving
from fleet import Circuit, Fleet, fleet_of, until
from stream_backend import StreamBackend

from pybreaker_ext import reset_all_breakers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from servers import RedisServer

#: Seconds.
LEASE = 2.0


@pytest.fixture(scope="module")
def fleet() -> Iterator[Fleet]:
    with fleet_of(8) as workers:
        yield workers


@pytest.fixture(scope="module")
def backend() -> Iterator[StreamBackend]:
    with serving(StreamBackend()) as running:
        yield running


@pytest.mark.parametrize("task", [tasks.chat, tasks.chat_async])
@pytest.mark.parametrize("store", ["redis", "sqlite"])
def test_three_broken_streams_in_a_row_put_a_model_aside(
    fleet: Fleet,
    backend: StreamBackend,
    redis_server: RedisServer,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    store: str,
    task: object,
) -> None:
    """Whoever reads them; a whole one begins the count again, and who hangs up counts as nothing."""
    fleet.ready()
    request.addfinalizer(reset_all_breakers)
    url = redis_server.patient_url if store == "redis" else f"sqlite:///{tmp_path}/circuits.db"
    breaker = tasks.breaker_of(url)

    def chat(worker: int, case: str, leave: int | None = None) -> str:
        return fleet.one(task, url, backend.url(case, "openai"), leave, worker=worker)

    assert [chat(0, "broken"), chat(1, "cut")] == ["broken", "broken"]
    assert breaker.fail_counter == 2
    assert [chat(2, "stall", 1), chat(3, "broken", 1)] == ["left", "left"]
    assert breaker.fail_counter == 2
    assert chat(0, "whole") == "whole"
    assert breaker.fail_counter == 0
    assert [chat(1, "error"), chat(2, "whole", 1), chat(3, "reset")] == ["broken", "left", "broken"]
    assert chat(0, "broken") == "tripped"
    look = breaker.snapshot()
    assert (look.state, look.trips, look.reason) == ("open", 1, "failures")
    assert 20 < look.retry_after <= 30
    asked = len(backend.connections)
    assert [chat(worker, "whole") for worker in range(4)] == ["rejected"] * 4
    assert len(backend.connections) == asked
    breaker.open(0)  # its time is over
    assert [chat(1, "stall", 1), breaker.current_state] == ["left", "half-open"]
    assert [chat(2, "whole"), breaker.current_state] == ["whole", "closed"]


def test_a_probe_that_still_sends_keeps_its_place_and_a_dead_one_does_not(
    fleet: Fleet, redis_server: RedisServer, tmp_path: Path
) -> None:
    """Four circuits at once: in Redis and in a file, in both colours."""
    fleet.ready()
    settings = (("probe_timeout", LEASE),)
    circuits = [
        Circuit(kind, where, f"{kind}-{in_loop}", settings, in_loop)
        for kind, where in (("redis", redis_server.url), ("sqlite", str(tmp_path / "circuits.db")))
        for in_loop in (False, True)
    ]
    breakers = [circuit.breaker() for circuit in circuits]
    for index, (circuit, breaker) in enumerate(zip(circuits, breakers, strict=True)):
        breaker.half_open()
        fleet.workers[index].send(tasks.send_for_ever, circuit, index)
        until(lambda index=index: fleet.shared.counts[index])
    first_ends = [max(breaker._read().after.permits.values()) / 1000 for breaker in breakers]
    for index, circuit in enumerate(circuits):
        fleet.workers[4 + index].send(tasks.call_until_admitted, circuit)
    until(lambda: time.time() > max(first_ends) + 0.3)
    assert not any(worker.pipe.poll() for worker in fleet.workers[4:])  # nobody else has got in
    assert [breaker.snapshot().probes for breaker in breakers] == [1] * 4
    for worker in fleet.workers[:4]:
        worker.kill()
    killed = time.time()
    ends = [max(breaker._read().after.permits.values()) / 1000 for breaker in breakers]
    assert all(first < end <= killed + LEASE for first, end in zip(first_ends, ends, strict=True))
    admitted = [worker.answer() for worker in fleet.workers[4:]]
    assert all(moment >= end - 0.001 for moment, end in zip(admitted, ends, strict=True))
    assert [breaker.current_state for breaker in breakers] == ["closed"] * 4
