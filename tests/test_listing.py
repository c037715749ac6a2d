"""What a store holds, seen from outside."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from typing import TYPE_CHECKING, Any

import pybreaker
import pytest
import redis
import servers

import pybreaker_ext
from pybreaker_ext import CircuitBreakerRegistry
from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.machine import Event, Policy
from pybreaker_ext.storage import redis_listing, redis_scan
from pybreaker_ext.storage.listing import listing_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAMES = sorted(
    [
        "claude",
        "openai/gpt-4o:eu-west",
        "{braces}",
        "}",
        "a{b}c",
        "{a}",
        "100%",
        "%7B",
        "ä—名",
        "a:pybreaker",
        "\x1b[31m\n",
    ]
)


@pytest.fixture(params=["sqlite", "redis_server", "redis_cluster", "redis_sentinels"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/circuits.db"
    else:
        store = request.getfixturevalue(request.param)
        store.clear()
        yield store.url


@pytest.fixture
def registry(url: str) -> Iterator[CircuitBreakerRegistry]:
    with CircuitBreakerRegistry(url, worker="api-1") as made:
        yield made


def fail() -> None:
    raise ConnectionError


def call(breaker: Any, func: Any = fail) -> None:
    with pytest.raises((ConnectionError, pybreaker.CircuitBreakerError)):
        breaker.call(func)


def test_all_names_are_found_whoever_made_them(registry: CircuitBreakerRegistry) -> None:
    for name in NAMES:
        registry.get(name).call(int)
    assert registry.stored().names() == tuple(NAMES)
    assert asyncio.run(registry.stored().names_async()) == tuple(NAMES)


def test_circuits_are_seen_as_they_are(registry: CircuitBreakerRegistry) -> None:
    tripped = registry.get("tripped", fail_max=2, reset_timeout=40)
    call(tripped)
    call(tripped)
    registry.get("failing").call(int)
    call(registry.get("failing"))
    registry.get("by hand").open(math.inf)
    probed = registry.get("probed", success_threshold=3)
    probed.half_open()
    probed.call(int)
    with probed.calling():
        found = {circuit.name: circuit for circuit in registry.stored().read()}
    assert list(found) == ["by hand", "failing", "probed", "tripped"]

    seen = found["tripped"]
    assert (seen.state, seen.trips, seen.fail_counter, seen.reason, seen.foreign) == ("open", 1, 2, "failures", False)
    assert seen.opened_at is not None
    assert seen.open_until == seen.opened_at + 40 == tripped.snapshot().open_until
    assert seen.since == pytest.approx(seen.opened_at, abs=0.002)
    assert seen.last_change == tripped.history()[-1]
    assert seen.last_change is not None
    assert seen.last_change.worker == "api-1"
    assert (found["failing"].state, found["failing"].fail_counter, found["failing"].last_change) == ("closed", 1, None)
    assert (found["by hand"].open_until, found["by hand"].reason) == (math.inf, "manual")
    assert (found["probed"].state, found["probed"].success_counter, found["probed"].probes) == ("half-open", 1, 1)
    assert asyncio.run(registry.stored().read_async())[0].name == "by hand"


def test_looking_changes_nothing(registry: CircuitBreakerRegistry, url: str) -> None:
    due = registry.get("due")
    due.open(0)
    before = due.snapshot()
    for _ in range(3):
        registry.stored().read()
        listing = listing_of(url)
        listing.glance(listing.search())
    after = due.snapshot()
    assert (before.state, before.generation) == (after.state, after.generation) == ("open", after.generation)


def test_an_empty_store_has_no_circuits(redis_server: servers.RedisServer) -> None:
    with CircuitBreakerRegistry(redis_server.url) as registry:
        assert registry.stored().names() == ()
        assert registry.stored().read() == []


def test_circuits_of_plain_pybreaker_are_seen(redis_server: servers.RedisServer) -> None:
    with redis_server.client() as client:
        plain = pybreaker.CircuitBreaker(
            fail_max=1, reset_timeout=30, state_storage=pybreaker.CircuitRedisStorage("closed", client, namespace="old")
        )
        pybreaker.CircuitRedisStorage("closed", client)
        client.set("pybreaker:statement", "closed")
        client.set("other:state", "closed")
        call(plain)
        before = {key: client.dump(key) for key in client.scan_iter()}
        with CircuitBreakerRegistry(client=client) as registry:
            assert registry.stored().names() == ("", "old")
            nameless, old = registry.stored().read()
        assert {key: client.dump(key) for key in client.scan_iter()} == before
    assert (old.state, old.foreign, old.fail_counter, old.open_until, old.last_change) == ("open", True, 1, None, None)
    assert old.since == old.opened_at
    assert (nameless.namespace, nameless.state, nameless.since) == (None, "closed", None)


def test_a_circuit_in_cluster_mode_without_a_namespace_is_seen(redis_server: servers.RedisServer) -> None:
    with redis_server.client() as client:
        storage = pybreaker_ext.CircuitRedisStorage("closed", client, cluster_mode=True)
        pybreaker_ext.CircuitBreaker(state_storage=storage).open()
        (place,) = listing_of(redis_server.url).search()
        assert (place.name, place.namespace) == ("", None)
        twin = listing_of(redis_server.url).storage_at(place, "me")
        assert twin.apply(Event("read"), Policy()).after.state == "open"


def test_values_that_are_not_understood_hide_no_circuit(redis_server: servers.RedisServer) -> None:
    with redis_server.client() as client:
        client.set("a:pybreaker:state", "banana")
        client.lpush("b:pybreaker:state", "closed")
        client.set("c:pybreaker:state", "open")
        client.set("c:pybreaker:ext", "no hash")
        client.set("c:pybreaker:history", "no stream")
        client.set(b"\xff:pybreaker:state", "closed")
        listing = listing_of(redis_server.url)
        places = listing.search()
        assert [place.name for place in places] == ["\\xff", "a", "b", "c"]
        states = [seen.decision.after.state for seen in listing.read(places).values()]
        assert states == ["closed", "closed", "closed", "open"]
        with pytest.raises(ValueError, match="no UTF-8 text"):
            listing.storage_at(places[0], "me")


def test_plain_circuits_whose_keys_lie_in_several_slots_are_seen(redis_cluster: servers.Cluster) -> None:
    """pybreaker knows no hash tags, so on a cluster its keys may lie anywhere."""
    redis_cluster.clear()
    with redis_cluster.client() as client:
        for number in range(5):
            storage = pybreaker.CircuitRedisStorage("closed", client, namespace=f"old-{number}")
            call(pybreaker.CircuitBreaker(fail_max=1, state_storage=storage))
        with CircuitBreakerRegistry(client=client) as registry:
            found = registry.stored().read()
        listing = listing_of(redis_cluster.url)
        glances = listing.glance(listing.search())
    assert [(circuit.name, circuit.state, circuit.fail_counter, circuit.foreign) for circuit in found] == [
        (f"old-{number}", "open", 1, True) for number in range(5)
    ]
    assert [glance.state for glance in glances.values()] == ["open"] * 5


def test_the_script_is_loaded_when_the_server_does_not_know_it(registry: CircuitBreakerRegistry, url: str) -> None:
    registry.get("a").open()
    if "redis://" in url:
        redis.Redis.from_url(url).script_flush()
    assert [circuit.state for circuit in registry.stored().read()] == ["open"]


def test_what_has_gone_is_not_shown_any_more(redis_server: servers.RedisServer) -> None:
    listing = listing_of(redis_server.url)
    with redis_server.client() as client:
        client.mset({"a:pybreaker:state": "closed", "b:pybreaker:state": "open", "b:pybreaker:fail_counter": 5})
        places = listing.search()
        assert listing.glance(places) == {places[0]: ("closed", 0), places[1]: ("open", 5)}
        client.delete("a:pybreaker:state")
        assert list(listing.glance(places)) == [places[1]]
        assert listing.search() == [places[1]]


def test_a_search_goes_on_where_the_last_one_ended(redis_server: servers.RedisServer, monkeypatch) -> None:
    monkeypatch.setattr(redis_scan, "PAGE", 10)
    with redis_server.client() as client:
        client.mset({f"{number}:pybreaker:state": "closed" for number in range(200)})
        listing = listing_of(redis_server.url)
        found = [len(listing.search(2))]
        assert 0 < found[0] < 200
        assert not listing.complete
        while not listing.complete:
            found.append(len(listing.search(2)))
        assert found == sorted(found)
        assert found[-1] == 200
        client.delete("7:pybreaker:state")
        for _ in found:
            listing.search(2)
        assert len(listing.search(2)) in (199, 200)  # SCAN may have passed it before
        assert len(listing.search()) == 199


def commands(client: redis.Redis) -> int:
    return client.info("stats")["total_commands_processed"]


def test_a_refresh_costs_a_bounded_number_of_commands(redis_server: servers.RedisServer) -> None:
    with redis_server.client() as client:
        client.mset({f"{number}:pybreaker:state": "closed" for number in range(1000)})
        listing = listing_of(redis_server.url)
        listing.search()
        before = commands(client)
        places = listing.search(10)
        listing.glance(places)
        spent = commands(client) - before - 1  # INFO
    assert len(places) == 1000
    assert spent <= 10 + math.ceil(1000 / redis_listing.BATCH)


def test_a_store_that_cannot_be_asked(tmp_path: Path, redis_cluster: servers.Cluster) -> None:
    def reason(url: str) -> str:
        with pytest.raises(StoreUnavailableError) as caught, CircuitBreakerRegistry(url) as registry:
            registry.stored().names()
        return str(caught.value)

    assert "Connection refused" in reason(f"redis://127.0.0.1:{servers.free_port()}/0")
    assert reason(f"sqlite:///{tmp_path}/missing.db") == "there is no such file; workers make it at their first call"
    assert not (tmp_path / "missing.db").exists()
    (tmp_path / "text").write_text("no database, but a text that is long enough to be told from an empty file" * 9)
    assert "not a database" in reason(f"sqlite:///{tmp_path}/text")
    with contextlib.closing(sqlite3.connect(tmp_path / "other.db")) as other:
        other.execute("CREATE TABLE others (a)")
    assert reason(f"sqlite:///{tmp_path}/other.db") == "the file holds no circuits"
    assert "redis+cluster://" in reason(redis_cluster.nodes[0].url)
    with pytest.raises(ValueError, match="url must not be memory://"):
        CircuitBreakerRegistry("memory://").stored()


def test_a_sentinel_is_told_from_a_server(redis_sentinels: servers.Sentinels) -> None:
    with pytest.raises(StoreUnavailableError, match=r"redis\+sentinel://"):
        listing_of(redis_sentinels.sentinels[0].url.replace("/0", "")).search()


def test_a_listing_goes_on_when_its_server_is_back() -> None:
    with servers.running_redis() as server:
        listing = listing_of(server.url)
        with server.client() as client:
            client.set("a:pybreaker:state", "closed")
        places = listing.search()
        server.kill()
        with pytest.raises(StoreUnavailableError):
            listing.read(places)
        server.start()
        with server.client() as client:
            client.set("b:pybreaker:state", "open")
        assert [place.name for place in listing.search()] == ["b"]


def test_an_sqlite_file_is_read_while_somebody_writes(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/circuits.db"
    with CircuitBreakerRegistry(url) as registry:
        registry.get("a").open()
        writer = sqlite3.connect(tmp_path / "circuits.db", isolation_level=None)
        writer.execute("BEGIN IMMEDIATE")
        writer.execute("UPDATE circuits SET state = 'closed'")
        assert [circuit.state for circuit in registry.stored().read()] == ["open"]
        writer.execute("COMMIT")
        writer.close()
        assert [circuit.state for circuit in registry.stored().read()] == ["closed"]


def test_an_expiring_circuit_that_is_set_from_outside_goes_on_expiring(redis_server: servers.RedisServer) -> None:
    with (
        CircuitBreakerRegistry(redis_server.url, key_ttl=100) as expiring,
        CircuitBreakerRegistry(redis_server.url) as lasting,
        redis_server.client() as client,
    ):
        expiring.get("a").call(int)
        lasting.get("b").call(int)
        listing = listing_of(redis_server.url)
        for place in listing.search():
            decision = listing.storage_at(place, "ann").apply(Event("open", duration=1000), Policy())
            assert (decision.after.state, decision.epoch) == ("open", 0)
        assert client.ttl("a:pybreaker:state") > 1000
        assert client.ttl("a:pybreaker:ext") > 1000
        assert client.ttl("b:pybreaker:state") == -1
        assert [change.worker for change in expiring.get("a").history()] == ["ann"]


def test_the_history_of_its_workers_is_not_cut_from_outside(url: str) -> None:
    with CircuitBreakerRegistry(url, history=3000) as registry:
        breaker = registry.get("a")
        for _ in range(600):
            breaker.open()
            breaker.close()
        listing = listing_of(url)
        (place,) = listing.search()
        listing.storage_at(place, "ann").apply(Event("open", duration=1000), Policy())
        assert len(breaker.history(5000)) == 1201
