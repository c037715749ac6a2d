"""The store goes away, hangs, refuses, comes back: no caller sees an error, and the circuit still protects."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
import shutil
import sqlite3
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import redis
import servers
from fleet import until
from redis.backoff import NoBackoff
from redis.retry import Retry

import pybreaker_ext
from pybreaker_ext import CircuitBreaker, CircuitBreakerError, CircuitRedisStorage, CircuitSQLiteStorage
from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.machine import Event, Policy
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.outage import LOST_ATTEMPT, RETRY_INTERVAL, Outage, StandIn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybreaker_ext.machine import Decision


#: Asks the store for each decision.
strict = functools.partial(CircuitBreaker, max_staleness=0.0)


class BackendError(Exception):
    pass


def fail() -> None:
    raise BackendError


@contextlib.contextmanager
def without_rights(directory: Path) -> Iterator[None]:
    """Let nobody write there; root, who may write everywhere, becomes nobody meanwhile."""
    for path in (directory, *directory.iterdir()):
        path.chmod(0o555)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(user)
        directory.chmod(0o700)


class FlakyStore:
    """A shared circuit that can be taken away, and counts how often it is asked."""

    def __init__(self, fallback: str = "closed") -> None:
        self.now = 100.0
        self.away = False
        self.asked = 0
        self.shared = CircuitMemoryStorage()
        self.outage = Outage("the store", lambda: self.now)
        self.stand_in = StandIn(self.outage, fallback)  # and `outage` is what a breaker looks at

    def attempt(self, event: Event, policy: Policy) -> Decision:
        self.asked += 1
        if self.away:
            raise StoreUnavailableError("away")
        return self.shared.apply(event, policy)

    def apply(self, event: Event, policy: Policy) -> Decision:
        return self.stand_in.apply(self.attempt, event, policy)

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        return self.apply(event, policy)


def outcome(breaker: CircuitBreaker, function: Any) -> str:
    return came_to(lambda: breaker.call(function))


def outcome_async(breaker: CircuitBreaker, function: Any) -> str:
    return came_to(lambda: asyncio.run(breaker.call_async(function)))


def came_to(call: Callable[[], Any]) -> str:
    """Return in a word what a call comes to."""
    try:
        call()
    except CircuitBreakerError as error:
        return "tripped" if error.__cause__ else "rejected"
    except BackendError:
        return "failed"
    return "ok"


both_colours = pytest.mark.parametrize("ended", [outcome, outcome_async], ids=["threads", "asyncio"])


class TestStandIn:
    def test_counts_and_trips_locally(self) -> None:
        store = FlakyStore()
        breaker = strict(fail_max=2, state_storage=store)
        store.away = True
        assert [outcome(breaker, f) for f in (int, fail, fail, int)] == ["ok", "failed", "tripped", "rejected"]
        assert breaker.snapshot().shared is False

    def test_open_rejects_until_the_store_is_back(self) -> None:
        store = FlakyStore("open")
        breaker = strict(state_storage=store)
        store.away = True
        with pytest.raises(CircuitBreakerError) as caught:
            breaker.call(int)
        assert 0 < caught.value.retry_after <= RETRY_INTERVAL
        store.away = False
        assert outcome(breaker, int) == "rejected"
        store.now += RETRY_INTERVAL
        assert outcome(breaker, int) == "ok"

    def test_the_store_is_tried_once_a_second(self) -> None:
        store = FlakyStore()
        breaker = strict(state_storage=store)
        store.away = True
        for _ in range(100):
            assert outcome(breaker, int) == "ok"
        assert store.asked == 1
        for second in range(2, 6):
            store.now += RETRY_INTERVAL
            for _ in range(10):
                outcome(breaker, int)
            assert store.asked == second

    def test_by_one_caller_at_a_time_and_others_do_not_wait(self) -> None:
        store = FlakyStore()
        breaker = strict(state_storage=store)
        store.away = True
        outcome(breaker, int)
        store.now += RETRY_INTERVAL
        trying, answer = threading.Event(), threading.Event()

        def slow(event: Event, policy: Policy) -> Decision:
            store.asked += 1
            trying.set()
            assert answer.wait(30)
            raise StoreUnavailableError("still away")

        store.attempt = slow  # type: ignore[method-assign]
        first = threading.Thread(target=outcome, args=(breaker, int))
        first.start()
        assert trying.wait(30)
        assert [outcome(breaker, int) for _ in range(50)] == ["ok"] * 50
        assert store.asked == 2
        answer.set()
        first.join()

    def test_the_shared_record_rules_again(self) -> None:
        store = FlakyStore()
        breaker = strict(fail_max=1, state_storage=store)
        store.away = True
        outcome(breaker, fail)
        assert breaker.current_state == "open"
        store.away = False
        store.now += RETRY_INTERVAL
        assert outcome(breaker, int) == "ok"
        assert (breaker.current_state, breaker.snapshot().shared) == ("closed", True)

    def test_each_outage_begins_anew(self) -> None:
        store = FlakyStore()
        breaker = strict(fail_max=1, state_storage=store)
        for _ in range(3):
            store.away = True
            assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]
            store.away = False
            store.now += RETRY_INTERVAL
            assert outcome(breaker, int) == "ok"

    def test_a_circuit_that_was_not_answered_counts_on(self) -> None:
        """Another one, on a node that is well, has ended the outage and begun the next."""
        store = FlakyStore()
        breaker = strict(fail_max=3, state_storage=store)
        store.away = True
        assert [outcome(breaker, fail), outcome(breaker, fail)] == ["failed", "failed"]
        store.outage.succeeded(1)
        assert [outcome(breaker, fail), outcome(breaker, int)] == ["tripped", "rejected"]

    def test_a_permit_counts_only_where_it_was_issued(self) -> None:
        store = FlakyStore()
        breaker = strict(fail_max=2, state_storage=store)

        def store_goes() -> None:
            store.away = True
            fail()

        def store_comes() -> None:
            store.away = False
            store.now += RETRY_INTERVAL
            fail()

        assert outcome(breaker, store_goes) == "failed"
        assert breaker.fail_counter == 0  # the stand-in's
        assert outcome(breaker, store_comes) == "failed"
        assert (breaker.fail_counter, breaker.snapshot().shared) == (0, True)  # the store's

    def test_a_shared_permit_outlives_the_outage(self) -> None:
        store = FlakyStore()
        breaker = strict(fail_max=2, state_storage=store)

        def outage_meanwhile() -> None:
            store.away = True
            outcome(breaker, int)
            store.away = False
            store.now += RETRY_INTERVAL
            outcome(breaker, int)
            fail()

        assert outcome(breaker, outage_meanwhile) == "failed"
        assert breaker.fail_counter == 1

    def test_a_result_is_not_lost_when_its_report_is(self) -> None:
        store = FlakyStore()
        breaker = strict(state_storage=store)

        def store_goes() -> str:
            store.away = True
            return "result"

        assert breaker.call(store_goes) == "result"
        store.away, store.now = False, store.now + RETRY_INTERVAL
        assert asyncio.run(breaker.call_async(store_goes)) == "result"

    def test_one_warning_and_one_info_line(self, caplog: pytest.LogCaptureFixture) -> None:
        store = FlakyStore()
        breaker = strict(state_storage=store)
        with caplog.at_level(logging.INFO, "pybreaker_ext"):
            store.away = True
            for _ in range(50):
                outcome(breaker, int)
                store.now += 0.1
            store.away = False
            store.now += RETRY_INTERVAL
            for _ in range(50):
                outcome(breaker, int)
        assert [(record.levelname, record.message.split(":")[0]) for record in caplog.records] == [
            ("WARNING", "The circuit breakers' store is away, each process decides by itself"),
            ("INFO", "The circuit breakers' store is back after 6.0 s"),
        ]

    def test_a_stop_in_the_attempt_gives_the_turn_back(self) -> None:
        store = FlakyStore()
        breaker = strict(state_storage=store)
        store.away = True
        outcome(breaker, int)
        store.now += RETRY_INTERVAL
        attempt = store.attempt

        def stopped(event: Event, policy: Policy) -> Decision:
            raise KeyboardInterrupt

        store.attempt = stopped  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            breaker.call(int)
        store.attempt = attempt  # type: ignore[method-assign]
        store.away = False
        outcome(breaker, int)
        assert breaker.snapshot().shared

    def test_a_stop_where_nothing_can_note_it_costs_half_a_minute(self) -> None:
        """A signal handler's exception between two instructions of ours, say."""
        store = FlakyStore()
        breaker = strict(state_storage=store)
        store.away = True
        outcome(breaker, int)
        store.now += RETRY_INTERVAL
        assert store.outage.begin() == 1  # and nobody ever ends it
        store.away = False
        store.now += LOST_ATTEMPT - 0.1
        outcome(breaker, int)
        assert not breaker.snapshot().shared
        store.now += 0.1
        outcome(breaker, int)
        assert breaker.snapshot().shared

    def test_late_news_of_an_outage_that_is_over_start_no_other(self) -> None:
        store = FlakyStore()
        breaker = strict(state_storage=store)
        slow = store.outage.begin()
        store.away = True
        outcome(breaker, int)
        store.away = False
        store.now += RETRY_INTERVAL
        outcome(breaker, int)
        store.outage.failed(slow, StoreUnavailableError("late"))
        assert breaker.snapshot().shared

    def test_a_late_answer_of_before_does_not_make_the_stand_in_forget(self) -> None:
        """Some commands were answered, though late, and others were not: the store is away, and its answers are old."""
        store = FlakyStore()
        breaker = strict(fail_max=1, state_storage=store)
        attempt = store.attempt

        def slow(event: Event, policy: Policy) -> Decision:
            decision = attempt(event, policy)
            store.attempt, store.away = attempt, True  # type: ignore[method-assign]
            assert [outcome(breaker, f) for f in (fail, fail, int)] == ["tripped", "rejected", "rejected"]
            return decision

        store.attempt = slow  # type: ignore[method-assign]
        assert outcome(breaker, int) == "ok"
        assert outcome(breaker, int) == "rejected"

    def test_what_goes_away_while_somebody_looks_is_not_tried_by_that_one(self) -> None:
        """Without a GIL, another thread's news may come between any two looks."""

        class Looked(Outage):
            """Goes away just after it was looked at."""

            @property
            def epoch(self) -> int:  # type: ignore[override]  an attribute, of which each look shall be seen
                seen, self.seen = self.seen, 1
                return seen

            @epoch.setter
            def epoch(self, number: int) -> None:
                self.seen = number

        assert Looked("the store").begin() == 0

    def test_an_answer_while_the_store_goes_away_does_not_make_the_stand_in_forget(self) -> None:
        class Looked(Outage):
            """Goes away just after it was looked at, in another thread."""

            def __getattribute__(self, name: str) -> Any:
                found = super().__getattribute__(name)
                if name == "epoch" and going:
                    gone.append(going.pop())
                    gone[0].start()
                    gone[0].join(0.2)
                return found

        going: list[threading.Thread] = []
        gone: list[threading.Thread] = []
        store = FlakyStore()
        breaker = strict(state_storage=store)
        store.away = True
        assert outcome(breaker, fail) == "failed"
        store.now += RETRY_INTERVAL
        epoch = store.outage.succeeded(store.outage.begin())  # another circuit's caller
        answer = store.shared.apply(Event("read"), Policy())
        store.outage.__class__ = Looked
        going.append(threading.Thread(target=outcome, args=(breaker, fail)))
        store.stand_in._answered(epoch, answer)
        gone[0].join()
        assert breaker.fail_counter == 1

    def test_an_error_that_cannot_be_told_is_told_by_its_name(self, caplog: pytest.LogCaptureFixture) -> None:
        class HostileError(Exception):
            def __str__(self) -> str:
                raise RuntimeError("no")

        def fails(storage: Any) -> str:
            raise HostileError

        class Raising(pybreaker_ext.CircuitBreakerStorage):
            state = property(fails)

        assert outcome(strict(state_storage=Raising("raising")), int) == "ok"
        assert "(HostileError)" in caplog.text

    def test_listeners_hear_of_changes_in_order_through_an_outage(self) -> None:
        store = FlakyStore()
        told: list[tuple[str, str]] = []

        class Listener(pybreaker_ext.CircuitBreakerListener):
            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                told.append((old_state.name, new_state.name))

        breaker = strict(fail_max=1, state_storage=store, listeners=[Listener()])
        outcome(breaker, fail)
        store.away = True
        outcome(breaker, int)
        outcome(breaker, fail)
        store.away = False
        store.now += RETRY_INTERVAL
        breaker.close()
        assert told == [("closed", "open"), ("open", "closed"), ("closed", "open"), ("open", "closed")]


