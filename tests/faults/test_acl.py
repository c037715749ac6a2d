"""The smallest ACL that works is in the documentation, and really is the smallest."""

from __future__ import annotations

import contextlib
import gc
import inspect
import re
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from colours import COLOURS
from moving import moving

import pybreaker_ext
from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import RedisServer

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "redis.md"
#: What is needed besides on a cluster, and while a slot is being moved; of sentinels, which have users of their own.
CLUSTER_TOO, MOVING_TOO, SENTINELS = "+cluster|slots", "+asking", "+sentinel|masters"
PATIENCE = "socket_timeout=10&socket_connect_timeout=10"


def words() -> list[str]:
    """Return what the page's command gives to a user: keys and commands."""
    match = re.search(
        r"redis-cli ACL SETUSER payments on \">secret\" \"(\S+)\" \\\n +((?:\+\w+ ?)+)\n", PAGE.read_text()
    )
    assert match is not None
    return [match[1], *match[2].split()]


COMMANDS = words()[1:]


@dataclass
class Place:
    """Servers with a user that has few rights; `nodes` are where the circuits may be."""

    scheme: str
    hosts: str
    path: str
    nodes: list[RedisServer]
    rights: list[str]
    sentinels: list[RedisServer]

    @property
    def url(self) -> str:
        login = "&sentinel_username=payments&sentinel_password=secret" if self.sentinels else ""
        return f"{self.scheme}://payments:secret@{self.hosts}{self.path}?{PATIENCE}{login}"

    def give(self, *rights: str, of_sentinels: str = SENTINELS) -> None:
        for node in self.nodes:
            set_user(node, *rights)
            with node.client() as client:
                client.script_flush()
        for sentinel in self.sentinels:
            set_user(sentinel, of_sentinels)


def set_user(server: RedisServer, *rights: str) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "payments", "reset", "on", ">secret", *rights)
        client.execute_command("CLIENT", "KILL", "USER", "payments")
        client.execute_command("ACL", "LOG", "RESET")


def refused(servers: list[RedisServer]) -> set[str]:
    """Return the commands that were refused to the user."""
    found: set[str] = set()
    for server in servers:
        with server.client() as client:
            found |= {entry["object"] for entry in client.acl_log() if entry["reason"] == "command"}
    return found


def place_of(kind: str, request: pytest.FixtureRequest) -> Place:
    if kind == "cluster":
        cluster = request.getfixturevalue("redis_cluster")
        cluster.clear()
        hosts = cluster.url.partition("://")[2]
        return Place("redis+cluster", hosts, "", cluster.nodes, [*words(), CLUSTER_TOO], [])
    if kind == "sentinels":
        found = request.getfixturevalue("redis_sentinels")
        found.clear()
        hosts = found.url.partition("://")[2].partition("/")[0]
        return Place("redis+sentinel", hosts, "/main/0", found.servers, words(), found.sentinels)
    server = request.getfixturevalue("redis_server")
    return Place("redis", f"127.0.0.1:{server.port}", "/0", [server], words(), [])


