"""Some nodes of a cluster, or some sentinels, take connections and never answer: what that costs a call.

Asserted is how long all connections together wait in vain, whatever the machine makes of it. The few
tests that look at a clock have time-outs so long that two of them can't be taken for one.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import servers
from proxy import proxy_to
from waits import Waits, total, waits_in_vain

from pybreaker_ext import CircuitBreakerRegistry, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pybreaker_ext import CircuitBreaker

#: Seconds. What is asserted with it holds however slow the machine is.
SHORT = 0.1
QUICK = f"socket_timeout={SHORT}&socket_connect_timeout={SHORT}"
#: Seconds.
LONG = 2.0
SLOW = f"socket_timeout={LONG}&socket_connect_timeout={LONG}"
#: Milliseconds. Nobody is replaced while a test runs.
DEAD_AFTER = 60_000
KEY = "{claude}:pybreaker:state"


@pytest.fixture(scope="module")
def cluster(_redis_program: None) -> Iterator[servers.Cluster]:
    with servers.running_cluster(3, replicas=1, dead_after=DEAD_AFTER) as made:
        yield made


@pytest.fixture(scope="module")
def sentinels(_redis_program: None) -> Iterator[servers.Sentinels]:
    with servers.running_sentinels(dead_after=DEAD_AFTER) as made:
        yield made


@contextlib.contextmanager
def silent(*paused: servers.RedisServer) -> Iterator[None]:
    for server in paused:
        server.pause()
    try:
        yield
    finally:
        for server in paused:
            server.resume()
        for server in paused:
            servers.first_answer([server], lambda client: client.ping())


@pytest.fixture
def lost() -> Iterator[Waits]:
    with waits_in_vain() as found:
        yield found


class Caller:
    """Makes calls in one colour."""

    def __init__(self, colour: str) -> None:
        self.colour = colour
        self.runner = asyncio.Runner()

    def call(self, breaker: CircuitBreaker, function: Callable[[], Any] = int) -> Any:
        async def function_async() -> Any:
            return function()

        if self.colour == "threads":
            return breaker.call(function)
        return self.runner.run(self._awaited(breaker, function_async))

    def burst(self, breaker: CircuitBreaker, number: int) -> None:
        """Call from so many threads or tasks at once."""
        if self.colour == "threads":
            threads = [threading.Thread(target=breaker.call, args=(int,)) for _ in range(number)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            self.runner.run(_burst(breaker, number))

    def way_to_the_cluster(self, breaker: CircuitBreaker) -> Any:
        link: Any = breaker._state_storage._link  # type: ignore[attr-defined]
        return link._own if self.colour == "threads" else next(iter(link._loops._open.values())).client

    async def _awaited(self, breaker: CircuitBreaker, function: Any) -> Any:
        return await breaker.call_async(function)

    def shared(self, breaker: CircuitBreaker) -> bool:
        if self.colour == "threads":
            return breaker.snapshot().shared
        return self.runner.run(breaker.snapshot_async()).shared


async def _burst(breaker: CircuitBreaker, number: int) -> None:
    async def nothing() -> None:
        pass

    await asyncio.gather(*(breaker.call_async(nothing) for _ in range(number)))


@pytest.fixture(params=["threads", "asyncio"])
def caller(request: pytest.FixtureRequest) -> Iterator[Caller]:
    made = Caller(request.param)
    with made.runner:
        yield made


@pytest.fixture(params=["never called before", "called before"])
def before(request: pytest.FixtureRequest) -> bool:
    return request.param == "called before"


@contextlib.contextmanager
def breaker_of(store: servers.Cluster | servers.Sentinels, *options: str, **settings: Any) -> Iterator[CircuitBreaker]:
    """A breaker that knows nothing of the store from others: no other has its URL. Its store's clock stands still."""
    query = "&".join([f"client_name=user-{next(_users)}", *options])
    with CircuitBreakerRegistry(f"{store.url}?{query}", **{"max_staleness": 0.0, **settings}) as registry:
        breaker = registry.get("claude", fail_max=100)
        outage_of(breaker)._clock = lambda: 1000.0
        yield breaker


_users = itertools.count()


def outage_of(breaker: CircuitBreaker) -> Any:
    return breaker._state_storage._link.outage  # type: ignore[attr-defined]


