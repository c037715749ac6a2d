"""asyncio: the same circuit, an event loop that never waits, and cancellation as asyncio means it."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import os
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import fakeredis
import pytest
import redis
import redis.asyncio
import servers
from fleet import until
from proxy import proxy_to
from stores import IN_LOOP

from pybreaker_ext import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitBreakerListener,
    CircuitMemoryStorage,
    CircuitRedisStorage,
    CircuitSQLiteStorage,
)
from pybreaker_ext.admission import CircuitAdmission
from pybreaker_ext.control import CircuitControl
from pybreaker_ext.storage.cancellation import _running, finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from servers import RedisServer


class BackendError(Exception):
    pass


async def fail() -> None:
    raise BackendError


async def five() -> int:
    return 5


def client_of(server: RedisServer, **settings: Any) -> redis.Redis:
    """As we make them from URLs, but patient: these tests aren't about slow machines."""
    return server.client(**{"socket_timeout": 10, "socket_connect_timeout": 10, **settings})


@pytest.fixture(params=["memory", "sqlite", "redis"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., CircuitBreaker]]:
    """Return a function that makes breakers, all on one circuit."""
    if request.param == "memory":
        storage = CircuitMemoryStorage()
        yield lambda **settings: CircuitBreaker(state_storage=storage, **settings)
    elif request.param == "sqlite":
        yield lambda **settings: CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "c.db", "n"), **settings)
    else:
        server: RedisServer = request.getfixturevalue("redis_server")
        with client_of(server) as client:
            shared = CircuitRedisStorage("closed", client, "n")
            yield lambda **settings: CircuitBreaker(state_storage=shared, **settings)
            if shared._link._own is not None:
                shared._link._own.close()


async def outcome(breaker: CircuitBreaker, func: Any) -> str:
    try:
        await breaker.call_async(func)
    except CircuitBreakerError as error:
        return "tripped" if error.__cause__ else "rejected"
    except BackendError:
        return "failed"
    return "ok"