class TestRedisAway:
    @pytest.fixture
    def server(self) -> Iterator[servers.RedisServer]:
        if servers.redis_server_program() is None and not servers.missing_server_is_a_failure():
            pytest.skip("no redis-server")
        with servers.running_redis() as server:
            yield server

    @pytest.fixture
    def client(self, server: servers.RedisServer) -> Iterator[redis.Redis]:
        """As we make them from URLs."""
        with server.client(socket_timeout=0.25, socket_connect_timeout=0.25) as client:
            yield client

    @pytest.fixture
    def breaker(self, client: redis.Redis) -> Iterator[CircuitBreaker]:
        storage = CircuitRedisStorage("closed", client, "n")
        yield strict(fail_max=2, state_storage=storage)
        storage._link._own.close()

    def back(self, breaker: CircuitBreaker) -> None:
        until(lambda: outcome(breaker, int) and breaker.snapshot().shared)

    def test_killed_and_back_empty(self, server: servers.RedisServer, breaker: CircuitBreaker) -> None:
        assert outcome(breaker, fail) == "failed"
        server.kill()
        assert [outcome(breaker, f) for f in (int, fail, fail, int)] == ["ok", "failed", "tripped", "rejected"]
        server.start()
        self.back(breaker)
        assert [outcome(breaker, f) for f in (int, fail, fail, int)] == ["ok", "failed", "tripped", "rejected"]
        assert breaker.snapshot().shared

    def test_hangs(self, server: servers.RedisServer, breaker: CircuitBreaker) -> None:
        outcome(breaker, int)
        server.pause()
        assert [outcome(breaker, f) for f in (int, fail, fail, int)] == ["ok", "failed", "tripped", "rejected"]
        server.resume()
        self.back(breaker)
        assert outcome(breaker, int) == "ok"

    @pytest.fixture
    def holding(self, breaker: CircuitBreaker) -> CircuitBreaker:
        """Another one of the same circuit, whose failures are holds."""
        return strict(hold_for=lambda _: 600, state_storage=breaker._state_storage)

    def test_a_hold_from_before_is_forgotten_meanwhile_and_rules_again(
        self, server: servers.RedisServer, holding: CircuitBreaker
    ) -> None:
        assert [outcome(holding, f) for f in (fail, int)] == ["failed", "rejected"]
        server.pause()
        assert [outcome(holding, f) for f in (int, int)] == ["ok", "ok"]
        server.resume()
        self.back(holding)
        look = holding.snapshot()
        assert (look.state, look.reason, outcome(holding, int)) == ("open", "hold", "rejected")
        assert 0 < look.retry_after <= 600

    def test_a_hold_that_is_told_meanwhile_ends_with_it(
        self, server: servers.RedisServer, holding: CircuitBreaker
    ) -> None:
        outcome(holding, int)
        server.pause()
        assert [outcome(holding, f) for f in (fail, int)] == ["failed", "rejected"]
        assert (holding.snapshot().reason, holding.snapshot().shared) == ("hold", False)
        server.resume()
        self.back(holding)
        assert (holding.current_state, outcome(holding, int)) == ("closed", "ok")

    def test_dead_from_the_beginning(self) -> None:
        client = redis.Redis(port=servers.free_port(), retry=Retry(NoBackoff(), 0))
        breaker = strict(fail_max=1, state_storage=CircuitRedisStorage("closed", client))
        assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]

    def test_redis_pys_own_retries_do_not_lengthen_it(self, caplog: pytest.LogCaptureFixture) -> None:
        """With its default of ten retries a refused port costs seconds: ten connections, with pauses."""
        client = redis.Redis(port=servers.free_port())
        storage = CircuitRedisStorage("closed", client)
        attempts = 0
        own = storage._link

        class Counting(redis.Connection):
            def _connect(self) -> Any:
                nonlocal attempts
                attempts += 1
                return super()._connect()

        client.connection_pool.connection_class = Counting
        assert outcome(strict(state_storage=storage), int) == "ok"
        assert own.outage.epoch == 1
        assert attempts == 1

    @pytest.mark.parametrize(
        "command",
        [("config", "set", "maxmemory", "1"), ("script", "flush"), ("flushall",), ("client", "kill", "type", "normal")],
        ids=" ".join,
    )
    def test_servers_whims(
        self, server: servers.RedisServer, breaker: CircuitBreaker, command: tuple[str, ...]
    ) -> None:
        outcome(breaker, int)
        with server.client() as admin:
            admin.execute_command(*command)
        assert [outcome(breaker, f) for f in (int, int, fail)] == ["ok", "ok", "failed"]

    @both_colours
    def test_a_server_that_takes_no_writes_is_away_until_it_does(
        self, ended: Any, server: servers.RedisServer, breaker: CircuitBreaker, caplog: pytest.LogCaptureFixture
    ) -> None:
        """A closed circuit's asks only read. They must not end the outage, or nothing would ever trip."""
        ended(breaker, int)
        outage = breaker._state_storage._link.outage
        with server.client() as admin, caplog.at_level(logging.INFO, "pybreaker_ext"):
            admin.config_set("maxmemory", "1")
            ended(breaker, fail)
            seen = []
            for _ in range(4):
                outage._next_try = 0.0  # a second later
                seen.append(ended(breaker, fail))
            assert seen == ["failed", "tripped", "rejected", "rejected"]
            assert len(caplog.records) == 1
            admin.config_set("maxmemory", "0")
            outage._next_try = 0.0
            assert ended(breaker, int) == "ok"
            assert breaker.snapshot().shared
            assert len(caplog.records) == 2

    def test_also_while_there_is_no_record_and_somebody_only_looks(
        self, server: servers.RedisServer, breaker: CircuitBreaker
    ) -> None:
        outage = breaker._state_storage._link.outage
        with server.client() as admin:
            breaker.snapshot()
            admin.config_set("maxmemory", "1")
            outcome(breaker, fail)
            assert outage.epoch == 1
            outage._next_try = 0.0
            assert not breaker.snapshot().shared
            assert outcome(breaker, fail) == "tripped"
            assert admin.keys() == []

    def test_queued_callers_hear_that_the_server_is_gone(self, server: servers.RedisServer) -> None:
        """They must not wait one time-out after the other for their turn to find out themselves."""
        client = server.client(socket_timeout=0.25, socket_connect_timeout=0.25, max_connections=2)
        breaker = strict(state_storage=CircuitRedisStorage("closed", client, "n"))
        outcome(breaker, int)
        timed_out = []
        own = breaker._state_storage._link._own
        connection_class = own.connection_pool.connection_class

        class Counting(connection_class):  # type: ignore[misc, valid-type]
            def read_response(self, *args: Any, **kwargs: Any) -> Any:
                try:
                    return super().read_response(*args, **kwargs)
                except redis.TimeoutError:
                    timed_out.append(1)
                    raise

        own.connection_pool.disconnect()
        own.connection_pool.reset()
        own.connection_pool.connection_class = Counting
        breaker.call(int)
        server.pause()
        threads = [threading.Thread(target=outcome, args=(breaker, int)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert 1 <= len(timed_out) <= 4  # not forty

    def test_a_readonly_server(self, server: servers.RedisServer, breaker: CircuitBreaker) -> None:
        outcome(breaker, int)
        with server.client() as admin:
            admin.replicaof("127.0.0.1", servers.free_port())
            assert [outcome(breaker, f) for f in (int, fail, fail, int)][:2] == ["ok", "failed"]
            admin.replicaof("NO", "ONE")
        self.back(breaker)

    def test_a_wrong_password(self, server: servers.RedisServer, caplog: pytest.LogCaptureFixture) -> None:
        with server.client() as admin:
            admin.config_set("requirepass", "right")
        client = server.client(password="hunter2")
        breaker = strict(fail_max=1, state_storage=CircuitRedisStorage("closed", client))
        assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]
        assert "is away" in caplog.text
        assert "hunter2" not in caplog.text

    def test_breakers_of_one_client_share_the_knowledge(
        self, server: servers.RedisServer, client: redis.Redis, caplog: pytest.LogCaptureFixture
    ) -> None:
        breakers = [strict(state_storage=CircuitRedisStorage("closed", client, f"n{i}")) for i in range(20)]
        for breaker in breakers:
            outcome(breaker, int)
        server.kill()
        for breaker in breakers:
            assert outcome(breaker, int) == "ok"
        assert len([record for record in caplog.records if "is away" in record.message]) == 1
        assert {breaker._state_storage._link.outage.epoch for breaker in breakers} == {1}


def test_no_password_gets_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A server that doesn't know HELLO says back what it was told: user and password."""
    with servers.running_redis("--rename-command", "HELLO", "") as server:
        url = f"redis://:se%2Fcret@127.0.0.1:{server.port}?protocol=3"
        breaker = pybreaker_ext.CircuitBreakerRegistry(url).get("a")
        assert outcome(breaker, int) == "ok"
    assert "the store is away" in caplog.text.replace("circuit breakers' store", "the store")
    assert "cret" not in caplog.text


class TestWhatElseAClientMayRaise:
    """Not all of it is a RedisError; none of it is the caller's."""

    # redis-py leaves its socket open when it can't take a time-out.
    @pytest.mark.filterwarnings("ignore:.*unclosed.*socket", "ignore::pytest.PytestUnraisableExceptionWarning")
    @pytest.mark.parametrize(
        "settings",
        [
            {"socket_timeout": -1},
            {"host": "cache..local"},
            {"host": "a" * 64 + ".local"},
            {"encoding": "ascii"},
            {"protocol": 9},
        ],
        ids=str,
    )
    def test_settings_that_make_no_sense(self, redis_server: servers.RedisServer, settings: dict[str, Any]) -> None:
        client = redis.Redis(**{"host": "127.0.0.1", "port": redis_server.port, **settings})
        breaker = strict(fail_max=1, state_storage=CircuitRedisStorage("closed", client, "ü"))
        assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]

    def test_a_credential_provider(self, redis_server: servers.RedisServer) -> None:
        class Provider(redis.CredentialProvider):
            def get_credentials(self) -> Any:
                raise RuntimeError("the vault is closed")

        client = redis.Redis.from_url(redis_server.url, credential_provider=Provider())
        breaker = strict(fail_max=1, state_storage=CircuitRedisStorage("closed", client))
        assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]

    def test_a_cluster_that_is_gone(self) -> None:
        """RedisClusterException is no RedisError."""
        with servers.running_cluster() as cluster:
            with cluster.client() as client:
                storage = CircuitRedisStorage("closed", client, "n", cluster_mode=True)
                breaker = strict(fail_max=1, state_storage=storage)
                assert outcome(breaker, int) == "ok"
                cluster.nodes[0].kill()
                assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]


