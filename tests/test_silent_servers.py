"""What Redis costs a call when it takes connections and never answers: one time-out, however many servers there are."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Any

import pytest
import redis.asyncio.connection
import redis.connection

from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybreaker_ext import CircuitBreaker

TIMEOUT = 0.25


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
            yield registry.get("claude")


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds for which each connection that is opened waits for its answer."""
    found: list[float] = []
    for kind in (redis.connection.Connection, redis.asyncio.connection.Connection):

        def connect(self: Any, original: Callable[[Any], Any] = kind._connect) -> Any:
            found.append(self.socket_timeout)
            return original(self)

        monkeypatch.setattr(kind, "_connect", connect)
    return found


def a_second_later(breaker: CircuitBreaker) -> None:
    outage: Any = breaker._state_storage._link.outage  # type: ignore[attr-defined]
    outage._next_try -= 1


def test_in_threads(breaker: CircuitBreaker, waits: list[float]) -> None:
    for _ in range(3):
        assert [breaker.call(int) for _ in range(20)] == [0] * 20
        assert sum(waits) == pytest.approx(TIMEOUT)
        waits.clear()
        a_second_later(breaker)


def test_in_asyncio(breaker: CircuitBreaker, waits: list[float]) -> None:
    async def call() -> int:
        return 0

    async def main() -> None:
        for _ in range(3):
            assert [await breaker.call_async(call) for _ in range(20)] == [0] * 20
            assert sum(waits) == pytest.approx(TIMEOUT)
            waits.clear()
            a_second_later(breaker)

    asyncio.run(main())


def test_a_thousand_tasks_at_once(breaker: CircuitBreaker, waits: list[float]) -> None:
    """All that wait for the first one's attempt go on when it has failed."""

    async def call() -> int:
        return 0

    async def main() -> None:
        assert await asyncio.gather(*(breaker.call_async(call) for _ in range(1000))) == [0] * 1000

    asyncio.run(main())
    assert set(waits) <= {TIMEOUT, TIMEOUT / 6}
    if "Cluster" in breaker._state_storage._link.outage._what:  # type: ignore[attr-defined]
        assert sum(waits) == pytest.approx(TIMEOUT)


def test_a_silent_node_or_sentinel_leaves_time_for_the_others(redis_server: Any) -> None:
    """Five of six say nothing; the sixth knows of no cluster, and says so."""
    with silent_servers(5) as hosts:
        url = f"redis+cluster://{','.join(hosts)},127.0.0.1:{redis_server.port}"
        with CircuitBreakerRegistry(url) as registry:
            cluster: Any = registry.get("claude")._state_storage._redis  # type: ignore[attr-defined]
            assert cluster.reachable() == ("127.0.0.1", redis_server.port)
