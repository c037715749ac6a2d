"""The log of a circuit's changes: complete, bounded, written in the step that makes the change."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pybreaker
import pytest
import redis
import servers

from pybreaker_ext import (
    CircuitBreaker,
    CircuitBreakerRegistry,
    CircuitMemoryStorage,
    CircuitRedisStorage,
    CircuitSQLiteStorage,
    StoreUnavailableError,
    Transition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

ME = f"{socket.gethostname()}:{os.getpid()}"

Make = "Callable[..., Any]"


@pytest.fixture(params=["memory", "sqlite", "redis", "redis, decoded", "fakeredis"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Make]:
    """Return what makes a storage of the one circuit of this test; memory's are each their own."""
    if request.param == "memory":
        yield CircuitMemoryStorage
    elif request.param == "sqlite":
        yield lambda **settings: CircuitSQLiteStorage(tmp_path / "circuits.db", "claude", **settings)
    elif request.param == "fakeredis":
        import fakeredis

        client: Any = fakeredis.FakeRedis()
        yield lambda **settings: CircuitRedisStorage("closed", client, "claude", **settings)
    else:
        server = request.getfixturevalue("redis_server")
        with server.client(decode_responses="decoded" in request.param) as client:
            yield lambda **settings: CircuitRedisStorage("closed", client, "claude", **settings)


def fail() -> None:
    raise ZeroDivisionError


def attempt(breaker: CircuitBreaker, function: Callable[[], Any]) -> None:
    with contextlib.suppress(ZeroDivisionError, pybreaker.CircuitBreakerError):
        breaker.call(function)


def told(breaker: CircuitBreaker, limit: int = 100) -> list[tuple[str, str, str]]:
    return [(change.old_state, change.new_state, change.reason) for change in breaker.history(limit)]


def test_a_trip_a_probe_and_a_close(storage: Make) -> None:
    breaker = CircuitBreaker(fail_max=1, reset_timeout=0, state_storage=storage())
    assert breaker.history() == []
    attempt(breaker, fail)
    attempt(breaker, int)
    assert told(breaker) == [
        ("closed", "open", "failures"),
        ("open", "half-open", "failures"),
        ("half-open", "closed", ""),
    ]
    assert {change.worker for change in breaker.history()} == {ME}


def test_what_is_done_by_hand(storage: Make) -> None:
    breaker = CircuitBreaker(state_storage=storage())
    breaker.open()
    breaker.open(5)
    breaker.half_open()
    breaker.close()
    breaker.reset()
    assert told(breaker) == [
        ("closed", "open", "manual"),
        ("open", "open", "manual"),
        ("open", "half-open", "manual"),
        ("half-open", "closed", "manual"),
        ("closed", "closed", "manual"),
    ]


def test_a_hold(storage: Make) -> None:
    breaker = CircuitBreaker(hold_for=lambda error: 30, state_storage=storage())
    attempt(breaker, fail)
    assert told(breaker) == [("closed", "open", "hold")]


def test_what_changes_no_state_leaves_no_trace(storage: Make) -> None:
    breaker = CircuitBreaker(state_storage=storage(), max_staleness=0.0)
    for function in (int, fail, fail, int):
        attempt(breaker, function)
    assert breaker.history() == []


def test_the_last_ones_the_oldest_first(storage: Make) -> None:
    breaker = CircuitBreaker(state_storage=storage())
    breaker.open()
    breaker.half_open()
    breaker.close()
    assert told(breaker, 2) == [("open", "half-open", "manual"), ("half-open", "closed", "manual")]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_it_is_bounded(storage: Make, limit: int) -> None:
    breaker = CircuitBreaker(state_storage=storage(history=limit))
    for number in range(12):
        (breaker.open if number % 2 else breaker.close)()
    assert len(breaker.history()) == limit
    assert breaker.history()[-1].new_state == "open"


def test_none_is_kept(storage: Make) -> None:
    breaker = CircuitBreaker(state_storage=storage(history=0))
    breaker.open()
    assert breaker.history() == []


def test_a_worker_has_the_name_that_it_is_given(storage: Make) -> None:
    breaker = CircuitBreaker(state_storage=storage(worker="api 7 (blue)"))
    breaker.open()
    assert breaker.history()[0].worker == "api 7 (blue)"


def test_time_is_the_stores(storage: Make) -> None:
    breaker = CircuitBreaker(state_storage=storage())
    breaker.open()
    snapshot = breaker.snapshot()
    assert breaker.history()[0].at == snapshot.opened_at


def test_in_asyncio(storage: Make) -> None:
    breaker = CircuitBreaker(state_storage=storage())

    async def main() -> list[Transition]:
        await breaker.open_async()
        return await breaker.history_async()

    (change,) = asyncio.run(main())
    assert (change.old_state, change.new_state) == ("closed", "open")