def test_a_users_own_client_whose_connections_are_all_taken_is_no_outage(redis_server: servers.RedisServer) -> None:
    class Prefixing(redis.Redis):
        """Commands of its own: it is used as it is."""

        def execute_command(self, *args: Any, **options: Any) -> Any:
            return super().execute_command(*args, **options)

    with Prefixing(port=redis_server.port, max_connections=1) as client:
        storage = CircuitRedisStorage("closed", client, "n")
        breaker = strict(state_storage=storage)
        assert outcome(breaker, int) == "ok"
        taken = client.connection_pool.get_connection()
        assert outcome(breaker, int) == "ok"
        assert storage._link.outage.epoch == 0
        client.connection_pool.release(taken)
        assert breaker.snapshot().shared


class TestSQLiteAway:
    def test_no_directory(self, tmp_path: Path) -> None:
        storage = CircuitSQLiteStorage(tmp_path / "none" / "circuits.db", "n")
        breaker = strict(fail_max=1, state_storage=storage)
        assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]
        assert breaker.snapshot().shared is False

    def test_a_directory_in_its_place(self, tmp_path: Path) -> None:
        breaker = strict(state_storage=CircuitSQLiteStorage(tmp_path, "n"))
        assert outcome(breaker, int) == "ok"

    def test_not_a_database(self, tmp_path: Path) -> None:
        path = tmp_path / "circuits.db"
        path.write_text("something else entirely, and long enough to be looked at " * 20)
        breaker = strict(state_storage=CircuitSQLiteStorage(path, "n"))
        assert outcome(breaker, int) == "ok"
        assert "something else" in path.read_text()

    @pytest.mark.parametrize("existing", [False, True])
    def test_unwritable(self, existing: bool) -> None:
        directory = Path(tempfile.mkdtemp(prefix="pybreaker-ext-unwritable-"))
        path = directory / "circuits.db"
        try:
            if existing:
                strict(state_storage=CircuitSQLiteStorage(path, "n")).call(int)
            with without_rights(directory):
                breaker = strict(fail_max=1, state_storage=CircuitSQLiteStorage(path, "other"))
                assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]
                assert path.exists() == existing
                del breaker
        finally:
            shutil.rmtree(directory)

    @both_colours
    def test_locked_for_good(self, ended: Any, tmp_path: Path) -> None:
        """Another program holds the write lock: readers go on, writers get a bounded delay."""
        path = tmp_path / "circuits.db"
        breaker = strict(fail_max=2, state_storage=CircuitSQLiteStorage(path, "n"))
        assert ended(breaker, fail) == "failed"
        blocker = sqlite3.connect(path, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        assert ended(breaker, fail) == "failed"
        assert breaker._state_storage._file.outage.epoch == 1
        blocker.execute("ROLLBACK")
        blocker.close()
        until(lambda: breaker.snapshot().shared)
        assert breaker.fail_counter == 1

    def test_the_file_is_made_at_the_first_use(self, tmp_path: Path) -> None:
        path = tmp_path / "circuits.db"
        breaker = strict(state_storage=CircuitSQLiteStorage(path, "n"))
        assert not path.exists()
        breaker.call(int)
        assert path.exists()

    @both_colours
    def test_a_file_that_takes_no_writes_is_away_until_it_does(self, ended: Any, tmp_path: Path) -> None:
        breaker = strict(fail_max=2, state_storage=CircuitSQLiteStorage(tmp_path / "circuits.db", "n"))
        ended(breaker, int)
        file = breaker._state_storage._file

        def fail_without_writes() -> str:
            file.outage._next_try = 0.0  # a second later
            file._connection().execute("PRAGMA query_only = ON")
            return ended(breaker, fail)

        assert [fail_without_writes() for _ in range(4)] == ["failed", "failed", "tripped", "rejected"]
        assert file.outage.epoch == 1
        file.outage._next_try = 0.0
        assert ended(breaker, int) == "ok"
        assert breaker.snapshot().shared


class TestAwkwardStorages:
    """pybreaker storages that a user wrote, and that fail."""

    def test_one_that_raises(self) -> None:
        class Raising(pybreaker_ext.CircuitBreakerStorage):
            def __init__(self) -> None:
                super().__init__("raising")

            @property
            def state(self) -> str:
                raise OSError("disk")

        breaker = strict(fail_max=1, state_storage=Raising())
        assert [outcome(breaker, f) for f in (int, fail, int)] == ["ok", "tripped", "rejected"]
