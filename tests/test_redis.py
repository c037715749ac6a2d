"""What is Redis's own: keys, formats, foreign writers, strange values, commands, expiry, Cluster."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import fakeredis
import pybreaker
import pytest
import redis
import servers
from stores import DecodedRedisStore, RedisStore

import pybreaker_ext
from pybreaker_ext.machine import Event, Policy
from pybreaker_ext.storage.link import own_client

if TYPE_CHECKING:
    from collections.abc import Iterator

POLICY = Policy(fail_max=2, reset_timeout=10_000)


def trip(store: RedisStore) -> None:
    generation = store.ask().after.generation
    for _ in range(store.policy.fail_max):
        store.apply("failure", generation=generation)


def all_keys(store: RedisStore) -> dict[str, Any]:
    """Everything that Redis holds, with its type and value."""
    found = {}
    for key in sorted(store.client.keys()):
        kind = store.client.type(key)
        text = kind.decode() if isinstance(kind, bytes) else kind
        read = {"hash": store.client.hgetall, "stream": store.client.xrange}.get(text, store.client.get)
        found[key] = read(key)
    return found


def test_constructing_does_no_io() -> None:
    dead = redis.Redis(port=servers.free_port())
    pybreaker_ext.CircuitBreaker(state_storage=pybreaker_ext.CircuitRedisStorage("closed", dead, "n"))


def test_pybreakers_keys_are_true_at_all_times(redis_store: RedisStore) -> None:
    redis_store.policy = POLICY
    generation = redis_store.ask().after.generation
    names = ("state", "fail_counter", "success_counter", "opened_at")
    assert [redis_store.get(name) for name in names] == ["closed", "0", "0", None]
    redis_store.apply("failure", generation=generation)
    assert [redis_store.get(name) for name in names] == ["closed", "1", "0", None]
    redis_store.apply("failure", generation=generation)
    opened = str(redis_store.clock.now // 1_000_000)
    assert [redis_store.get(name) for name in names] == ["open", "2", "0", opened]
    redis_store.clock.advance(10)
    redis_store.policy = POLICY._replace(success_threshold=2)
    generation = redis_store.ask("p").after.generation
    redis_store.apply("success", "p", generation)
    assert [redis_store.get(name) for name in names] == ["half-open", "2", "1", opened]
    redis_store.ask("q")
    redis_store.apply("success", "q", generation)
    assert [redis_store.get(name) for name in names] == ["closed", "0", "0", opened]


def test_plain_pybreakers_storage_reads_them(redis_store: RedisStore) -> None:
    if isinstance(redis_store, DecodedRedisStore):
        pytest.skip("plain pybreaker cannot use decode_responses")
    trip(redis_store)
    plain = pybreaker.CircuitRedisStorage("closed", redis_store.client, namespace=redis_store.namespace)
    assert (plain.state, plain.counter, plain.success_counter) == ("open", 5, 0)
    assert plain.opened_at is not None
    assert int(plain.opened_at.timestamp()) == redis_store.clock.now // 1_000_000


def test_a_rejection_in_half_open_writes_nothing_and_extends_nothing(redis_store: RedisStore) -> None:
    redis_store.storage = pybreaker_ext.CircuitRedisStorage(
        "closed", redis_store.client, redis_store.namespace, key_ttl=60
    )
    redis_store.apply("half_open")
    redis_store.ask("probe")
    before = all_keys(redis_store)
    for key in before:
        redis_store.client.pexpire(key, 50_000)
    assert redis_store.ask("other").verdict == "rejected"
    assert all_keys(redis_store) == before
    assert all(redis_store.client.pttl(key) <= 50_000 for key in before)


def test_reading_writes_nothing(redis_store: RedisStore) -> None:
    redis_store.apply("read")
    assert all_keys(redis_store) == {}
    redis_store.client.set(redis_store.key("state"), "open")
    before = all_keys(redis_store)
    assert redis_store.record.state == "open"
    assert all_keys(redis_store) == before


class TestForeignWriters:
    """Plain pybreaker and people with redis-cli write `state`, `opened_at` and the counters."""

    def test_a_state_set_by_hand_is_adopted_with_a_new_generation(self, redis_store: RedisStore) -> None:
        trip(redis_store)
        before = redis_store.record
        redis_store.client.set(redis_store.key("state"), "closed")
        decision = redis_store.ask()
        assert (decision.verdict, decision.after.state) == ("admitted", "closed")
        assert decision.after.generation > before.generation
        assert decision.after.trips == 0
        assert redis_store.record == decision.after

    def test_a_circuit_closed_by_hand_has_the_failures_that_opened_it_behind_it(self, redis_store: RedisStore) -> None:
        """Whoever writes only `state` leaves the counter where the trip has left it."""
        trip(redis_store)
        assert redis_store.get("fail_counter") == "5"
        redis_store.client.set(redis_store.key("state"), "closed")
        generation = redis_store.ask().after.generation
        assert redis_store.get("fail_counter") == "0"
        assert redis_store.apply("failure", generation=generation).after.state == "closed"

    def test_failures_that_it_has_counted_since_are_kept(self, redis_store: RedisStore) -> None:
        trip(redis_store)
        redis_store.client.mset({redis_store.key("state"): "closed", redis_store.key("fail_counter"): 4})
        generation = redis_store.ask().after.generation
        assert redis_store.apply("failure", generation=generation).after.state == "open"

    def test_its_time_of_opening_does_not_outlast_ours(self, redis_store: RedisStore) -> None:
        """Plain pybreaker's clock may run ahead; what we open is open for plain workers from now on."""
        redis_store.client.mset(
            {
                redis_store.key("state"): "closed",
                redis_store.key("opened_at"): redis_store.clock.now // 1_000_000 + 3_600,
            }
        )
        redis_store.apply("open", duration=5_000)
        assert redis_store.get("opened_at") == str(redis_store.clock.now // 1_000_000)

    def test_an_opening_is_open_from_its_own_time(self, redis_store: RedisStore) -> None:
        redis_store.policy = POLICY
        redis_store.ask()
        redis_store.client.set(redis_store.key("opened_at"), redis_store.clock.now // 1_000_000 - 4)
        redis_store.client.set(redis_store.key("state"), "open")
        assert redis_store.ask().retry_after == 6_000
        redis_store.clock.advance(6)
        assert redis_store.ask().verdict == "admitted"

    def test_a_clock_that_runs_ahead_does_not_lengthen_it(self, redis_store: RedisStore) -> None:
        redis_store.policy = POLICY
        redis_store.ask()
        redis_store.client.set(redis_store.key("opened_at"), redis_store.clock.now // 1_000_000 + 3_600)
        redis_store.client.set(redis_store.key("state"), "open")
        assert redis_store.ask().retry_after == 10_000

    def test_without_opened_at_it_is_due_at_once(self, redis_store: RedisStore) -> None:
        redis_store.ask()
        redis_store.client.set(redis_store.key("state"), "open")
        assert redis_store.ask().after.state == "half-open"

    def test_reopened_between_two_looks_only_opened_at_tells(self, redis_store: RedisStore) -> None:
        redis_store.policy = POLICY
        trip(redis_store)
        before = redis_store.record
        redis_store.clock.advance(12)
        redis_store.client.set(redis_store.key("opened_at"), redis_store.clock.now // 1_000_000)
        decision = redis_store.ask()
        assert (decision.verdict, decision.retry_after) == ("rejected", 10_000)
        assert decision.after.generation > before.generation

    def test_opened_at_is_written_before_state_and_not_lost_between(self, redis_store: RedisStore) -> None:
        """One of our writes falls between plain pybreaker's two."""
        redis_store.policy = POLICY._replace(fail_max=5)
        redis_store.apply("open", duration=0)
        redis_store.apply("close")
        redis_store.clock.advance(100)
        opened = redis_store.clock.now // 1_000_000
        generation = redis_store.ask().after.generation
        redis_store.client.set(redis_store.key("opened_at"), opened)
        redis_store.apply("failure", generation=generation)
        redis_store.client.set(redis_store.key("state"), "open")
        assert redis_store.ask().retry_after == 10_000
        assert redis_store.get("opened_at") == str(opened)

    def test_its_counts_count(self, redis_store: RedisStore) -> None:
        redis_store.policy = POLICY._replace(fail_max=3)
        generation = redis_store.ask().after.generation
        redis_store.client.incr(redis_store.key("fail_counter"))
        redis_store.client.incr(redis_store.key("fail_counter"))
        assert redis_store.apply("failure", generation=generation).after.state == "open"

    def test_a_read_shows_it_and_the_next_ask_stores_it(self, redis_store: RedisStore) -> None:
        stored = redis_store.ask().after
        redis_store.client.set(redis_store.key("state"), "half-open")
        shown = redis_store.apply("read")
        assert (shown.after.state, shown.stored) == ("half-open", stored.generation)
        decision = redis_store.ask("probe")
        assert (decision.old_state, decision.stored) == ("half-open", None)
        assert redis_store.apply("read").stored is None

    def test_a_permit_of_before_does_not_count(self, redis_store: RedisStore) -> None:
        generation = redis_store.ask().after.generation
        redis_store.client.set(redis_store.key("state"), "half-open")
        assert redis_store.apply("success", generation=generation).verdict == "dropped"

    def test_our_hash_alone_is_lost(self, redis_store: RedisStore) -> None:
        trip(redis_store)
        redis_store.client.delete(redis_store.key("ext"))
        decision = redis_store.ask()
        assert (decision.verdict, decision.after.fail_counter) == ("rejected", 5)


STRANGE = [
    "",
    "0" * 5000 + "1",
    "garbage",
    "-1",
    "1e3",
    "0x10",
    "nan",
    "99999999999999999999",
    "\x00\xff",
    "closed\n",
    " 1",
]


@pytest.mark.parametrize("value", STRANGE)
@pytest.mark.parametrize("name", ["state", "fail_counter", "success_counter", "opened_at"])
def test_a_strange_value_is_treated_as_missing_and_logged_once(
    redis_store: RedisStore, name: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    redis_store.policy = POLICY
    trip(redis_store)
    redis_store.client.set(redis_store.key(name), value.encode("latin-1"))
    with caplog.at_level(logging.WARNING, "pybreaker_ext"):
        first = redis_store.ask("a")
        redis_store.ask("b")
        redis_store.apply("close")
        redis_store.ask("c")
    assert first.verdict in ("admitted", "rejected")
    assert redis_store.record.state == "closed"
    assert len([record for record in caplog.records if "not understood" in record.message]) == 1


def test_threads_that_find_a_strange_value_at_once_log_it_once(caplog: pytest.LogCaptureFixture) -> None:
    storage = pybreaker_ext.CircuitRedisStorage("closed", redis.Redis(), "claude")
    names, together = [f"field{number}" for number in range(200)], threading.Barrier(4)

    def find() -> None:
        for name in names:
            together.wait()
            storage._warn_of_strange(f"{name},{name}")

    threads = [threading.Thread(target=find) for _ in range(4)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert len(caplog.records) == len(names)


@pytest.mark.parametrize("value", [*STRANGE[1:], "a:b,c", "a:1;b:2", ":1", "a:", "a:1b:2", "a:00000000000000001"])
@pytest.mark.parametrize(
    "field", ["generation", "open_until", "opened_at", "trips", "reason", "permits", "state", "opened"]
)
def test_a_strange_field_of_our_hash_wedges_nothing(redis_store: RedisStore, field: str, value: str) -> None:
    redis_store.policy = POLICY
    redis_store.apply("half_open")
    redis_store.ask("probe")
    redis_store.client.hset(redis_store.key("ext"), field, value.encode("latin-1"))
    for _ in range(3):
        redis_store.clock.advance(31)
        decision = redis_store.ask(f"p{redis_store.clock.ms}")
        assert decision.verdict == "admitted"
    closed = redis_store.apply("success", f"p{redis_store.clock.ms}", decision.after.generation)
    assert closed.after.state == "closed"


@pytest.mark.parametrize(
    "name", ["generation", "open_until", "opened_at", "trips", "reason", "permits", "state", "opened"]
)
def test_a_field_that_is_gone_wedges_nothing(redis_store: RedisStore, name: str) -> None:
    redis_store.policy = POLICY
    redis_store.ask()
    assert redis_store.client.hdel(redis_store.key("ext"), name) == 1
    assert redis_store.ask().verdict == "admitted"
    assert redis_store.apply("read").epoch == 0
    trip(redis_store)
    assert redis_store.get("state") == "open"


@pytest.mark.parametrize("name", ["state", "fail_counter", "success_counter", "opened_at", "ext"])
def test_a_key_of_the_wrong_type_is_treated_as_missing(
    redis_store: RedisStore, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    trip(redis_store)
    redis_store.client.delete(redis_store.key(name))
    redis_store.client.lpush(redis_store.key(name), "x")
    with caplog.at_level(logging.WARNING, "pybreaker_ext"):
        redis_store.ask()
        redis_store.ask()
    assert len(caplog.records) == (0 if name == "opened_at" else 1)  # which matters to nobody then
    redis_store.apply("close")
    assert redis_store.ask().verdict == "admitted"
    generation = redis_store.record.generation
    assert redis_store.apply("failure", generation=generation).after.fail_counter == 1


class TestExpiry:
    @pytest.fixture
    def expiring(self, redis_store: RedisStore) -> RedisStore:
        """On the server's own clock: it is the server that expires."""
        redis_store.storage = pybreaker_ext.CircuitRedisStorage(
            "closed", redis_store.client, redis_store.namespace, key_ttl=60
        )
        redis_store.policy = POLICY
        return redis_store

    def times(self, store: RedisStore) -> list[int]:
        found = [store.client.pttl(key) for key in all_keys(store)]
        assert len(found) >= 4
        return found

    def test_none_by_default(self, redis_store: RedisStore) -> None:
        trip(redis_store)
        assert set(self.times(redis_store)) == {-1}

    def test_idle_circuits_expire_but_not_under_a_call(self, expiring: RedisStore) -> None:
        """A call under way may last as long as a probe; its failure must find the record it belongs to."""
        expiring.ask()
        assert all(80_000 < time <= 90_000 for time in self.times(expiring))

    def test_never_before_an_open_circuit_is_due(self, expiring: RedisStore) -> None:
        trip(expiring)
        assert all(60_000 < time <= 70_000 for time in self.times(expiring))

    def test_never_before_a_lease_has_ended(self, expiring: RedisStore) -> None:
        expiring.apply("half_open")
        expiring.ask("probe")
        assert all(80_000 < time <= 90_000 for time in self.times(expiring))

    def test_not_while_open_until_closed_by_hand(self, expiring: RedisStore) -> None:
        trip(expiring)
        expiring.apply("open", duration=pybreaker_ext.machine.FOREVER)
        assert set(self.times(expiring)) == {-1}
        expiring.apply("close")
        assert all(80_000 < time <= 90_000 for time in self.times(expiring))

    @pytest.mark.parametrize("event", ["open", "half_open", "hold", "close"])
    def test_not_what_somebody_without_a_time_has_opened(self, expiring: RedisStore, event: str) -> None:
        """It would be closed, or due, before its time."""
        generation = expiring.ask().after.generation
        expiring.apply("open")
        if event == "hold":
            generation = expiring.record.generation
        for key in all_keys(expiring):
            expiring.client.pexpire(key, 50_000)
        expiring.storage = pybreaker_ext.CircuitRedisStorage("closed", expiring.client, expiring.namespace)
        expiring.apply(event, generation=generation, duration=3_600_000)
        assert set(self.times(expiring)) == {-1}

    def test_the_longest_is_longer_than_anything_lasts(self, expiring: RedisStore) -> None:
        """Redis takes no more."""
        expiring.ask()
        for key_ttl in (1e18, 1e306):
            expiring.storage = pybreaker_ext.CircuitRedisStorage(
                "closed", expiring.client, expiring.namespace, key_ttl=key_ttl
            )
            assert expiring.ask().epoch == 0
            expiring.apply("reset")
            assert all(time > 10**15 for time in self.times(expiring))

    def test_not_under_the_callers_of_a_closed_circuit(self, expiring: RedisStore) -> None:
        expiring.ask()
        for key in all_keys(expiring):
            expiring.client.pexpire(key, 50_000)
        expiring.ask()
        assert all(80_000 < time <= 90_000 for time in self.times(expiring))


class TestCommands:
    """Counted by the server: what the client sent, not what scripts called."""

    @pytest.fixture
    def breaker(self, redis_server: servers.RedisServer) -> Iterator[Any]:
        with redis_server.client() as client:
            storage = pybreaker_ext.CircuitRedisStorage("closed", client, "n")
            yield pybreaker_ext.CircuitBreaker(fail_max=3, reset_timeout=60, state_storage=storage, max_staleness=0.0)
            storage._link._own.close()

    def commands(self, server: servers.RedisServer, call: Any) -> int:
        with server.client() as client:
            client.config_resetstat()
            call()
            stats = client.info("commandstats")
        scripts = stats.pop("cmdstat_evalsha")["calls"]
        sent = {name.removeprefix("cmdstat_").split("|")[0] for name in stats}
        inside = {"time", "mget", "mset", "hmget", "hset", "set", "get", "del", "exists", "persist", "xadd"}
        assert sent <= inside | {"info", "config", "client", "hello"}, "something else was sent"
        assert stats.get("cmdstat_time", {"calls": 0})["calls"] == scripts  # so all of them were scripts'
        return scripts

    def fail(self, breaker: Any) -> None:
        with pytest.raises((ZeroDivisionError, pybreaker_ext.CircuitBreakerError)):
            breaker.call(lambda: 1 / 0)

    def test_how_many_a_decision_takes(self, redis_server: servers.RedisServer, breaker: Any) -> None:
        breaker.call(int)  # makes the record and loads the script
        assert self.commands(redis_server, lambda: breaker.call(int)) == 2
        assert self.commands(redis_server, lambda: self.fail(breaker)) == 2
        self.fail(breaker)
        assert self.commands(redis_server, lambda: self.fail(breaker)) == 2  # which trips
        assert breaker.current_state == "open"
        assert self.commands(redis_server, lambda: self.fail(breaker)) == 1  # which is rejected
        breaker.open(0)
        assert self.commands(redis_server, lambda: breaker.call(int)) == 2  # a probe, which closes
        assert breaker.current_state == "closed"


def test_a_forgotten_script_heals_by_itself(redis_server: servers.RedisServer) -> None:
    with redis_server.client() as client:
        breaker = pybreaker_ext.CircuitBreaker(state_storage=pybreaker_ext.CircuitRedisStorage("closed", client, "n"))
        assert breaker.call(lambda: 1) == 1
        client.script_flush()
        assert breaker.call(lambda: 2) == 2
        assert breaker.snapshot().shared
        breaker._state_storage._link._own.close()


def test_a_command_is_sent_once(redis_server: servers.RedisServer) -> None:
    """redis-py repeats by default; a repeated report would count one failure twice."""
    with redis.Redis(port=redis_server.port) as client:
        assert client.connection_pool.connection_kwargs["retry"].get_retries() > 0
        own = own_client(client)
        with own:
            own.ping()
            connection = own.connection_pool._available_connections[0]
            assert connection.retry.get_retries() == 0


@pytest.mark.parametrize(
    ("make", "name", "expected"),
    [
        (redis.Redis, "socket_timeout", 0.7),
        (redis.Redis, "socket_connect_timeout", 0.7),
        (redis.Redis, "db", 3),
        (redis.Redis, "password", "secret"),
        (redis.Redis, "client_name", "me"),
        (redis.Redis, "health_check_interval", 7),
        (redis.Redis, "decode_responses", True),
    ],
)
def test_our_connections_have_the_given_clients_settings(make: Any, name: str, expected: Any) -> None:
    own = own_client(make(**{name: expected}))
    assert own.connection_pool.connection_kwargs[name] == expected


def test_other_pools_keep_their_kind() -> None:
    assert own_client(redis.Redis(unix_socket_path="/nowhere")).connection_pool.connection_kwargs["path"] == "/nowhere"
    tls = own_client(redis.Redis(ssl=True)).connection_pool
    assert tls.connection_class is redis.SSLConnection
    pool = redis.BlockingConnectionPool(max_connections=3)
    assert own_client(redis.Redis(connection_pool=pool)).connection_pool.max_connections == 3


def test_a_client_that_cannot_be_read_is_used_as_it_is() -> None:
    class Client:
        pass

    client = Client()
    assert own_client(client) is client


def test_storages_of_one_client_share_their_way_to_it(redis_server: servers.RedisServer) -> None:
    with redis_server.client() as client, redis_server.client() as other:
        first = pybreaker_ext.CircuitRedisStorage("closed", client, "a")
        second = pybreaker_ext.CircuitRedisStorage("closed", client, "b")
        assert first._link is second._link
        assert first._link is not pybreaker_ext.CircuitRedisStorage("closed", other, "a")._link


class TestKeyNames:
    def keys(self, *args: Any, **kwargs: Any) -> str:
        return pybreaker_ext.CircuitRedisStorage("closed", fakeredis.FakeRedis(), *args, **kwargs)._keys[0].decode()

    def test_plain(self) -> None:
        assert self.keys() == "pybreaker:state"
        assert self.keys("ns") == "ns:pybreaker:state"

    def test_cluster_mode_makes_the_namespace_the_tag(self) -> None:
        assert self.keys(cluster_mode=True) == "{pybreaker}:state"
        assert self.keys("ns", cluster_mode=True) == "{ns}:pybreaker:state"
        assert self.keys("pybreaker", cluster_mode=True) == "{pybreaker}:pybreaker:state"
        assert self.keys("a}b", cluster_mode=True) == "{a}b}:pybreaker:state"
        assert self.keys("a{}b", cluster_mode=True) == "{a{}b}:pybreaker:state"

    def test_a_tag_is_kept(self) -> None:
        assert self.keys("x{tag}y", cluster_mode=True) == "x{tag}y:pybreaker:state"
        assert self.keys("x{tag}y") == "x{tag}y:pybreaker:state"


def test_a_real_cluster_keeps_all_keys_in_one_slot(redis_cluster: servers.Cluster) -> None:
    with redis_cluster.client() as client:
        for name in ("any name", "another name", "a third name"):
            storage = pybreaker_ext.CircuitRedisStorage("closed", client, name, cluster_mode=True)
            breaker = pybreaker_ext.CircuitBreaker(fail_max=1, state_storage=storage)
            with pytest.raises(pybreaker_ext.CircuitBreakerError):
                breaker.call(lambda: 1 / 0)
            with pytest.raises(pybreaker_ext.CircuitBreakerError):
                breaker.call(int)
            assert breaker.snapshot().shared
            assert client.get(f"{{{name}}}:pybreaker:state") == b"open"
        storage._link._own.close()


def test_legacy_setters_are_foreign_writes(redis_store: RedisStore) -> None:
    redis_store.ask()
    redis_store.storage.state = "half-open"
    assert redis_store.record.state == "half-open"
    redis_store.storage.increment_counter()
    redis_store.storage.increment_success_counter()
    assert (redis_store.storage.counter, redis_store.storage.success_counter) == (1, 1)
    redis_store.storage.reset_counter()
    redis_store.storage.reset_success_counter()
    assert (redis_store.storage.counter, redis_store.storage.success_counter) == (0, 0)


def test_legacy_setters_on_a_cluster(redis_cluster: servers.Cluster) -> None:
    with pybreaker_ext.CircuitBreakerRegistry(redis_cluster.url) as registry:
        breaker = registry.get("set by hand")
        storage: Any = breaker._state_storage
        storage.state = "open"
        storage.opened_at = moment = datetime.now(UTC).replace(microsecond=0)
        assert (storage.state, breaker.snapshot().shared) == ("open", True)
        assert abs(storage.opened_at - moment) < timedelta(seconds=30)
        storage.increment_counter()
        assert storage.counter == 1
        breaker.reset()
        with pytest.raises(AttributeError, match="no_command"):
            storage._redis.no_command  # noqa: B018


def test_more_threads_than_connections_is_no_outage(redis_server: servers.RedisServer) -> None:
    import threading

    with redis_server.client(max_connections=2) as client:
        storage = pybreaker_ext.CircuitRedisStorage("closed", client, "n")
        decisions: list[Any] = []

        def ask() -> None:
            decisions.extend(storage.apply(Event("ask", "t"), Policy()) for _ in range(50))

        threads = [threading.Thread(target=ask) for _ in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {(decision.verdict, decision.epoch) for decision in decisions} == {("admitted", 0)}
        storage._link._own.close()