class TestForms:
    def test_the_decorator_in_all_its_forms(self, make: Any) -> None:
        breaker = make()

        async def function(a: int, *, b: int = 2) -> int:
            """Add."""
            await asyncio.sleep(0)
            return a + b

        async def main() -> None:
            for protected in (breaker(function), breaker()(function), breaker.protect(function)):
                assert await protected(1, b=4) == 5
                assert inspect.iscoroutinefunction(protected)
                assert (protected.__name__, protected.__doc__) == ("function", "Add.")
                assert inspect.signature(protected) == inspect.signature(function)

        asyncio.run(main())

    def test_call_and_call_async(self, make: Any) -> None:
        breaker = make()

        async def main() -> None:
            assert await breaker.call(five) == 5
            assert await breaker.call_async(five) == 5
            assert await breaker.call_async(lambda x: x + 1, 4) == 5
            assert await breaker.call_async(five_later) == 5
            assert await breaker.call(lambda: five()) == 5
            args = await breaker.call_async(lambda *args, **kwargs: (args, kwargs), 1, func=2, self=3)
            assert args == ((1,), {"func": 2, "self": 3})

        def five_later() -> Any:
            return asyncio.get_running_loop().create_task(five())

        asyncio.run(main())

    def test_a_trip_a_rejection_a_probe_and_a_close(self, make: Any) -> None:
        breaker = make(fail_max=2, name="b")

        async def main() -> list[str]:
            seen = [await outcome(breaker, f) for f in (five, fail, fail, five)]
            assert (await breaker.snapshot_async()).state == "open"
            await breaker.open_async(0)
            return [*seen, await outcome(breaker, five), (await breaker.snapshot_async()).state]

        assert asyncio.run(main()) == ["ok", "failed", "tripped", "rejected", "ok", "closed"]

    def test_a_failure_within_an_awaitable_that_a_plain_function_returns(self, make: Any) -> None:
        breaker = make(fail_max=1)

        async def main() -> None:
            assert await outcome(breaker, lambda: fail()) == "tripped"
            await breaker.close_async()
            with pytest.raises(CircuitBreakerError) as caught:
                await breaker.call(lambda: fail())
            assert isinstance(caught.value.__cause__, BackendError)

        asyncio.run(main())

    def test_a_coroutine_that_came_out_of_a_rejected_breaker_does_not_linger(self, make: Any) -> None:
        breaker = make()

        async def main() -> None:
            awaitable = breaker.call(lambda: five())
            await breaker.open_async()
            with pytest.raises(CircuitBreakerError):
                await awaitable

        asyncio.run(main())
        gc.collect()

    def test_blocks(self, make: Any) -> None:
        breaker = make(fail_max=2)

        async def main() -> None:
            async with breaker.calling() as given:
                assert given is None
            with pytest.raises(BackendError):
                async with breaker.calling():
                    await fail()
            with pytest.raises(CircuitBreakerError) as caught:
                async with breaker.calling():
                    await fail()
            assert isinstance(caught.value.__cause__, BackendError)
            with pytest.raises(CircuitBreakerError):
                async with breaker.calling():
                    raise AssertionError("entered")

        asyncio.run(main())

    def test_by_hand(self, make: Any) -> None:
        breaker = make()

        async def main() -> None:
            assert await breaker.open_async(60) is True
            snapshot = await breaker.snapshot_async()
            assert (snapshot.state, snapshot.reason) == ("open", "manual")
            assert 59 < snapshot.retry_after <= 60
            await breaker.half_open_async()
            assert (await breaker.snapshot_async()).state == "half-open"
            await breaker.close_async()
            assert (await breaker.snapshot_async()).state == "closed"
            await breaker.open_async()
            await breaker.reset_async()
            assert (await breaker.snapshot_async()).opened_at is None

        asyncio.run(main())

    def test_methods_and_odd_callables(self, make: Any) -> None:
        breaker = make()

        class Client:
            @breaker
            async def method(self, x: int) -> int:
                return x

            @breaker
            @classmethod
            async def above_class(cls, x: int) -> int:
                return x

            @classmethod
            @breaker
            async def below_class(cls, x: int) -> int:
                return x

            @breaker
            @staticmethod
            async def above_static(x: int) -> int:
                return x

            @staticmethod
            @breaker
            async def below_static(x: int) -> int:
                return x

        class Caller:
            async def __call__(self, x: int) -> int:
                return x

        async def main() -> None:
            client = Client()
            caller = breaker.protect(Caller())
            partial = breaker.protect(functools.partial(Client.below_static, 1))
            for function in (client.method, Client.above_class, Client.below_class, client.above_static, caller):
                assert await function(1) == 1
            assert await partial() == 1
            assert await breaker.call(Caller(), 1) == 1
            await breaker.open_async()
            for function in (client.method, Client.above_class, client.below_static, caller):
                with pytest.raises(CircuitBreakerError):
                    await function(1)

        asyncio.run(main())

    def test_threads_and_tasks_share_one_object(self, make: Any) -> None:
        breaker = make(fail_max=2)

        async def main() -> None:
            assert await outcome(breaker, fail) == "failed"

            def in_thread() -> str:
                try:
                    breaker.call(lambda: 1 / 0)
                except CircuitBreakerError:
                    return "tripped"
                return "no"

            assert await asyncio.to_thread(in_thread) == "tripped"
            assert await outcome(breaker, five) == "rejected"

        asyncio.run(main())

    def test_listeners_run_in_the_task_of_their_call(self, make: Any) -> None:
        told: list[Any] = []

        class Listener(CircuitBreakerListener):
            def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
                told.append(("before_call", func.__name__, asyncio.current_task().get_name()))

            def success(self, cb: Any) -> None:
                told.append(("success", asyncio.current_task().get_name()))

            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                told.append((old_state.name, new_state.name, asyncio.current_task().get_name()))

        breaker = make(listeners=[Listener()])

        async def main() -> None:
            asyncio.current_task().set_name("mine")
            await breaker.half_open_async()
            await breaker.call(five)

        asyncio.run(main())
        assert told == [
            ("closed", "half-open", "mine"),
            ("before_call", "five", "mine"),
            ("half-open", "closed", "mine"),
            ("success", "mine"),
        ]

    def test_async_generators_that_come_out_are_guarded(self, make: Any) -> None:
        breaker = make(fail_max=1)

        async def numbers() -> AsyncIterator[int]:
            yield 1
            raise BackendError

        async def main() -> None:
            for guarded in (
                breaker(numbers)(),
                breaker.call(numbers),
                breaker.call(lambda: numbers()),
                await breaker.call_async(numbers),
                await breaker.call_async(lambda: numbers()),
            ):
                await breaker.close_async()
                assert await anext(guarded) == 1
                with pytest.raises(CircuitBreakerError):
                    await anext(guarded)

        asyncio.run(main())

    def test_generators_that_come_out_are_guarded(self, make: Any) -> None:
        breaker = make(fail_max=1)

        def numbers() -> Any:
            yield 1
            raise BackendError

        async def main() -> None:
            for call in (numbers, lambda: numbers()):
                await breaker.close_async()
                guarded = await breaker.call_async(call)
                assert next(guarded) == 1
                with pytest.raises(CircuitBreakerError):
                    next(guarded)

        asyncio.run(main())


class TestTornado:
    tornado = pytest.importorskip("tornado")

    def run(self, story: Callable[[], Any]) -> Any:
        from tornado.ioloop import IOLoop

        loop = IOLoop(make_current=False)
        try:
            return loop.run_sync(story)
        finally:
            loop.close()

    def test_a_tornado_coroutine_can_yield_it(self, make: Any) -> None:
        from tornado import gen

        breaker = make()

        @gen.coroutine
        def backend(x: int) -> Any:
            yield gen.sleep(0)
            raise gen.Return(x)

        @breaker(__pybreaker_call_async=True)
        @gen.coroutine
        def decorated(x: int) -> Any:
            yield gen.sleep(0)
            raise gen.Return(x)

        @gen.coroutine
        def story() -> Any:
            first = yield breaker.call_async(backend, 5)
            second = yield decorated(6)
            raise gen.Return((first, second))

        assert self.run(story) == (5, 6)

    def test_runs_once_right_after_the_timeout(self) -> None:
        """pybreaker's runs the function twice."""
        import pybreaker
        from tornado import gen

        def runs(breaker: Any) -> int:
            ran = []

            @gen.coroutine
            def backend() -> Any:
                ran.append(1)
                raise gen.Return(5)

            @gen.coroutine
            def story() -> Any:
                result = yield breaker.call_async(backend)
                raise gen.Return(result)

            breaker.open()
            self.run(story)
            return len(ran)

        assert runs(pybreaker.CircuitBreaker(reset_timeout=0)) == 2
        assert runs(CircuitBreaker(reset_timeout=0)) == 1