def test_pybreakers_own_setters_are_changes(storage: Make) -> None:
    kept = storage()
    breaker = CircuitBreaker(state_storage=kept, max_staleness=0.0)
    breaker.call(int)
    kept.state = "open"
    attempt(breaker, int)
    assert next(change[:2] for change in told(breaker)) == ("closed", "open")


@pytest.mark.parametrize(
    ("settings", "error", "message"),
    [
        ({"history": -1}, ValueError, "history must be a whole number of 0 to 1,000,000, not -1"),
        ({"history": 1_000_001}, ValueError, "history must be"),
        ({"history": "1"}, TypeError, "history must be"),
        ({"history": True}, TypeError, "history must be"),
        ({"worker": ""}, ValueError, "worker must have 1 to 200 printable characters, not ''"),
        ({"worker": "a\nb"}, ValueError, "worker must have"),
        ({"worker": "x" * 201}, ValueError, "worker must have"),
        ({"worker": 7}, TypeError, "worker must be a text or None, not 7"),
    ],
)
def test_bad_arguments(storage: Make, settings: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        storage(**settings)


@pytest.mark.parametrize(("limit", "error"), [(0, ValueError), (-1, ValueError), ("1", TypeError), (1.5, TypeError)])
def test_bad_limits(storage: Make, limit: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="limit must be"):
        CircuitBreaker(state_storage=storage()).history(limit)


def test_a_storage_that_keeps_none() -> None:
    class Plain(pybreaker.CircuitMemoryStorage):
        pass

    breaker = CircuitBreaker(state_storage=Plain("closed"))
    breaker.open()
    assert breaker.history() == []
    assert asyncio.run(breaker.history_async()) == []


def test_by_name(redis_server: servers.RedisServer) -> None:
    with CircuitBreakerRegistry(redis_server.patient_url, history=1, worker="me") as registry:
        breaker = registry.get("claude")
        breaker.open()
        breaker.close()
        assert [(change.new_state, change.worker) for change in breaker.history()] == [("closed", "me")]


def test_a_fork_has_a_name_of_its_own(redis_server: servers.RedisServer) -> None:
    from test_forks import in_child

    with CircuitBreakerRegistry(redis_server.patient_url) as registry:
        breaker = registry.get("claude")
        breaker.open()
        in_child(breaker.close)
        first, second = breaker.history()
        assert first.worker == ME
        assert second.worker.partition(":")[0] == ME.partition(":")[0]
        assert second.worker != ME


def test_while_the_store_is_away_it_is_this_processs_own() -> None:
    with servers.running_redis() as server:
        with CircuitBreakerRegistry(server.patient_url, max_staleness=0.0, fail_max=1) as registry:
            breaker = registry.get("claude")
            breaker.open()
            server.kill()
            attempt(breaker, int)
            attempt(breaker, fail)
            assert told(breaker) == [("closed", "open", "failures")]
            assert [change.new_state for change in asyncio.run(breaker.history_async())] == ["open"]


class TestAStoreThatCantBeRead:
    """No changes would be an answer. The breaker itself finds out by its next decision."""

    def test_redis(self) -> None:
        with servers.running_redis() as server:
            with CircuitBreakerRegistry(server.url, max_staleness=0.0) as registry:
                breaker = registry.get("claude")
                breaker.open()
                server.kill()
                for read in (breaker.history, lambda: asyncio.run(breaker.history_async())):
                    with pytest.raises(StoreUnavailableError, match="the history can't be read now") as caught:
                        read()
                    assert isinstance(caught.value.__cause__, redis.ConnectionError)
                attempt(breaker, int)
                assert breaker.history() == []

    def test_redis_whose_connections_are_all_taken(self, redis_server: servers.RedisServer) -> None:
        class Own(redis.Redis):
            def execute_command(self, *args: Any, **options: Any) -> Any:
                return super().execute_command(*args, **options)

        with Own(port=redis_server.port, max_connections=1) as client:
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"))
            breaker.open()
            taken = client.connection_pool.get_connection()
            with pytest.raises(StoreUnavailableError, match="the history can't be read now"):
                breaker.history()
            client.connection_pool.release(taken)
            assert told(breaker) == [("closed", "open", "manual")]

    def test_sqlite(self, tmp_path: Path) -> None:
        breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "none" / "circuits.db", "n"))
        for read in (breaker.history, lambda: asyncio.run(breaker.history_async())):
            with pytest.raises(StoreUnavailableError, match="the history can't be read now: unable to open"):
                read()
        attempt(breaker, int)
        assert breaker.history() == []