@pytest.fixture(params=["server", "cluster", "sentinels"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    found = place_of(request.param, request)
    yield found
    for server in (*found.nodes, *found.sentinels):
        with server.client() as client:
            client.execute_command("ACL", "DELUSER", "payments")


class Life:
    """All that a breaker does, in one colour.

    Args:
        url: Of the store.
        colour: Of `colours.py`.
        idle: Seconds for which there is nothing to do once.
    """

    def __init__(self, url: str, colour: Any, idle: float = 0.0) -> None:
        self._url = url
        self._colour = colour
        self._idle = idle

    def works(self) -> bool:
        """Tell whether the store took part in all of it, and kept the history."""
        works: bool = self._colour.run(self._works())
        return works

    async def _works(self) -> bool:
        with CircuitBreakerRegistry(self._url, max_staleness=0.0) as registry:  # a failure that is merely counted
            breaker = registry.get("counts")
            await self._call(breaker, fails=True)
            look = await self._do(breaker.snapshot, breaker.snapshot_async)
            if not look.shared or look.fail_counter != 1:
                return False
        settings: dict[str, Any] = {"fail_max": 2, "reset_timeout": 0.01, "success_threshold": 2}
        with CircuitBreakerRegistry(self._url, key_ttl=100, max_staleness=0.0, **settings) as registry:
            breaker = registry.get("claude")
            for _ in range(2):
                await self._cycle(breaker)
                time.sleep(self._idle)  # noqa: ASYNC251  one story for both colours, and nobody else in the loop
            await self._do(lambda: breaker.open(float("inf")), lambda: breaker.open_async(float("inf")))
            await self._call(breaker)
            await self._do(breaker.close, breaker.close_async)
            await self._do(breaker.reset, breaker.reset_async)
            outage: Any = breaker._state_storage.outage
            if outage.epoch:
                return False
            outage.epoch = 1  # as if it had been away: the next command has to write
            await self._call(breaker)
            seen = await self._do(breaker.history, breaker.history_async)
            states = [change.new_state.value for change in seen]
            return outage.epoch == 2 and states == [*2 * ["open", "half-open", "closed"], "open", "closed", "closed"]

    async def is_probed(self, breaker: Any) -> bool:
        """Probe an open circuit until it closes, and tell whether it was the store that was asked."""
        await self._do(breaker.half_open, breaker.half_open_async)
        for _ in range(2):
            await self._call(breaker)
        look = await self._do(breaker.snapshot, breaker.snapshot_async)
        return (look.shared, look.state.value) == (True, "closed")

    async def _cycle(self, breaker: Any) -> None:
        """Calls that succeed and fail, a circuit that opens, probes, a circuit that closes."""
        for fails in (False, True, False, True, True):
            await self._call(breaker, fails=fails)
        while (await self._do(breaker.snapshot, breaker.snapshot_async)).retry_after:
            time.sleep(0.01)  # noqa: ASYNC251  see there
        for _ in range(3):
            await self._call(breaker)

    async def _call(self, breaker: Any, *, fails: bool = False) -> None:
        with contextlib.suppress(ZeroDivisionError, pybreaker_ext.CircuitBreakerError):
            await self._colour.call(breaker, (lambda: 1 / 0) if fails else int)

    async def _do(self, plain: Callable[[], Any], asynchronous: Callable[[], Any]) -> Any:
        found = plain() if self._colour.name == "threads" else asynchronous()
        return await found if inspect.isawaitable(found) else found


@pytest.fixture(params=COLOURS, ids=lambda colour: colour.name)
def colour(request: pytest.FixtureRequest) -> Any:
    return request.param


def test_it_works(place: Place, colour: Any) -> None:
    """Refused is at most what redis-py tells of itself to each server, and goes on without."""
    place.give(*place.rights)
    assert Life(place.url, colour).works()
    assert {word.partition("|")[0] for word in refused([*place.nodes, *place.sentinels])} <= {"client"}


@pytest.mark.parametrize("missing", COMMANDS)
def test_it_does_not_without(place: Place, colour: Any, missing: str) -> None:
    place.give(*(word for word in place.rights if word != missing))
    assert not Life(place.url, colour).works()


@pytest.mark.parametrize("place", ["cluster"], indirect=True)
def test_a_cluster_has_to_tell_its_slots(place: Place, colour: Any) -> None:
    place.give(*(word for word in place.rights if word != CLUSTER_TOO))
    assert not Life(place.url, colour).works()


@pytest.mark.parametrize("place", ["sentinels"], indirect=True)
def test_sentinels_have_to_tell_the_primary(place: Place, colour: Any) -> None:
    place.give(*place.rights, of_sentinels="-@all")
    assert not Life(place.url, colour).works()


@pytest.mark.parametrize("place", ["cluster", "sentinels"], indirect=True)
def test_a_server_that_refuses_to_say_whether_it_answers_has_answered(
    place: Place, colour: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked because one that was asked before was silent."""
    monkeypatch.setattr("pybreaker_ext.storage.turns.random.sample", lambda servers, _number: list(servers))
    place.give(*place.rights)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place.hosts = f"127.0.0.1:{silent.getsockname()[1]},{place.hosts}"
        assert Life(place.url.replace("=10", "=2"), colour).works()
    assert refused(place.nodes) >= {"ping"}


@pytest.mark.parametrize("place", ["server"], indirect=True)
@pytest.mark.parametrize(("missing", "idle"), [("", 1.1), ("+select", 0.0), ("+ping", 1.1)])
def test_another_database_and_health_checks_need_more(place: Place, colour: Any, missing: str, idle: float) -> None:
    """A health check is due when a connection has had nothing to do for that long."""
    place.give(*place.rights, *(word for word in ("+select", "+ping") if word != missing))
    place.path = "/3"
    assert Life(f"{place.url}&health_check_interval=1", colour, idle).works() == (not missing)


@pytest.mark.parametrize("place", ["cluster"], indirect=True)
def test_it_works_while_a_slot_is_moved(request: pytest.FixtureRequest, place: Place, colour: Any) -> None:
    gc.collect()  # free-threaded Pythons may still have the other colour's client, whose store is away
    with moving(request.getfixturevalue("redis_cluster"), "{claude}") as move:
        for rights in ((*place.rights, MOVING_TOO), place.rights):
            place.give(*rights)
            with CircuitBreakerRegistry(place.url, max_staleness=0.0) as registry:
                breaker = registry.get("claude")
                if MOVING_TOO in rights:
                    breaker.open(600)
                    move.begin()
                    move.keys()
                assert colour.run(Life(place.url, colour).is_probed(breaker)) == (MOVING_TOO in rights)


def test_what_is_needed_besides_is_in_the_documentation() -> None:
    (told,) = re.findall(r"^`\+pttl`.*?\n\n", PAGE.read_text(), re.DOTALL | re.MULTILINE)
    assert {word for word in re.findall(r"`(\+\S+)`", told) if word not in COMMANDS} == {
        *(CLUSTER_TOO, MOVING_TOO, SENTINELS, "+select", "+ping", "+get", "+scan"),
    }
