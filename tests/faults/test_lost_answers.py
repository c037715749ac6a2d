"""An answer that is lost after its command was executed: nothing is sent again, so nothing counts twice."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from proxy import proxy_to

from faults.proxy_faults import cut, each_tenth, lose
from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy import Proxy
    from servers import RedisServer

CALLS = 40


class Asked:
    """Counts the questions that the proxy passes on, by what they are."""

    def __init__(self, proxy: Proxy) -> None:
        self.counts: dict[bytes, int] = {}
        proxy.asked = self._count

    def _count(self, data: bytes) -> None:
        for kind in (b"ask ", b"success ", b"failure "):
            self.counts[kind] = self.counts.get(kind, 0) + data.count(b"\n" + kind)

    def take(self) -> dict[bytes, int]:
        counts, self.counts = self.counts, {}
        return counts


@pytest.mark.parametrize("colour", ["threads", "asyncio"])
@pytest.mark.parametrize("of_it", [lose, cut])
@pytest.mark.parametrize("kind", ["failure", "success"])
def test_each_report_is_sent_once_and_counts_once(
    redis_server: RedisServer, colour: str, of_it: Callable[[bytes], bytes], kind: str
) -> None:
    """A closed circuit counts failures; one that is half-open counts successes."""
    with proxy_to(redis_server.port) as proxy, asyncio.Runner() as runner:
        asked = Asked(proxy)
        url = f"redis://127.0.0.1:{proxy.port}/0?socket_timeout=0.2"
        settings: dict[str, Any] = {"fail_max": 1000, "success_threshold": 1000, "half_open_max_calls": 1000}
        with CircuitBreakerRegistry(url, max_staleness=0.0, **settings) as registry:
            breaker = registry.get("claude")
            call = calling(breaker, colour, runner, fails=kind == "failure")
            if kind == "success":
                half_open(redis_server)
            call()
            proxy.passes = each_tenth(of_it)
            reports = asked.take()[kind.encode() + b" "]
            for _ in range(CALLS):
                breaker._state_storage.outage._next_try = 0.0  # type: ignore[attr-defined]  a second later
                call()
                sent = asked.take()
                assert sent.get(b"ask ", 0) <= 1
                assert sum(sent.values()) - sent.get(b"ask ", 0) <= 1
                reports += sent.get(kind.encode() + b" ", 0)
            proxy.passes = bytes
    with CircuitBreakerRegistry(patient(redis_server), max_staleness=0.0) as registry:
        snapshot = registry.get("claude").snapshot()
    assert reports > CALLS // 4
    assert (snapshot.fail_counter if kind == "failure" else snapshot.success_counter) == reports


def patient(server: RedisServer) -> str:
    return f"{server.url}?socket_timeout=20&socket_connect_timeout=20"


def half_open(server: RedisServer) -> None:
    with CircuitBreakerRegistry(patient(server)) as registry:
        registry.get("claude").half_open()


def calling(breaker: Any, colour: str, runner: asyncio.Runner, *, fails: bool) -> Callable[[], None]:
    """Return what makes one call in a colour."""

    def function() -> None:
        if fails:
            raise ZeroDivisionError

    async def function_async() -> None:
        function()

    def call() -> None:
        try:
            breaker.call(function) if colour == "threads" else runner.run(breaker.call_async(function_async))
        except ZeroDivisionError:
            assert fails

    return call