class TestRedis:
    def test_a_change_costs_no_more_commands(self, redis_server: servers.RedisServer) -> None:
        with redis_server.client() as client:
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"))
            breaker.close()
            client.config_resetstat()
            breaker.open()
            sent = client.info("commandstats")
            assert sent["cmdstat_evalsha"]["calls"] == 1
            assert sent["cmdstat_xadd"]["calls"] == 1  # within it

    def test_what_plain_pybreaker_does_is_told_by_the_first_of_us_who_notices(
        self, redis_server: servers.RedisServer
    ) -> None:
        with redis_server.client() as client:
            ours = [
                CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"), max_staleness=0.0)
                for _ in range(3)
            ]
            for breaker in ours:
                breaker.call(int)
            theirs = pybreaker.CircuitBreaker(
                fail_max=1, state_storage=pybreaker.CircuitRedisStorage("closed", client, namespace="n")
            )
            attempt(theirs, fail)  # type: ignore[arg-type]
            for breaker in ours:
                attempt(breaker, int)
            assert [(c.old_state, c.new_state, c.reason, c.worker) for c in ours[0].history()] == [
                ("closed", "open", "", "")
            ]

    @pytest.mark.parametrize("garbage", ["string", "entries"])
    def test_garbage_harms_nothing(self, redis_server: servers.RedisServer, garbage: str) -> None:
        with redis_server.client() as client:
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"))
            if garbage == "string":
                client.set("n:pybreaker:history", "x")
            else:
                client.xadd("n:pybreaker:history", {"at": "soon", b"\xff": b"\xff"})
                client.xadd("n:pybreaker:history", {"at": "1", "from": "x", "to": "open"})
            breaker.open()
            assert breaker.current_state == "open"
            assert [change.new_state for change in breaker.history()] == ([] if garbage == "string" else ["open"])

    def test_it_expires_with_the_circuit(self, redis_server: servers.RedisServer) -> None:
        with redis_server.client() as client:
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n", key_ttl=60))
            breaker.open(5)
            assert 0 < client.pttl("n:pybreaker:history") <= 65_000

    def test_on_a_cluster(self, redis_cluster: servers.Cluster) -> None:
        with CircuitBreakerRegistry(redis_cluster.url) as registry:
            breaker = registry.get("history/claude")
            breaker.reset()
            breaker.open()
            assert told(breaker)[-1] == ("closed", "open", "manual")


def test_a_file_of_before_gets_its_table(tmp_path: Path) -> None:
    path = tmp_path / "circuits.db"
    breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(path, "n"))
    breaker.open()
    del breaker
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TABLE circuit_changes")
    connection.close()
    breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(path, "n"))
    assert breaker.current_state == "open"
    breaker.close()
    assert told(breaker) == [("open", "closed", "manual")]


WORKER = """
import sys
import structlog
from pybreaker_ext import CircuitBreakerRegistry, CircuitBreakerError
from pybreaker_ext.listeners import StructlogListener

logger = structlog.wrap_logger(structlog.PrintLogger(), processors=[structlog.processors.JSONRenderer()])

class Listener:
    def state_change(self, cb, old_state, new_state):
        print(old_state.name, new_state.name, new_state.snapshot.reason, flush=True)

registry = CircuitBreakerRegistry(sys.argv[1], fail_max=8)
breaker = registry.get("claude", listeners=[Listener(), StructlogListener(logger)])

def fail():
    raise ZeroDivisionError

print("ready", flush=True)
sys.stdin.readline()
try:
    breaker.call(fail)
except (ZeroDivisionError, CircuitBreakerError):
    pass
sys.stdin.readline()
try:
    breaker.call(int)
except CircuitBreakerError:
    pass
"""


def test_one_trip_of_eight_workers_is_one_entry_and_each_tells_it_once(redis_server: servers.RedisServer) -> None:
    command = [sys.executable, "-c", WORKER, redis_server.patient_url]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    try:
        for worker in workers:
            assert worker.stdout is not None
            assert worker.stdout.readline() == "ready\n"
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("\n")
            worker.stdin.flush()
        with CircuitBreakerRegistry(redis_server.patient_url) as registry:
            breaker = registry.get("claude")
            from fleet import until

            until(lambda: breaker.current_state == "open", pause=0.01)
            outputs = [worker.communicate("\n", timeout=60)[0] for worker in workers]
            lines = [output.splitlines() for output in outputs]
            assert [[line for line in each if line.startswith("closed")] for each in lines] == [
                ["closed open failures"]
            ] * 8
            logged = [[json.loads(line) for line in each if line.startswith("{")] for each in lines]
            changes = [
                [(event["new_state"], event["reason"]) for event in each if event["event"].endswith("state_change")]
                for each in logged
            ]
            assert changes == [[("open", "failures")]] * 8
            (entry,) = breaker.history()
            assert (entry.old_state, entry.new_state, entry.reason) == ("closed", "open", "failures")
            assert entry.worker in {f"{socket.gethostname()}:{worker.pid}" for worker in workers}
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
