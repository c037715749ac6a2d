"""A store that moves to another server under its callers: none of them is told, and the circuit goes on there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from fleet import until
from servers import running_cluster, running_sentinels

from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from servers import Cluster, RedisServer, Sentinels

    from pybreaker_ext import CircuitBreaker


@pytest.fixture(params=["cluster", "sentinels"])
def store(request: pytest.FixtureRequest, redis_server: RedisServer) -> Iterator[Cluster | Sentinels]:
    del redis_server  # which skips the test when there is no program to start
    running = running_cluster(3, replicas=1) if request.param == "cluster" else running_sentinels()
    with running as made:
        yield made


@pytest.fixture
def breaker(store: Cluster | Sentinels) -> Iterator[CircuitBreaker]:
    with CircuitBreakerRegistry(store.url, max_staleness=0.0) as registry:
        yield registry.get("claude", fail_max=100)


def primary(store: Cluster | Sentinels, breaker: CircuitBreaker) -> RedisServer:
    key = breaker._state_storage._keys[0].decode()
    return store.primary_of(key) if hasattr(store, "primary_of") else store.primary


def lose(server: RedisServer, how: str) -> None:
    getattr(server, how)()


def fail() -> None:
    raise ZeroDivisionError


async def fail_async() -> None:
    raise ZeroDivisionError


async def until_async(holds: Callable[[], Any]) -> None:
    """Let other tasks run until it holds."""
    async with asyncio.timeout(60):
        while not await holds():
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("how", ["kill", "pause"])
class TestFailover:
    def test_in_threads(self, store: Cluster | Sentinels, breaker: CircuitBreaker, how: str) -> None:
        with pytest.raises(ZeroDivisionError):
            breaker.call(fail)
        lost = primary(store, breaker)
        lose(lost, how)

        def moved() -> bool:
            assert breaker.call(int) == 0
            return breaker.snapshot().shared

        breaker.call(int)
        assert not breaker.snapshot().shared
        until(moved, pause=0.05)
        until(lambda: primary(store, breaker) is not lost)  # the other nodes hear of it a moment later
        lost.resume() if how == "pause" else lost.start()
        for count in range(1, 4):  # also when the old primary is there again, as a replica
            with pytest.raises(ZeroDivisionError):
                breaker.call(fail)
            assert (breaker.fail_counter, breaker.snapshot().shared) == (count, True)

    def test_in_asyncio(self, store: Cluster | Sentinels, breaker: CircuitBreaker, how: str) -> None:
        async def main() -> None:
            with pytest.raises(ZeroDivisionError):
                await breaker.call_async(fail_async)
            lost = primary(store, breaker)
            lose(lost, how)

            async def moved() -> bool:
                assert await breaker.call_async(int) == 0
                return (await breaker.snapshot_async()).shared

            assert not await moved()
            await until_async(moved)
            until(lambda: primary(store, breaker) is not lost)  # the other nodes hear of it a moment later
            lost.resume() if how == "pause" else lost.start()
            for count in range(1, 4):
                with pytest.raises(ZeroDivisionError):
                    await breaker.call_async(fail_async)
                snapshot = await breaker.snapshot_async()
                assert (snapshot.fail_counter, snapshot.shared) == (count, True)

        asyncio.run(main())