class TestManyTasks:
    def test_a_thousand_at_the_end_of_the_open_time_run_one_probe(self, make: Any) -> None:
        breaker = make()

        async def main() -> list[str]:
            await breaker.open_async(0)
            others_done = asyncio.Event()
            left = 999

            async def backend() -> None:
                await others_done.wait()

            async def one() -> str:
                nonlocal left
                result = await outcome(breaker, backend)
                left -= 1
                if left == 0:
                    others_done.set()
                return result

            return await asyncio.gather(*(one() for _ in range(1000)))

        results = asyncio.run(main())
        assert (results.count("ok"), results.count("rejected")) == (1, 999)

    def test_a_thousand_calls_are_inside_at_the_same_time(self, make: Any) -> None:
        breaker = make()

        async def main() -> None:
            inside = asyncio.Barrier(1000)
            await asyncio.gather(*(breaker.call_async(inside.wait) for _ in range(1000)))

        asyncio.run(main())
        assert breaker.current_state == "closed"

    def test_no_failure_is_lost(self, make: Any) -> None:
        breaker = make(fail_max=1000)

        async def main() -> list[str]:
            return await asyncio.gather(*(outcome(breaker, fail) for _ in range(300)))

        assert asyncio.run(main()) == ["failed"] * 300
        assert breaker.fail_counter == 300


class Ticker:
    """Ticks every millisecond beside the test; remembers its longest gap."""

    async def __aenter__(self) -> Self:
        self.longest = 0.0
        self._task = asyncio.create_task(self._tick())
        await asyncio.sleep(0.01)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()

    async def _tick(self) -> None:
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.001)
            now = time.perf_counter()
            self.longest = max(self.longest, now - last)
            last = now


class TestTheLoopNeverWaits:
    """A blocked loop would show a gap of the whole delay, 500 ms or more; a noisy machine shows less."""

    def test_for_a_slow_redis(self, redis_server: RedisServer) -> None:
        with proxy_to(redis_server.port) as proxy:
            client = redis.Redis(port=proxy.port, socket_timeout=10)
            breaker = CircuitBreaker(
                max_staleness=0.0, fail_max=1, state_storage=CircuitRedisStorage("closed", client, "n")
            )

            async def main() -> float:
                await breaker.call_async(five)
                proxy.delay = 0.5
                async with Ticker() as ticker:
                    begin = time.perf_counter()
                    assert [await outcome(breaker, f) for f in (five, fail, five)] == ["ok", "tripped", "rejected"]
                    assert time.perf_counter() - begin > 2.4  # five round trips: it really was slow
                    assert (await breaker.snapshot_async()).shared
                proxy.delay = 0.0
                return ticker.longest

            assert asyncio.run(main()) < 0.4

    def test_for_a_locked_sqlite_file(self, tmp_path: Path) -> None:
        path = tmp_path / "c.db"
        breaker = CircuitBreaker(fail_max=2, state_storage=CircuitSQLiteStorage(path, "n"))

        async def main() -> float:
            await breaker.call_async(five)
            blocker = sqlite3.connect(path, isolation_level=None)
            blocker.execute("BEGIN IMMEDIATE")
            async with Ticker() as ticker:
                failing = asyncio.create_task(outcome(breaker, fail))
                await asyncio.sleep(0.6)
                assert not failing.done()
                blocker.execute("ROLLBACK")
                assert await failing == "failed"
            blocker.close()
            return ticker.longest

        assert asyncio.run(main()) < 0.4
        assert (breaker.fail_counter, breaker.snapshot().shared) == (1, True)

    def test_for_a_client_that_asyncio_has_no_twin_of(self) -> None:
        """fakeredis without an asyncio client: its commands run in a thread."""
        client = fakeredis.FakeRedis()
        breaker = CircuitBreaker(fail_max=1, state_storage=CircuitRedisStorage("closed", client, "n"))

        async def main() -> list[str]:
            return [await outcome(breaker, f) for f in (five, fail, five)]

        assert asyncio.run(main()) == ["ok", "tripped", "rejected"]
        assert client.get("n:pybreaker:state") == b"open"