def a_second_later(breaker: CircuitBreaker) -> None:
    outage_of(breaker)._next_try = 0.0


def lost_by_a_call(breaker: CircuitBreaker, caller: Caller, lost: Waits) -> float:
    """Return the seconds that a call has waited in vain which tries the store."""
    a_second_later(breaker)
    lost.clear()
    assert caller.call(breaker) == 0
    return total(lost)


def of_the_cluster(cluster: servers.Cluster, which: str) -> list[servers.RedisServer]:
    own, replica = cluster.holders_of(KEY)
    primaries = [node for node in cluster.nodes[:3] if node is not own]
    replicas = [node for node in cluster.nodes[3:] if node is not replica]
    return {
        "own primary": [own],
        "own primary, a replica": [own, replicas[0]],
        "own primary, its replica, another primary": [own, replica, primaries[0]],
        "all but one": [own, replica, *primaries, replicas[0]],
        "one primary": primaries[:1],
        "all other primaries": primaries,
        "all but own primary": [replica, *primaries, *replicas],
    }[which]


@pytest.mark.parametrize(
    "which", ["own primary", "own primary, a replica", "own primary, its replica, another primary", "all but one"]
)
class TestOwnPrimarySilent:
    def test_an_attempt_waits_one_timeout_in_vain(
        self, cluster: servers.Cluster, caller: Caller, before: bool, lost: Waits, which: str
    ) -> None:
        with breaker_of(cluster, QUICK) as breaker:
            if before:
                caller.call(breaker)
            with silent(*of_the_cluster(cluster, which)):
                waited = [lost_by_a_call(breaker, caller, lost) for _ in range(2)]
            assert sum(waited) > 0
            assert max(waited) <= SHORT + 1e-6


@pytest.mark.parametrize("which", ["one primary", "all other primaries", "all but own primary"])
def test_others_that_are_silent_keep_no_circuit_from_its_store(
    cluster: servers.Cluster, caller: Caller, lost: Waits, which: str
) -> None:
    """Also when one of them is the primary that redis-py would ask for its commands first."""
    with breaker_of(cluster, SLOW) as breaker:
        with silent(*of_the_cluster(cluster, which)):
            caller.call(breaker)
            if not caller.shared(breaker):  # five of six were asked, and all in vain
                a_second_later(breaker)
                caller.call(breaker)
            assert caller.shared(breaker)
            assert total(lost) <= LONG + 1e-6
            lost.clear()
            caller.call(breaker)
            assert caller.shared(breaker)
            assert not lost


def test_the_clock_says_so_too(cluster: servers.Cluster, caller: Caller) -> None:
    with breaker_of(cluster, SLOW) as breaker:
        with silent(*of_the_cluster(cluster, "own primary, its replica, another primary")):
            began = time.monotonic()
            caller.call(breaker)
            assert time.monotonic() - began < 1.75 * LONG
            assert not caller.shared(breaker)


def test_those_who_wait_for_another_to_find_the_nodes_wait_for_nothing_else(
    cluster: servers.Cluster, caller: Caller, lost: Waits
) -> None:
    """What one has waited for in vain, nobody who has waited meanwhile waits for again."""
    silent_ones = of_the_cluster(cluster, "own primary, its replica, another primary")
    with breaker_of(cluster, QUICK) as breaker:
        caller.call(breaker)
        way = caller.way_to_the_cluster(breaker)
        way._map = None
        for server in reversed(silent_ones):
            way._turns.put_first(("127.0.0.1", server.port))
        a_second_later(breaker)
        lost.clear()
        with silent(*silent_ones):
            caller.burst(breaker, 20)
        waited = [sum(each) for each in lost.values()]
        assert 0 < max(waited) <= SHORT + 1e-6
        assert len(waited) <= 3  # some may come when it is over, and isn't told yet


