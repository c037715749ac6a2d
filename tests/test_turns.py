"""Servers that are asked in turn: what each may take of the time-outs, and who is asked next time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from pybreaker_ext.storage.turns import LEAST, Turns, part_of

if TYPE_CHECKING:
    from collections.abc import Callable

TIMEOUT = 0.25


class Network:
    """Servers called 0, 1, 2 ... and the seconds that have gone by."""

    def __init__(self, servers: int, *, late: float = 0.0) -> None:
        self.now = 100.0
        self.silent: set[int] = set()
        self.refusing: set[int] = set()
        #: Who was asked, and for how long it was waited for.
        self.asked: list[tuple[int, float]] = []
        self.late = late
        self.turns = Turns(range(servers), TIMEOUT, clock=lambda: self.now)

    def answer(self, server: int, part: float) -> str:
        self.asked.append((server, part))
        if server in self.refusing:
            raise RedisConnectionError("refused")
        if server in self.silent:
            self.now += part * TIMEOUT + self.late
            raise RedisTimeoutError("silent")
        return f"from {server}"

    async def answer_async(self, server: int, part: float) -> str:
        await asyncio.sleep(0)
        return self.answer(server, part)


@pytest.fixture(params=["threads", "asyncio"])
def ask(request: pytest.FixtureRequest) -> Callable[[Network], tuple[str, float]]:
    if request.param == "threads":
        return lambda network: network.turns.ask(network.answer)
    return lambda network: asyncio.run(network.turns.ask_async(network.answer_async))


def test_whoever_answers_is_asked_first_next_time(ask: Any) -> None:
    network = Network(4)
    answers = {ask(network) for _ in range(5)}
    assert len(answers) == 1
    assert [left for _, left in answers] == [1.0]


def test_not_everybody_begins_with_the_same_server(ask: Any) -> None:
    assert len({ask(Network(4)) for _ in range(100)}) > 1


@pytest.mark.parametrize(
    ("servers", "parts"),
    [(1, [1]), (2, [0.5, 0.5]), (3, [0.5, 0.25, 0.25]), (5, [0.5, *[0.125] * 4]), (40, [0.5, *[0.125] * 4])],
)
def test_all_silent_ones_together_cost_one_timeout(ask: Any, servers: int, parts: list[float]) -> None:
    network = Network(servers)
    network.silent.update(range(servers))
    began = network.now
    with pytest.raises(RedisTimeoutError):
        ask(network)
    assert network.now - began == pytest.approx(TIMEOUT)
    assert [part for _, part in network.asked] == pytest.approx(parts)


def test_after_some_that_refuse_the_first_has_half_of_the_timeouts_nevertheless(ask: Any) -> None:
    """Over long distances an answer takes long."""
    network = Network(6)
    network.refusing.update({0, 1})
    network.turns.put_first(1)
    network.turns.put_first(0)
    ask(network)
    assert [part for _, part in network.asked] == [0.5] * 3


def test_the_next_attempt_begins_with_those_that_were_not_asked(ask: Any) -> None:
    network = Network(6)
    network.silent.update(range(6))
    with pytest.raises(RedisTimeoutError):
        ask(network)
    (missing,) = set(range(6)) - {server for server, _ in network.asked}
    network.silent.discard(missing)
    network.asked.clear()
    assert ask(network) == (f"from {missing}", 1.0)
    assert network.asked == [(missing, 0.5)]


def test_what_silent_ones_take_is_not_left(ask: Any) -> None:
    network = Network(5)
    network.silent.update(range(4))
    network.turns.put_last(4)
    assert ask(network) == ("from 4", pytest.approx(0.125))


def test_a_machine_that_wakes_up_late_waits_no_longer(ask: Any) -> None:
    network = Network(5, late=0.1)
    network.silent.update(range(5))
    began = network.now
    with pytest.raises(RedisTimeoutError):
        ask(network)
    assert network.now - began <= TIMEOUT + 0.1 + LEAST
    assert len(network.asked) == 2


def test_servers_that_refuse_cost_nothing_and_all_are_asked(ask: Any) -> None:
    network = Network(40)
    network.refusing.update(range(39))
    network.turns.put_last(39)
    assert ask(network) == ("from 39", 1.0)
    assert len(network.asked) == 40


def test_without_a_timeout_each_has_that_of_its_client(ask: Any) -> None:
    network = Network(8)
    network.turns = Turns(range(8), None)
    network.silent.update(range(7))
    network.turns.put_last(7)
    assert ask(network) == ("from 7", 1.0)
    assert {part for _, part in network.asked} == {1.0}


def test_a_name_that_is_no_host_is_no_reason_not_to_ask_the_others(ask: Any) -> None:
    network = Network(2)
    answer = network.answer

    def strange(server: int, part: float) -> str:
        if server == 0:
            raise UnicodeError("label empty or too long")
        return answer(server, part)

    network.answer = strange  # type: ignore[method-assign]
    network.turns.put_last(1)
    assert ask(network)[0] == "from 1"


def test_servers_that_are_heard_of_are_asked_until_they_are_gone(ask: Any) -> None:
    network = Network(1)
    network.refusing.add(0)
    network.turns.know([0, 7])
    assert ask(network)[0] == "from 7"
    network.turns.know([8])
    network.asked.clear()
    assert ask(network)[0] == "from 8"
    assert {server for server, _ in network.asked} <= {0, 8}


def test_a_part_of_the_timeouts() -> None:
    settings = {"socket_timeout": 2.0, "socket_connect_timeout": None, "db": 3}
    assert part_of(settings, 0.25) == {"socket_timeout": 0.5, "socket_connect_timeout": None, "db": 3}
