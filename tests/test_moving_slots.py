"""A slot of a Redis Cluster is on its way from one node to another, with the circuits in it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING, Any

import pytest
import servers
from fleet import until
from moving import moving

from pybreaker_ext import CircuitBreaker, CircuitBreakerError, CircuitRedisStorage
from pybreaker_ext.storage.redis_urls import redis_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from moving import Move

#: What its circuits have in their names, so that they are in this slot.
TAG = "{moving}"
CALLS = 3
#: Of a circuit that has a history and was open.
KEYS = 6


@pytest.fixture
def move(redis_cluster: servers.Cluster) -> Iterator[Move]:
    with moving(redis_cluster, TAG) as move:
        with move.target.client() as there:
            there.script_flush()
        yield move


@pytest.fixture(params=["a URL", "a client"])
def get(request: pytest.FixtureRequest, redis_cluster: servers.Cluster) -> Iterator[Callable[[str], CircuitBreaker]]:
    """Return what makes a breaker with a namespace."""
    with contextlib.ExitStack() as stack:
        given: Any = redis_client(redis_cluster.patient_url)
        if request.param == "a client":
            given = stack.enter_context(redis_cluster.client())
        yield lambda name: breaker_of(given, name)


@pytest.fixture(params=["threads", "asyncio"])
def told(request: pytest.FixtureRequest) -> Callable[[CircuitBreaker], str]:
    """Return what one call of a colour is told, and whether by the store."""

    async def look(breaker: CircuitBreaker) -> bool:
        return (await breaker.snapshot_async()).shared

    def call(breaker: CircuitBreaker) -> str:
        try:
            breaker.call(int) if request.param == "threads" else asyncio.run(breaker.call_async(int))
            answer = "admitted"
        except CircuitBreakerError as error:
            answer = error.state
        shared = breaker.snapshot().shared if request.param == "threads" else asyncio.run(look(breaker))
        return answer if shared else f"{answer}, alone"

    return call


def breaker_of(client: Any, name: str) -> CircuitBreaker:
    return CircuitBreaker(max_staleness=0.0, state_storage=CircuitRedisStorage("closed", client, name), name=name)


def outage_of(breaker: CircuitBreaker) -> Any:
    return breaker._state_storage._link.outage  # type: ignore[attr-defined]


def test_a_circuit_stays_open_and_is_probed_and_closed_where_its_keys_are(
    move: Move,
    get: Callable[[str], CircuitBreaker],
    told: Callable[[CircuitBreaker], str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    breaker, staying = get(f"{TAG}/claude"), get(f"{TAG}/staying")
    for each in (breaker, staying):
        each.open(600)
    move.begin()
    assert [told(breaker), told(staying)] == ["open", "open"]

    assert move.keys(f"{TAG}/claude") == KEYS
    assert [told(each) for each in CALLS * [breaker, staying]] == 2 * CALLS * ["open"]
    breaker.half_open()
    assert [told(breaker) for _ in range(CALLS)] == CALLS * ["admitted"]
    assert (breaker.current_state, told(staying)) == ("closed", "open")
    move.keys()
    assert [told(breaker), told(staying)] == ["admitted", "open"]

    move.end()
    assert [told(breaker), told(staying)] == ["admitted", "open"]
    assert [change.new_state for change in breaker.history()] == ["open", "half-open", "closed"]
    assert (outage_of(breaker).epoch, caplog.text) == (0, "")


def test_until_its_keys_are_moved_all_that_happens_is_kept(move: Move, get: Callable[[str], CircuitBreaker]) -> None:
    """A script may not touch what is missing in a slot that is being moved: not even what it has just deleted."""
    breaker = get(f"{TAG}/claude")
    breaker.open(600)
    breaker.close()
    move.begin()
    breaker.open(3_600)
    assert (breaker.snapshot().shared, breaker.retry_after > 3_500) == (True, True)
    breaker.half_open()
    with pytest.raises(CircuitBreakerError) as caught:
        breaker.call(lambda: 1 / 0)
    assert caught.value.__cause__ is not None
    breaker.half_open()
    breaker.call(int)
    breaker.open(3_600)
    assert move.keys(f"{TAG}/claude") == KEYS
    move.end()
    look = breaker.snapshot()
    assert (look.state, look.shared, look.reason, look.retry_after > 3_500) == ("open", True, "manual", True)
    assert [change.new_state for change in breaker.history()][-3:] == ["half-open", "closed", "open"]


def test_while_some_of_its_keys_are_here_and_some_there_or_missing_it_is_decided_alone(
    move: Move, get: Callable[[str], CircuitBreaker], told: Callable[[CircuitBreaker], str]
) -> None:
    """A script needs all of its keys. One that was never open has no `opened_at`, on neither node."""
    opened, new = get(f"{TAG}/opened"), get(f"{TAG}/new")
    other = get("{other}/claude")
    opened.open(600)
    assert [told(opened), told(new), told(other)] == ["open", "admitted", "admitted"]
    move.begin()
    assert move.keys(f"{TAG}/opened", 2) == 2
    assert [told(opened), told(new), told(other)] == ["admitted, alone", "admitted, alone", "admitted"]
    move.keys()
    assert [told(opened), told(new), told(other)] == ["open", "admitted, alone", "admitted"]
    move.end()
    assert [told(opened), told(new), told(other)] == ["open", "admitted", "admitted"]
    assert outage_of(opened).epoch == 0


def test_a_move_that_was_given_up_at_one_end_is_no_outage(
    move: Move, get: Callable[[str], CircuitBreaker], told: Callable[[CircuitBreaker], str]
) -> None:
    """One node still names the other, and that one doesn't know of it any more."""
    breaker = get(f"{TAG}/claude")
    breaker.open(600)
    move.begin()
    move.keys()
    move.give_up_there()
    assert told(breaker) == "admitted, alone"
    move.begin()
    assert told(breaker) == "open"
    assert outage_of(breaker).epoch == 0


def test_a_node_that_is_asked_and_says_nothing_is_an_outage(
    move: Move, redis_cluster: servers.Cluster, told: Callable[[CircuitBreaker], str]
) -> None:
    breaker, patient = (
        breaker_of(redis_client(redis_cluster.url + patience), f"{TAG}/claude")
        for patience in ("?socket_timeout=0.1&socket_connect_timeout=0.1", servers.PATIENCE)
    )
    patient.open(600)
    move.begin()
    move.keys()
    move.target.pause()
    try:
        assert told(breaker) == "admitted, alone"
        assert outage_of(breaker).epoch % 2 == 1
    finally:
        move.target.resume()
    until(lambda: told(breaker) == "open", pause=0.05)
