"""What Redis costs a call when it takes connections and never answers: one time-out, however many servers there are."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio.connection
import redis.connection

from pybreaker_ext import CircuitBreakerRegistry
from pybreaker_ext.storage.clients import ASYNC_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import Cluster, RedisServer, Sentinels

    from pybreaker_ext import CircuitBreaker

TIMEOUT = 0.25
#: Gives also a busy machine the time to answer.
PATIENT = "socket_timeout=4&socket_connect_timeout=4"


@contextlib.contextmanager
def silent_servers(count: int) -> Iterator[list[str]]:
    """Listen, and take no notice."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        yield [f"127.0.0.1:{each.getsockname()[1]}" for each in sockets]


@pytest.fixture(params=["redis", "redis+cluster", "redis+sentinel"])
def breaker(request: pytest.FixtureRequest) -> Iterator[CircuitBreaker]:
    with silent_servers(1 if request.param == "redis" else 6) as hosts:
        path = "/main" if request.param == "redis+sentinel" else ""
        with CircuitBreakerRegistry(f"{request.param}://{','.join(hosts)}{path}", max_staleness=0.0) as registry:
            breaker = registry.get("claude")
            outage: Any = breaker._state_storage._link.outage  # type: ignore[attr-defined]
            outage._clock = lambda: 1000.0  # no second goes by, however busy the machine is
            yield breaker


@pytest.fixture
def places() -> list[int]:
    """The port of each connection that is opened."""
    return []


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch, places: list[int]) -> list[float]:
    """The seconds for which each of them waits for its answer."""
    found: list[float] = []
    for kind in (redis.connection.Connection, redis.asyncio.connection.Connection):

        def connect(self: Any, original: Callable[[Any], Any] = kind._connect) -> Any:
            found.append(self.socket_timeout)
            places.append(self.port)
            return original(self)

        monkeypatch.setattr(kind, "_connect", connect)
    return found


def a_second_later(breaker: CircuitBreaker) -> None:
    outage: Any = breaker._state_storage._link.outage  # type: ignore[attr-defined]
    outage._next_try -= 1


def test_in_threads(breaker: CircuitBreaker, waits: list[float]) -> None:
    for _ in range(3):
        assert [breaker.call(int) for _ in range(20)] == [0] * 20
        assert 0 < sum(waits) < TIMEOUT + 0.001
        waits.clear()
        a_second_later(breaker)


def test_in_asyncio(breaker: CircuitBreaker, waits: list[float]) -> None:
    async def call() -> int:
        return 0

    async def main() -> None:
        for _ in range(3):
            assert [await breaker.call_async(call) for _ in range(20)] == [0] * 20
            assert 0 < sum(waits) < TIMEOUT + 0.001
            waits.clear()
            a_second_later(breaker)

    asyncio.run(main())


def test_a_thousand_tasks_at_once(breaker: CircuitBreaker, waits: list[float], places: list[int]) -> None:
    """All that wait for the first one's attempt go on when it has failed."""

    async def call() -> int:
        return 0

    async def main() -> None:
        assert await asyncio.gather(*(breaker.call_async(call) for _ in range(1000))) == [0] * 1000

    asyncio.run(main())
    # As many at once as there are places, and nobody after them; one alone looks for a cluster.
    assert max(Counter(places).values()) <= ASYNC_CONNECTIONS
    if "Cluster" in breaker._state_storage._link.outage._what:  # type: ignore[attr-defined]
        assert 0 < sum(waits) < TIMEOUT + 0.001


@pytest.mark.parametrize("call", ["threads", "asyncio"])
def test_one_node_that_answers_is_enough(redis_cluster: Cluster, redis_server: RedisServer, call: str) -> None:
    """Three of five say nothing, one is of no cluster."""
    with silent_servers(3) as hosts:
        places = [*hosts, f"127.0.0.1:{redis_server.port}", f"127.0.0.1:{redis_cluster.nodes[0].port}"]
        with CircuitBreakerRegistry(f"redis+cluster://{','.join(places)}?{PATIENT}") as registry:
            breaker = registry.get("silent/claude")
            if call == "threads":
                breaker.call(int)
            else:
                asyncio.run(breaker.call_async(int))
            assert breaker.snapshot().shared


@pytest.mark.parametrize("call", ["threads", "asyncio"])
def test_one_sentinel_that_answers_is_enough(redis_sentinels: Sentinels, call: str) -> None:
    with silent_servers(2) as hosts:
        places = [*hosts, f"127.0.0.1:{redis_sentinels.sentinels[0].port}"]
        with CircuitBreakerRegistry(f"redis+sentinel://{','.join(places)}/main?{PATIENT}") as registry:
            breaker = registry.get("silent/claude")
            if call == "threads":
                breaker.call(int)
            else:
                asyncio.run(breaker.call_async(int))
            assert breaker.snapshot().shared


def test_a_burst_of_first_calls_finds_a_cluster_that_is_well(redis_cluster: Cluster) -> None:
    async def call() -> int:
        return 0

    async def main(breaker: CircuitBreaker) -> None:
        assert await asyncio.gather(*(breaker.call_async(call) for _ in range(200))) == [0] * 200

    def questions() -> int:
        """Return how often the nodes were asked where the slots are."""
        found = 0
        for node in redis_cluster.nodes:
            with node.client() as client:
                stats = client.info("commandstats")
            found += sum(stats[name]["calls"] for name in stats if name.startswith("cmdstat_cluster"))
        return found

    patient = f"{redis_cluster.url}?socket_timeout=10&socket_connect_timeout=10"  # a busy machine is no silent one
    for given in ("url", "client"):
        with redis_cluster.client() as client:
            place = {"url": patient} if given == "url" else {"client": client}
            with CircuitBreakerRegistry(**place, max_staleness=0.0) as registry:  # type: ignore[arg-type]
                breaker = registry.get("burst/claude")
                before = questions()
                asyncio.run(main(breaker))
                assert questions() == before + 1
                outage: Any = breaker._state_storage._link.outage  # type: ignore[attr-defined]
                assert outage.epoch == 0
