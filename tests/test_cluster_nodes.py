"""The nodes of a cluster are replaced one after the other, in an orderly way.

Pretended nodes: with real ones that takes half a minute, and what happens to slots, keys and primaries
is tried with those in test_moving_slots.py and test_failover.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Self

import pytest
from redis.crc import key_slot
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import MovedError

from pybreaker_ext.storage.cluster import Cluster

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pybreaker_ext.storage.slots import Address

KEY = b"k"
A, B, C, D = (("10.0.0.1", port) for port in (6379, 6380, 6381, 6382))


class Nodes:
    """A cluster whose slots are all in one place."""

    def __init__(self, *nodes: Address) -> None:
        self.alive = list(nodes)
        self.owner = nodes[0]
        self.asked = 0

    def become(self, *nodes: Address) -> None:
        self.alive, self.owner = list(nodes), nodes[0]

    def answer(self, node: Address, words: tuple[Any, ...]) -> Any:
        if node not in self.alive:
            raise RedisConnectionError(f"{node} is gone")
        if words[0] == "CLUSTER SLOTS":
            self.asked += 1
            others = [each for each in self.alive if each != self.owner]
            return [[0, 16_383, *([host.encode(), port, b"id"] for host, port in (self.owner, *others))]]
        if node != self.owner:
            raise MovedError(f"{key_slot(KEY)} {self.owner[0]}:{self.owner[1]}")
        return b"done"


class Client:
    """A client of one node, for threads."""

    def __init__(self, nodes: Nodes, address: Address) -> None:
        self.nodes, self.address = nodes, address
        self.connected = True
        self.connection_pool = self
        self._available_connections = [self]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def execute_command(self, *words: Any) -> Any:
        return self.nodes.answer(self.address, words)

    def disconnect(self, *, inuse_connections: bool) -> None:
        assert not inuse_connections
        self.connected = False
        raise OSError("it says nothing any more")


class AsyncClient(Client):
    """A client of one node, for asyncio."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def execute_command(self, *words: Any) -> Any:
        return super().execute_command(*words)

    async def disconnect(self, *, nowait: bool) -> None:
        assert nowait
        self.connected = False
        raise TimeoutError("it says nothing any more")


class Way:
    """Our way to the nodes, in one colour."""

    def __init__(self, colour: str, nodes: Nodes) -> None:
        kind = {"threads": Client, "asyncio": AsyncClient}[colour]
        self.colour = colour
        self.made: list[Any] = []

        def make(address: Address, _settings: Mapping[str, Any]) -> Any:
            self.made.append(kind(nodes, address))
            return self.made[-1]

        self.now = 100.0
        self.cluster = Cluster(nodes.alive, {}, make, timeout=0.25, clock=lambda: self.now)

    def run(self) -> Any:
        """Return what comes of a command, seconds later than the one before."""
        self.now += 10
        return self.run_now()

    def run_now(self) -> Any:
        if self.colour == "threads":
            return self.cluster.run(contextlib.nullcontext, "", [KEY], [])
        return asyncio.run(self.cluster.run_async(contextlib.nullcontext, "", [KEY], []))

    def run_again(self) -> Any:
        """Return what comes of it when the first attempt may fail."""
        with contextlib.suppress(RedisConnectionError):
            self.run()
        return self.run()


@pytest.fixture(params=["threads", "asyncio"])
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_those_that_have_joined_are_known_when_all_others_are_gone(colour: str) -> None:
    nodes = Nodes(A, B)
    way = Way(colour, nodes)
    assert way.run() == b"done"
    for some in ((C, D, A, B), (C, D), (D,)):
        nodes.become(*some)
        assert way.run_again() == b"done", some


def test_a_move_is_asked_about_once(colour: str) -> None:
    nodes = Nodes(A, B)
    way = Way(colour, nodes)
    way.run()
    nodes.become(B, A)
    for _ in range(3):
        way.run()
    assert nodes.asked == 2


def test_moves_one_after_the_other_are_asked_about_once_a_second(colour: str) -> None:
    nodes = Nodes(A, B)
    way = Way(colour, nodes)
    way.run()
    for _ in range(10):
        nodes.become(*reversed(nodes.alive))
        way.run_now()
        way.now += 0.25
    assert nodes.asked == 3


def test_who_has_been_told_of_a_move_that_others_know_does_not_ask_again(colour: str) -> None:
    nodes = Nodes(A, B)
    way = Way(colour, nodes)
    way.run()
    nodes.become(B, A)
    way.run()
    way.cluster._note_move(A, MovedError(f"{key_slot(KEY)} {B[0]}:{B[1]}"))
    way.run()
    assert nodes.asked == 2


def test_those_that_have_left_keep_no_connections_and_are_forgotten(colour: str) -> None:
    nodes = Nodes(A)
    way = Way(colour, nodes)
    way.run()
    for port in range(7_000, 7_100):
        nodes.become(("10.0.0.2", port), nodes.owner)
        way.run()
        nodes.become(nodes.owner)
    kept = way.cluster.clients.all()
    assert len(kept) < 10
    assert sum(client.connected for client in kept) < 5


def test_one_that_comes_back_is_used_again(colour: str) -> None:
    nodes = Nodes(A, B)
    way = Way(colour, nodes)
    for some in ((A, B), (B,), (A, B), (B,), (A,)):
        nodes.become(*some)
        assert way.run_again() == b"done", some