def test_a_slot_that_has_moved_to_a_silent_node(cluster: servers.Cluster, caller: Caller, lost: Waits) -> None:
    """When others were silent before, what is left must do for it, too."""
    own, _replica = cluster.holders_of(KEY)
    with breaker_of(cluster, SLOW) as breaker:
        caller.call(breaker)
        way = caller.way_to_the_cluster(breaker)
        elsewhere = next(node for node in cluster.nodes[:3] if node is not own)
        slot = servers.first_answer(cluster.nodes, lambda client: client.cluster("keyslot", KEY))
        way._map._owners[slot] = "127.0.0.1", elsewhere.port
        way._map.left = 0.4
        way._map.alive = {("127.0.0.1", elsewhere.port)}
        with silent(own):
            caller.call(breaker)
        assert [each for each in lost.values() if each] == [[pytest.approx(0.4 * LONG)]]


def test_a_failure_that_a_silent_node_was_told_is_told_to_nobody_else(cluster: servers.Cluster, caller: Caller) -> None:
    """The node reads it when it goes on; that it was told twice would be seen in the count."""

    def fail() -> None:
        raise ZeroDivisionError

    cluster.clear()
    with breaker_of(cluster, SLOW, max_staleness=60.0) as breaker:
        caller.call(breaker)  # from now on calls are admitted without the store
        with silent(cluster.primary_of(KEY)):
            with pytest.raises(ZeroDivisionError):
                caller.call(breaker, fail)
            assert not caller.shared(breaker)
        a_second_later(breaker)
        with pytest.raises(ZeroDivisionError):
            caller.call(breaker, fail)
        assert caller.shared(breaker)
        assert breaker.fail_counter in (1, 2)  # a node that goes on may find its sender gone


def of_the_sentinels(sentinels: servers.Sentinels, which: str) -> list[servers.RedisServer]:
    first, second, third = sentinels.sentinels
    primary = sentinels.primary
    return {
        "primary": [primary],
        "primary, a sentinel": [primary, second],
        "primary, two sentinels": [primary, first, third],
        "everybody": [primary, first, second, third],
        "a sentinel": [first],
        "two sentinels": [first, second],
    }[which]


@pytest.mark.parametrize("which", ["primary", "primary, a sentinel", "primary, two sentinels", "everybody"])
def test_a_silent_primary_and_silent_sentinels_together_cost_one_timeout(
    sentinels: servers.Sentinels, caller: Caller, before: bool, lost: Waits, which: str
) -> None:
    with breaker_of(sentinels, QUICK) as breaker:
        if before:
            caller.call(breaker)
        with silent(*of_the_sentinels(sentinels, which)):
            waited = [lost_by_a_call(breaker, caller, lost) for _ in range(2)]
        # A machine that is late may have used an attempt up before it waits.
        assert sum(waited) > 0
        assert max(waited) <= SHORT + 1e-6


@pytest.mark.parametrize("which", ["a sentinel", "two sentinels"])
def test_silent_sentinels_keep_no_circuit_from_its_store(
    sentinels: servers.Sentinels, caller: Caller, lost: Waits, which: str
) -> None:
    with breaker_of(sentinels, SLOW) as breaker:
        with silent(*of_the_sentinels(sentinels, which)):
            for _ in range(2):
                caller.call(breaker)
                assert caller.shared(breaker)
            assert total(lost) <= LONG + 1e-6


def test_sentinels_that_are_far_away_are_heard(sentinels: servers.Sentinels, caller: Caller) -> None:
    """Each answer takes four tenths of the time-out."""
    with contextlib.ExitStack() as stack:
        proxies = [stack.enter_context(proxy_to(sentinel.port)) for sentinel in sentinels.sentinels]
        for proxy in proxies:
            proxy.delay = 0.4 * LONG
        addresses = ",".join(f"127.0.0.1:{proxy.port}" for proxy in proxies)
        url = f"redis+sentinel://{addresses}/{sentinels.url.split('/', 3)[3]}?{SLOW}"
        registry = stack.enter_context(CircuitBreakerRegistry(url, max_staleness=0.0))
        assert caller.shared(registry.get("claude"))


def test_a_history_that_could_not_be_read_keeps_nobody_from_the_store() -> None:
    """It tells no outage, and so nobody may rely on its having been told."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with CircuitBreakerRegistry(f"redis+cluster://127.0.0.1:{port}") as registry:
            breaker = registry.get("claude")
            with pytest.raises(StoreUnavailableError):
                breaker.history()
            outage: Any = breaker._state_storage.outage
            assert outage.epoch == 0
            breaker.call(int)
            assert outage.epoch == 1  # it has asked, and not merely believed that others had
