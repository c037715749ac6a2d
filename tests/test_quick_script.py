"""The quick way through the Lua program says what its machine says, and most events take it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import pybreaker_ext
from pybreaker_ext.machine import FOREVER, Event, Policy
from pybreaker_ext.storage.script import script

if TYPE_CHECKING:
    from servers import RedisServer

NOW: Final = 1_800_000_000_123_456
FIELDS: Final = ("generation", "open_until", "opened_at", "trips", "reason", "permits", "state", "opened")
CLOSED: Final = ("closed", "0", "0", None, "1700000000000000", "0", "0", "0", "", "", "closed", "")


NUMBERS: Final = (
    "0",
    "1",
    "2",
    "1700000000",
    str(FOREVER),
    str(FOREVER + 1),
    "99999999999999999999",
    "01700000000000000",
    "-1",
    "1.5",
)
WORDS: Final = ("closed", "open", "half-open", "failures", "manual", "a1:1700000000000")
VALUES: Final = (None, "", "x", "1 2", *NUMBERS, *WORDS)
#: KEYS[1] to KEYS[4], then FIELDS: each mostly as in a closed circuit.
STORED: Final = st.tuples(*(st.one_of(*[st.just(usual)] * 4, st.sampled_from(VALUES)) for usual in CLOSED))
EVENTS: Final = st.builds(
    Event,
    st.sampled_from(["ask", "ask", "success", "success", "failure", "failure", "neutral", "hold", "read", "reset"]),
    st.just("a1"),
    st.sampled_from([1_700_000_000_000_000] * 3 + [1, 17]),
    st.just(1000),
)
LIMITS: Final = st.sampled_from([1, 2, 3, 10**9])


def program() -> str:
    return script(f"local now = {NOW}\n")


def quick() -> str:
    """Return the program without what stands behind quick.lua."""
    return program()[: program().index("-- machine.py again")] + "return 'left to the machine'"


class Circuit:
    """The keys of one circuit, written by hand."""

    def __init__(self, server: RedisServer, key_ttl: float | None = None) -> None:
        self.client = server.client(decode_responses=True)
        self.client.flushall()
        self.storage = pybreaker_ext.CircuitRedisStorage("closed", self.client, key_ttl=key_ttl, worker="w")
        self.keys = [key.decode() for key in self.storage._keys]

    def hold(self, stored: tuple[str | None, ...]) -> None:
        self.client.flushall()
        for key, value in zip(self.keys, stored[:4], strict=False):
            if value is not None:
                self.client.set(key, value)
        mapping = {field: value for field, value in zip(FIELDS, stored[4:], strict=True) if value is not None}
        if mapping:
            self.client.hset(self.keys[4], mapping=mapping)

    def run(self, program: str, event: Event, fail_max: int) -> str:
        arguments = self.storage._arguments(event, Policy(fail_max=fail_max))
        answer = self.client.eval(program, len(self.keys), *self.keys, *arguments)
        assert isinstance(answer, str)
        return answer

    def held(self) -> dict[str, Any]:
        hashes = {key: self.client.hgetall(key) for key in self.keys[4:5]}
        return {**hashes, **{key: self.client.get(key) for key in self.keys[:4]}}


def compare(circuit: Circuit, stored: tuple[str | None, ...], event: Event, fail_max: int) -> None:
    """A trial (an odd epoch) writes and removes a field besides, and never goes the quick way."""
    circuit.hold(stored)
    answer = circuit.run(program(), event, fail_max)
    held = circuit.held()
    circuit.hold(stored)
    assert circuit.run(program(), event._replace(epoch=1), fail_max) == answer
    assert circuit.held() == held


@given(STORED, EVENTS, LIMITS, st.sampled_from([None, 60]))
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_quick_way_says_and_writes_what_the_machine_does(
    redis_server: RedisServer, stored: tuple[str | None, ...], event: Event, fail_max: int, key_ttl: float | None
) -> None:
    circuit = Circuit(redis_server, key_ttl)
    compare(circuit, stored, event, fail_max)
    circuit.client.close()


@pytest.mark.parametrize("kind", ["ask", "success", "failure"])
def test_the_quick_way_takes_no_value_that_the_machine_would_not(redis_server: RedisServer, kind: str) -> None:
    """Each value in each place of a circuit that is otherwise as it should be."""
    circuit = Circuit(redis_server)
    for place in range(len(CLOSED)):
        for value in VALUES:
            stored = (*CLOSED[:place], value, *CLOSED[place + 1 :])
            compare(circuit, stored, Event(kind, "a1", 1_700_000_000_000_000), 3)
    circuit.client.close()


@pytest.mark.parametrize(("until", "reason"), [("0", ""), (str(FOREVER), "manual")])
@pytest.mark.parametrize("fail_counter", ["0", "2"])
@pytest.mark.parametrize("kind", ["ask", "success", "failure"])
@pytest.mark.parametrize("generation", ["1700000000000000", "17"])
def test_a_closed_circuit_that_stays_closed_needs_no_machine(
    redis_server: RedisServer, kind: str, generation: str, fail_counter: str, until: str, reason: str
) -> None:
    """Also one that was open until it was closed by hand, and one of a server whose clock began not long ago."""
    circuit = Circuit(redis_server)
    circuit.hold((CLOSED[0], fail_counter, *CLOSED[2:4], generation, until, *CLOSED[6:8], reason, *CLOSED[9:]))
    event = Event(kind, "a1", generation=int(generation))
    begins = {
        "ask": f"admitted 0 1800000000123   closed {fail_counter}",
        "success": "counted 0 1800000000123   closed 0",
        "failure": f"counted 0 1800000000123   closed {int(fail_counter) + 1}",
    }
    before = circuit.client.info("persistence")["rdb_changes_since_last_save"]
    assert circuit.run(quick(), event, 4) == f"{begins[kind]} 0 {generation} {until} 0 0 {reason}   "
    written = circuit.client.info("persistence")["rdb_changes_since_last_save"] - before
    assert written == (not begins[kind].endswith(f" {fail_counter}")), "only what has changed"
    circuit.client.close()


@pytest.mark.parametrize("event", [Event("failure"), Event("ask", epoch=1), Event("neutral"), Event("read")])
def test_everything_else_is_left_to_the_machine(redis_server: RedisServer, event: Event) -> None:
    """A failure that opens the circuit or is late, a trial, what is rare."""
    circuit = Circuit(redis_server)
    circuit.hold(CLOSED)
    for generation in (0, 1_700_000_000_000_000):
        answer = circuit.run(quick(), event._replace(generation=generation), 1)
        assert answer == "left to the machine"
    circuit.client.close()
