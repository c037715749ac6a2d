"""The smallest ACL that works is in the documentation, and really is the smallest."""

from __future__ import annotations

import asyncio
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from moving import moving

from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from servers import Cluster, RedisServer

PAGE = Path(__file__).parent.parent.parent / "docs" / "how-to" / "redis.md"
CLUSTER_TOO = ("+cluster|slots",)
#: While a slot is being moved.
MOVING_TOO = "+asking"


def words() -> list[str]:
    """Return what the page's command gives to a user: keys and commands."""
    match = re.search(
        r"redis-cli ACL SETUSER payments on \">secret\" \"(\S+)\" \\\n +((?:\+\w+ ?)+)\n", PAGE.read_text()
    )
    assert match is not None
    return [match[1], *match[2].split()]


COMMANDS = words()[1:]


def set_user(server: RedisServer, *rights: str) -> None:
    with server.client() as client:
        client.execute_command("ACL", "SETUSER", "payments", "reset", "on", ">secret", *rights)
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        client.script_flush()


@pytest.fixture
def server(redis_server: RedisServer) -> Iterator[RedisServer]:
    yield redis_server
    with redis_server.client() as client:
        client.execute_command("ACL", "DELUSER", "payments")


async def none() -> None:
    pass


def works(url: str) -> bool:
    """Do all that a breaker does, and tell whether the store took part in all of it, and kept the history."""
    settings: dict[str, Any] = {"fail_max": 1, "reset_timeout": 0.01, "success_threshold": 1, "max_staleness": 0.0}
    with CircuitBreakerRegistry(url, max_staleness=0.0) as registry:  # a failure that is merely counted
        breaker = registry.get("counts")
        with pytest.raises(ZeroDivisionError):
            breaker.call(lambda: 1 / 0)
        if not breaker.snapshot().shared or breaker.fail_counter != 1:
            return False
    with CircuitBreakerRegistry(url, key_ttl=100, **settings) as registry:
        breaker = registry.get("claude")
        breaker.call(int)
        with pytest.raises(Exception, match=r"opened|zero"):
            breaker.call(lambda: 1 / 0)
        until_due(breaker)
        breaker.call(int)
        breaker.open(float("inf"))
        breaker.close()
        breaker.reset()
        breaker.close()
        outage: Any = breaker._state_storage.outage
        if outage.epoch:
            return False
        outage.epoch = 1  # as if it had been away: the next command has to write
        asyncio.run(breaker.call_async(none))
        return outage.epoch == 2 and len(breaker.history()) > 3


def until_due(breaker: Any) -> None:
    while breaker.retry_after:
        time.sleep(0.01)


def test_it_works(server: RedisServer) -> None:
    set_user(server, *words())
    assert works(f"redis://payments:secret@127.0.0.1:{server.port}/0")


@pytest.mark.parametrize("command", COMMANDS)
def test_it_does_not_without(server: RedisServer, command: str) -> None:
    set_user(server, *(word for word in words() if word != command))
    assert not works(f"redis://payments:secret@127.0.0.1:{server.port}/0")


def test_it_works_for_another_database_and_with_health_checks(server: RedisServer) -> None:
    set_user(server, *words(), "+select", "+ping")
    assert works(f"redis://payments:secret@127.0.0.1:{server.port}/3?health_check_interval=1")


@pytest.fixture
def cluster(redis_cluster: Cluster) -> Iterator[Cluster]:
    yield redis_cluster
    for node in redis_cluster.nodes:
        with node.client() as client:
            client.execute_command("ACL", "DELUSER", "payments")


def test_it_works_on_a_cluster(cluster: Cluster) -> None:
    for missing in ("", *CLUSTER_TOO):
        for node in cluster.nodes:
            set_user(node, *words(), *(word for word in CLUSTER_TOO if word != missing))
        assert works(cluster.url.replace("://", "://payments:secret@")) == (not missing), missing


def test_it_works_while_a_slot_is_moved(cluster: Cluster) -> None:
    url = cluster.patient_url.replace("://", "://payments:secret@")
    with moving(cluster, "{claude}") as move, CircuitBreakerRegistry(url, max_staleness=0.0) as registry:
        breaker = registry.get("claude")
        for missing in ("", MOVING_TOO):
            for node in cluster.nodes:
                set_user(node, *words(), *CLUSTER_TOO, *(word for word in (MOVING_TOO,) if word != missing))
            if not missing:
                breaker.open(600)
                move.begin()
                move.keys()
            assert breaker.snapshot().shared == (not missing)