class TestCancellation:
    @pytest.fixture(params=["redis", "sqlite", "memory"])
    def breaker(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[CircuitBreaker]:
        if request.param == "redis":
            with client_of(request.getfixturevalue("redis_server")) as client:
                storage = CircuitRedisStorage("closed", client, "n")
                yield CircuitBreaker(success_threshold=2, state_storage=storage)
                if storage._link._own is not None:
                    storage._link._own.close()
        elif request.param == "sqlite":
            yield CircuitBreaker(success_threshold=2, state_storage=CircuitSQLiteStorage(tmp_path / "c.db", "n"))
        else:
            yield CircuitBreaker(success_threshold=2)

    async def neither_wedged_nor_counted(self, breaker: CircuitBreaker) -> None:
        for _ in range(500):
            snapshot = await breaker.snapshot_async()
            if snapshot.probes == 0:
                break
            await asyncio.sleep(0.01)
        assert (snapshot.state, snapshot.probes, snapshot.success_counter) == ("half-open", 0, 0)
        assert await breaker.call_async(five) == 5

    def test_in_the_function(self, breaker: CircuitBreaker) -> None:
        async def main() -> None:
            await breaker.half_open_async()
            started = asyncio.Event()
            error = None

            async def backend() -> None:
                nonlocal error
                started.set()
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError as cancelled:
                    error = cancelled
                    raise

            task = asyncio.create_task(breaker.call_async(backend))
            await started.wait()
            task.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why") as caught:
                await task
            assert task.cancelled()
            assert caught.value is error or caught.value.args == error.args
            await self.neither_wedged_nor_counted(breaker)

        asyncio.run(main())

    def test_while_closed_it_counts_nothing(self, breaker: CircuitBreaker) -> None:
        async def main() -> None:
            await outcome(breaker, fail)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await breaker.call_async(asyncio.sleep, 60)
            assert (await breaker.snapshot_async()).fail_counter == 1

        asyncio.run(main())

    def test_a_time_out_raised_inside_is_a_failure(self, breaker: CircuitBreaker) -> None:
        async def backend() -> None:
            async with asyncio.timeout(0):
                await asyncio.sleep(60)

        async def main() -> None:
            with pytest.raises(TimeoutError):
                await breaker.call_async(backend)
            assert (await breaker.snapshot_async()).fail_counter == 1

        asyncio.run(main())

    def test_task_groups_behave_as_without_the_breaker(self, breaker: CircuitBreaker) -> None:
        async def main() -> None:
            await breaker.half_open_async()
            with pytest.raises(ExceptionGroup) as caught:
                async with asyncio.TaskGroup() as group:
                    group.create_task(breaker.call_async(asyncio.sleep, 60))
                    await asyncio.sleep(0.05)
                    group.create_task(fail())
            assert [type(error) for error in caught.value.exceptions] == [BackendError]
            await self.neither_wedged_nor_counted(breaker)

        asyncio.run(main())

    def test_in_a_listener(self, breaker: CircuitBreaker) -> None:
        """A hook that cancels its own task: the cancellation comes at the next await."""

        class Cancelling(CircuitBreakerListener):
            def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
                asyncio.current_task().cancel()

        async def main() -> None:
            await breaker.half_open_async()
            listener = Cancelling()
            breaker.add_listener(listener)
            task = asyncio.create_task(breaker.call_async(asyncio.sleep, 60))
            with pytest.raises(asyncio.CancelledError):
                await task
            breaker.remove_listener(listener)
            await self.neither_wedged_nor_counted(breaker)

        asyncio.run(main())

    def test_raised_by_a_listener(self, breaker: CircuitBreaker) -> None:
        class Raising(CircuitBreakerListener):
            def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
                raise asyncio.CancelledError

        async def main() -> None:
            await breaker.half_open_async()
            listener = Raising()
            breaker.add_listener(listener)
            with pytest.raises(asyncio.CancelledError):
                await breaker.call_async(five)
            breaker.remove_listener(listener)
            await self.neither_wedged_nor_counted(breaker)

        asyncio.run(main())


class TestEndingLoops:
    """A loop that ends cancels everything, our commands too; a circuit of a fleet must not suffer from it."""

    def test_after_each_number_of_steps_no_permit_is_lost_and_no_outage_declared(
        self, redis_server: RedisServer
    ) -> None:
        with client_of(redis_server) as client:
            storage = CircuitRedisStorage("closed", client, "n")
            breaker = CircuitBreaker(success_threshold=99, state_storage=storage)
            breaker.half_open()
            for steps in range(40):

                async def main(steps: int = steps) -> None:
                    await breaker.snapshot_async()
                    task = asyncio.create_task(breaker.call_async(asyncio.sleep, 60))
                    for _ in range(steps):
                        await asyncio.sleep(0)
                    task.cancel()

                asyncio.run(main())
                until(lambda: breaker.snapshot().probes == 0)
                assert storage._link.outage.epoch == 0, steps
            storage._link._own.close()

    def test_an_ask_whose_answer_comes_after_the_loop(self, redis_server: RedisServer) -> None:
        with proxy_to(redis_server.port) as proxy:
            client = redis.Redis(port=proxy.port, socket_timeout=10)
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"))
            breaker.half_open()

            async def main() -> None:
                await breaker.snapshot_async()
                proxy.delay = 0.3
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await breaker.call_async(five)

            asyncio.run(main())
            proxy.delay = 0.0
            until(lambda: breaker.snapshot().probes == 0)
            assert breaker.snapshot().shared
            breaker._state_storage._link._own.close()

    @pytest.mark.parametrize("inside", [True, False])
    def test_a_closed_coroutine_is_neutral(self, redis_server: RedisServer, inside: bool) -> None:
        with client_of(redis_server) as client:
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"))
            breaker.half_open()

            class Forever:
                def __await__(self) -> Any:
                    while True:
                        yield

            async def main() -> Any:
                coroutine = breaker.call_async(Forever)
                while not breaker.snapshot().probes:
                    waits_for = coroutine.send(None)
                    if waits_for is not None:
                        waits_for._asyncio_future_blocking = False
                        await waits_for
                coroutine.send(None)
                if inside:
                    coroutine.close()
                    return None
                return coroutine

            left = asyncio.run(main())
            if left is not None:
                left.close()
            until(lambda: breaker.snapshot().probes == 0)
            breaker._state_storage._link._own.close()

    def test_nobody_waits_for_a_hanging_store_to_be_cancelled(self, redis_server: RedisServer) -> None:
        with proxy_to(redis_server.port) as proxy:
            client = redis.Redis(port=proxy.port, socket_timeout=10)
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"))
            breaker.half_open()

            async def main() -> bool:
                started = asyncio.Event()

                async def backend() -> None:
                    started.set()
                    await asyncio.sleep(60)

                task = asyncio.create_task(breaker.call_async(backend))
                await started.wait()
                proxy.delay = 1.0
                task.cancel()
                await asyncio.sleep(0.2)
                ended = task.done()
                proxy.delay = 0.0
                return ended

            assert asyncio.run(main())
            until(lambda: breaker.snapshot().probes == 0)
            breaker._state_storage._link._own.close()


class TestCancellationOfWaiting:
    """With a Redis that answers late, so that there is a waiting to be cancelled in."""

    @pytest.fixture
    def late(self, redis_server: RedisServer) -> Iterator[tuple[Any, CircuitBreaker]]:
        with proxy_to(redis_server.port) as proxy:
            client = redis.Redis(port=proxy.port, socket_timeout=10)
            storage = CircuitRedisStorage("closed", client, "n")
            yield proxy, CircuitBreaker(success_threshold=2, state_storage=storage)

    async def settled(self, breaker: CircuitBreaker, **expected: Any) -> None:
        while _running:
            await asyncio.sleep(0.01)
        snapshot = await breaker.snapshot_async()
        found = {name: getattr(snapshot, name) for name in expected}
        assert found == expected

    def test_for_the_ask(self, late: Any) -> None:
        proxy, breaker = late

        async def main() -> None:
            await breaker.half_open_async()
            proxy.delay = 0.3
            ran = []
            task = asyncio.create_task(breaker.call_async(ran.append, 1))
            await asyncio.sleep(0.1)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not ran
            proxy.delay = 0.0
            await self.settled(breaker, state="half-open", probes=0, success_counter=0)

        asyncio.run(main())

    @pytest.mark.parametrize("times", [1, 2])
    def test_for_the_report(self, late: Any, times: int) -> None:
        """It arrives all the same, also when the caller is cancelled twice."""
        proxy, breaker = late

        async def main() -> None:
            await breaker.half_open_async()
            called = asyncio.Event()

            async def backend() -> int:
                proxy.delay = 0.3
                called.set()
                return 5

            task = asyncio.create_task(breaker.call_async(backend))
            await called.wait()
            for _ in range(times):
                await asyncio.sleep(0.05)
                task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            proxy.delay = 0.0
            await self.settled(breaker, state="half-open", probes=0, success_counter=1)

        asyncio.run(main())

    def test_in_the_function_without_waiting_for_the_report(self, late: Any) -> None:
        proxy, breaker = late

        async def main() -> None:
            await breaker.half_open_async()
            called = asyncio.Event()

            async def backend() -> None:
                called.set()
                await asyncio.sleep(60)

            task = asyncio.create_task(breaker.call_async(backend))
            await called.wait()
            proxy.delay = 0.3
            task.cancel()
            await asyncio.sleep(0.1)
            assert task.done()  # nobody waits for a slow store to be cancelled
            with pytest.raises(asyncio.CancelledError):
                await task
            proxy.delay = 0.0
            await self.settled(breaker, state="half-open", probes=0, success_counter=0)

        asyncio.run(main())

    def test_a_manual_opening_is_carried_out(self, late: Any) -> None:
        proxy, breaker = late

        async def main() -> None:
            await breaker.snapshot_async()
            proxy.delay = 0.2
            task = asyncio.create_task(breaker.open_async())
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            proxy.delay = 0.0
            await self.settled(breaker, state="open")

        asyncio.run(main())


class TestLoops:
    def test_one_after_the_other(self, make: Any) -> None:
        breaker = make(fail_max=2)
        assert [asyncio.run(outcome(breaker, f)) for f in (fail, fail, five)] == ["failed", "tripped", "rejected"]
        assert breaker.snapshot().shared

    def test_at_once_in_many_threads(self, make: Any) -> None:
        breaker = make(fail_max=1000)

        async def main() -> list[str]:
            return await asyncio.gather(*(outcome(breaker, fail) for _ in range(20)))

        results: list[str] = []
        threads = [threading.Thread(target=lambda: results.extend(asyncio.run(main()))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert results == ["failed"] * 160
        assert (breaker.fail_counter, breaker.snapshot().shared) == (160, True)

    def test_of_uvloop(self, make: Any) -> None:
        uvloop = pytest.importorskip("uvloop", reason="uvloop is not installed")
        breaker = make(fail_max=2)
        assert [uvloop.run(outcome(breaker, f)) for f in (fail, fail, five)] == ["failed", "tripped", "rejected"]
        loop = uvloop.new_event_loop()
        assert loop.run_until_complete(outcome(breaker, five)) == "rejected"
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
        assert asyncio.run(outcome(breaker, five)) == "rejected"
        assert breaker.snapshot().shared
        gc.collect()

    def test_of_anyio(self, make: Any) -> None:
        """Whose cancellation comes again at every await, until the scope is left."""
        breaker = make(success_threshold=2)

        async def main() -> None:
            await breaker.half_open_async()
            with anyio.move_on_after(0.05) as scope:
                await breaker.call_async(anyio.sleep, 60)
            assert scope.cancelled_caught
            for _ in range(500):
                if not (await breaker.snapshot_async()).probes:
                    break
                await anyio.sleep(0.01)
            assert await outcome(breaker, five) == "ok"
            async with anyio.create_task_group() as group:
                for _ in range(50):
                    group.start_soon(outcome, breaker, five)

        anyio.run(main)
        snapshot = breaker.snapshot()
        assert (snapshot.state, snapshot.shared) == ("closed", True)

    def test_closed_by_hand(self, make: Any) -> None:
        breaker = make()
        for _ in range(3):
            loop = asyncio.new_event_loop()
            assert loop.run_until_complete(outcome(breaker, five)) == "ok"
            loop.close()
        assert asyncio.run(outcome(breaker, five)) == "ok"
        gc.collect()

    def test_before_a_fork(self, redis_server: RedisServer) -> None:
        from test_forks import in_child

        with client_of(redis_server) as client:
            breaker = CircuitBreaker(
                max_staleness=0.0, fail_max=1, state_storage=CircuitRedisStorage("closed", client, "n")
            )
            asyncio.run(outcome(breaker, five))
            assert in_child(lambda: asyncio.run(outcome(breaker, fail))) == "tripped"
            assert asyncio.run(outcome(breaker, five)) == "rejected"

    @pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to count descriptors in")
    def test_nothing_is_left_behind(self, redis_server: RedisServer) -> None:
        def sockets() -> int:
            links = [Path(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd")]  # noqa: PTH208
            return len([link for link in links if link.is_symlink() and "socket" in str(link.readlink())])

        with client_of(redis_server) as client:
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"))
            before, threads = sockets(), threading.active_count()

            async def main() -> None:
                await asyncio.gather(*(breaker.call_async(five) for _ in range(100)))
                assert len(asyncio.all_tasks()) == 1

            for _ in range(3):
                asyncio.run(main())
            assert (sockets(), threading.active_count(), len(_running)) == (before, threads, 0)

    def test_while_other_loops_begin_and_end_commands(self) -> None:
        """A loop that ends looks at the commands of all loops, and other threads' change meanwhile."""

        class Command:
            """One of a loop in another thread, which begins the next one just now."""

            def get_loop(self) -> None:
                if len(others) < 5:
                    others.append(Command())
                    running.add(others[-1])

        running: set[Any] = _running
        others = [Command()]
        running.add(others[0])
        try:
            asyncio.run(finished())
        finally:
            running.difference_update(others)
        assert len(others) > 1


class TestClients:
    def test_the_given_asyncio_clients_settings_are_used(self, redis_server: RedisServer) -> None:
        """The other client can't reach anything; the circuit is in the asyncio client's database."""
        dead = redis.Redis(port=servers.free_port())
        given = redis.asyncio.Redis(port=redis_server.port, db=3)
        storage = CircuitRedisStorage("closed", dead, "n", async_redis=given)
        breaker = CircuitBreaker(fail_max=1, state_storage=storage)

        async def main() -> list[str]:
            return [await outcome(breaker, f) for f in (five, fail, five)]

        assert asyncio.run(main()) == ["ok", "tripped", "rejected"]
        with redis_server.client(db=3) as client:
            assert client.get("n:pybreaker:state") == b"open"

    @pytest.mark.parametrize(
        "settings", [{}, {"decode_responses": True}, {"protocol": 3}, {"client_name": "me", "health_check_interval": 5}]
    )
    def test_made_from_the_other_clients_settings(self, redis_server: RedisServer, settings: dict[str, Any]) -> None:
        with client_of(redis_server, **settings) as client:
            breaker = CircuitBreaker(fail_max=1, state_storage=CircuitRedisStorage("closed", client, "n"))

            async def main() -> bool:
                assert [await outcome(breaker, f) for f in (five, fail, five)] == ["ok", "tripped", "rejected"]
                return (await breaker.snapshot_async()).shared

            assert asyncio.run(main())

    def test_over_a_unix_socket(self, tmp_path: Path) -> None:
        path = str(tmp_path / "s")
        with servers.running_redis("--unixsocket", path):
            client = redis.Redis(unix_socket_path=path)
            breaker = CircuitBreaker(fail_max=1, state_storage=CircuitRedisStorage("closed", client, "n"))

            async def main() -> bool:
                assert [await outcome(breaker, f) for f in (five, fail, five)] == ["ok", "tripped", "rejected"]
                return (await breaker.snapshot_async()).shared

            assert asyncio.run(main())

    def test_of_a_cluster(self, redis_cluster: servers.Cluster) -> None:
        client = redis_cluster.client()
        given = redis.asyncio.RedisCluster(host="127.0.0.1", port=redis_cluster.nodes[0].port)
        for async_redis in (None, given):
            storage = CircuitRedisStorage("closed", client, "n", cluster_mode=True, async_redis=async_redis)
            breaker = CircuitBreaker(fail_max=1, state_storage=storage)

            async def main(breaker: CircuitBreaker = breaker) -> bool:
                await breaker.close_async()
                assert [await outcome(breaker, f) for f in (five, fail, five)] == ["ok", "tripped", "rejected"]
                return (await breaker.snapshot_async()).shared

            assert asyncio.run(main())
            assert client.get("{n}:pybreaker:state") == b"open"
        client.close()

    def test_behind_a_sentinel(self, redis_sentinels: servers.Sentinels) -> None:
        places = [("127.0.0.1", sentinel.port) for sentinel in redis_sentinels.sentinels]
        sync = redis.sentinel.Sentinel(places, socket_timeout=5)
        own = redis.asyncio.sentinel.Sentinel(places, socket_timeout=5)
        client = sync.master_for("main")
        for async_redis in (None, own.master_for("main")):
            storage = CircuitRedisStorage("closed", client, "n", async_redis=async_redis)
            breaker = CircuitBreaker(fail_max=1, state_storage=storage)

            async def main(breaker: CircuitBreaker = breaker) -> bool:
                await breaker.close_async()
                assert [await outcome(breaker, f) for f in (five, fail, five)] == ["ok", "tripped", "rejected"]
                return (await breaker.snapshot_async()).shared

            assert asyncio.run(main())
            assert client.get("n:pybreaker:state") == b"open"
            assert breaker.snapshot().shared
            storage._link._own.close()
        client.close()
        for node in sync.sentinels:
            node.close()


class TestClientsOfTheirOwn:
    def test_a_client_with_commands_of_its_own_is_used_in_both_colours(self, redis_server: RedisServer) -> None:
        class Prefixing(redis.Redis):
            def execute_command(self, *args: Any, **options: Any) -> Any:
                if args[0] in ("EVALSHA", "EVAL"):
                    args = (*args[:3], *(b"tenant:" + key for key in args[3:9]), *args[9:])
                return super().execute_command(*args, **options)

        with Prefixing(port=redis_server.port) as client:
            breaker = CircuitBreaker(state_storage=CircuitRedisStorage("closed", client, "n"))
            breaker.open()
            assert asyncio.run(breaker.snapshot_async()).state == "open"
            with redis_server.client() as admin:
                assert {key.partition(b":")[0] for key in admin.scan_iter()} == {b"tenant"}

    def test_theirs_with_all_connections_taken_is_no_outage_and_no_endless_wait(
        self, redis_server: RedisServer
    ) -> None:
        class Pool(redis.asyncio.ConnectionPool):
            pass

        with client_of(redis_server) as client:

            async def main() -> None:
                own = redis.asyncio.Redis.from_pool(Pool(port=redis_server.port, max_connections=1))
                storage = CircuitRedisStorage("closed", client, "n", async_redis=own)
                breaker = CircuitBreaker(state_storage=storage)
                assert await breaker.call_async(five) == 5
                taken = await own.connection_pool.get_connection()
                assert await breaker.call_async(five) == 5
                assert storage._link.outage.epoch == 0
                await own.connection_pool.release(taken)
                assert (await breaker.snapshot_async()).shared
                await own.aclose()

            asyncio.run(main())


class TestRedisGone:
    def test_a_storm_of_tasks_hears_at_once(self) -> None:
        """Those in the queue must not wait one time-out after the other for their turn to find out."""
        with servers.running_redis() as server:
            client = server.client(socket_timeout=0.25, socket_connect_timeout=0.25)
            breaker = CircuitBreaker(max_staleness=0.0, state_storage=CircuitRedisStorage("closed", client, "n"))

            async def main() -> list[str]:
                await breaker.call_async(five)
                server.pause()
                async with asyncio.timeout(5):  # 40 time-outs in a row would take 10 s
                    return await asyncio.gather(*(outcome(breaker, five) for _ in range(2000)))

            assert asyncio.run(main()) == ["ok"] * 2000
            server.resume()

    def test_goes_on_alone_and_comes_back(self) -> None:
        with servers.running_redis() as server:
            client = server.client(socket_timeout=0.25, socket_connect_timeout=0.25)
            breaker = CircuitBreaker(
                max_staleness=0.0, fail_max=2, state_storage=CircuitRedisStorage("closed", client, "n")
            )

            async def main() -> None:
                assert await outcome(breaker, fail) == "failed"
                for vanish, come_back in ((server.kill, server.start), (server.pause, server.resume)):
                    vanish()
                    seen = [await outcome(breaker, f) for f in (five, fail, fail, five)]
                    assert seen == ["ok", "failed", "tripped", "rejected"]
                    assert not (await breaker.snapshot_async()).shared
                    come_back()
                    for _ in range(3000):
                        if (await breaker.snapshot_async()).shared:
                            break
                        await asyncio.sleep(0.01)
                    assert (await breaker.snapshot_async()).shared
                    await breaker.close_async()

            asyncio.run(main())

    @pytest.mark.parametrize("settings", [{"host": "cache..local"}, {"encoding": "ascii"}, {"protocol": 9}], ids=str)
    def test_settings_that_make_no_sense(self, redis_server: RedisServer, settings: dict[str, Any]) -> None:
        client = redis.Redis(**{"host": "127.0.0.1", "port": redis_server.port, **settings})
        breaker = CircuitBreaker(
            max_staleness=0.0, fail_max=1, state_storage=CircuitRedisStorage("closed", client, "ü")
        )

        async def main() -> list[str]:
            return [await outcome(breaker, f) for f in (five, fail, five)]

        assert asyncio.run(main()) == ["ok", "tripped", "rejected"]

    def test_a_client_that_cannot_be_made(self) -> None:
        """Making the asyncio client from the other one's settings may fail, too."""
        client = redis.Redis(port=servers.free_port())
        client.connection_pool.connection_kwargs["db"] = {}
        client.connection_pool.max_connections = "many"
        breaker = CircuitBreaker(fail_max=1, state_storage=CircuitRedisStorage("closed", client))

        async def main() -> list[str]:
            return [await outcome(breaker, f) for f in (five, fail, five)]

        assert asyncio.run(main()) == ["ok", "tripped", "rejected"]

    def test_dead_from_the_beginning(self) -> None:
        client = redis.Redis(port=servers.free_port())
        breaker = CircuitBreaker(fail_max=1, state_storage=CircuitRedisStorage("closed", client))

        async def main() -> list[str]:
            return [await outcome(breaker, f) for f in (five, fail, five)]

        assert asyncio.run(main()) == ["ok", "tripped", "rejected"]

    def test_a_dead_loop_does_not_keep_the_turn(self) -> None:
        """The one caller that tries the store again vanishes with its loop."""
        with servers.running_redis() as server:
            client = server.client(socket_timeout=30, socket_connect_timeout=30)
            storage = CircuitRedisStorage("closed", client, "n")
            breaker = CircuitBreaker(state_storage=storage, max_staleness=0.0)
            assert asyncio.run(outcome(breaker, five)) == "ok"
            server.pause()
            outage = storage._link.outage
            outage.epoch, outage._next_try = 1, 0.0  # known to be away, and due

            async def main() -> None:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(0.1):
                        await breaker.call_async(five)

            asyncio.run(main())
            server.resume()
            gc.collect()
            outage._next_try = 0.0
            until(lambda: asyncio.run(breaker.snapshot_async()).shared)


class TestTwins:
    """The two colours have the same names, parameters and documentation."""

    @pytest.mark.parametrize("name", ["open", "half_open", "close", "reset", "snapshot"])
    def test_of_the_operations(self, name: str) -> None:
        sync, twin = getattr(CircuitBreaker, name), getattr(CircuitBreaker, f"{name}_async")
        assert inspect.signature(sync) == inspect.signature(twin)
        assert sync.__doc__ == twin.__doc__
        assert inspect.iscoroutinefunction(twin)

    def test_of_call(self) -> None:
        sync, twin = (inspect.signature(f).parameters for f in (CircuitBreaker.call, CircuitBreaker.call_async))
        assert [(p.name, p.kind) for p in sync.values()] == [(p.name, p.kind) for p in twin.values()]
        assert CircuitBreaker.call.__doc__ == CircuitBreaker.call_async.__doc__

    @pytest.mark.parametrize(
        "cls",
        [
            CircuitControl,
            CircuitAdmission,
            CircuitBreaker,
            CircuitMemoryStorage,
            CircuitSQLiteStorage,
            CircuitRedisStorage,
        ],
    )
    def test_every_twin_has_its_sibling(self, cls: type) -> None:
        for name, function in inspect.getmembers(cls, inspect.isfunction):
            if name.endswith("_async") and function.__module__.startswith("pybreaker_ext"):
                sibling = getattr(cls, name.removesuffix("_async"))
                parameters = inspect.signature(function).parameters
                assert list(parameters) == list(inspect.signature(sibling).parameters), name
                assert function.__doc__ == sibling.__doc__, name

    def test_nothing_that_does_io_lacks_a_twin(self) -> None:
        for cls in (CircuitControl, CircuitAdmission):
            for name, function in vars(cls).items():
                if not inspect.isfunction(function) or name.endswith("_async"):
                    continue
                calls = {*function.__code__.co_names}
                if "apply" in calls:
                    assert hasattr(cls, f"{name}_async"), name


def test_every_store_is_tried_in_both_colours() -> None:
    """The contract suite's list of stores has an asyncio twin of each."""
    from stores import ALL_KINDS, KINDS

    assert set(ALL_KINDS) == {*KINDS, *(IN_LOOP + kind for kind in KINDS)}
