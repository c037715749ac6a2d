"""Streams at their edges: what is closed and how, what is kept, and what ends while a stream is open."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import math
import socket
import subprocess
import sys
import sysconfig
import textwrap
import threading
import weakref
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

import pytest
from colours import COLOURS, ENDED, Source
from fleet import until
from test_streams import FAILURE, NOTHING, SUCCESS, BackendError, Case, ConsumersError, EqualToAllError

from pybreaker_ext import CircuitBreaker, CircuitBreakerError, CircuitRedisStorage
from pybreaker_ext.streams import IncompleteStreamError
from pybreaker_ext.streams.connection import cutter
from pybreaker_ext.streams.watchdog import Watch, Watchdog, watchdog

if TYPE_CHECKING:
    from collections.abc import Iterator

BOTH = pytest.mark.parametrize("colour", COLOURS, ids=lambda colour: colour.name)


class Chunks:
    """What is iterated by a generator that it makes, as `requests.Response` is."""

    status_code = 200

    def __init__(self, *chunks: Any) -> None:
        self.chunks = chunks
        self.ended: list[str] = []

    def __iter__(self) -> Iterator[Any]:
        try:
            yield from self.chunks
        finally:
            self.ended.append("iterator")

    async def __aiter__(self) -> Any:
        try:
            for chunk in self.chunks:
                yield chunk
        finally:
            await asyncio.sleep(0)
            self.ended.append("iterator")

    def close(self) -> None:
        self.ended.append("stream")


class Wired:
    """Has a connection, as httpx's responses tell of theirs."""

    def __enter__(self) -> Self:
        self.connection, self._other = socket.socketpair()
        stream = SimpleNamespace(get_extra_info=lambda _: self.connection)
        self.extensions = {"network_stream": stream}
        return self

    def __exit__(self, *_: object) -> None:
        self.connection.close()
        self._other.close()


class Manager:
    """A context manager of either colour that notes how it is left."""

    def __init__(self, found: Any) -> None:
        self.found = found
        self.left: list[Any] = []

    def __enter__(self) -> Any:
        return self.found

    def __exit__(self, *error: object) -> None:
        self.left.append(error[1])

    async def __aenter__(self) -> Any:
        return self.found

    async def __aexit__(self, *error: object) -> None:
        self.left.append(error[1])


@BOTH
class TestClosing:
    def test_the_iterator_that_was_made_of_it_too(self, colour: Any) -> None:
        case, found = Case(), Chunks(1, 2)

        async def story() -> None:
            stream = case.breaker.stream(colour.returning(found))
            await colour.next(stream)
            assert stream.status_code == 200
            await colour.close(stream)
            assert found.ended == ["iterator", "stream"]

        colour.run(story())

    @pytest.mark.parametrize("equal", [True, False])
    def test_also_when_it_says_what_it_is_equal_to(self, colour: Any, equal: bool) -> None:
        """As arrays and columns do: they are never compared."""

        class Strange(Chunks):
            def __eq__(self, other: object) -> Any:
                return equal

            __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __eq__
            __hash__ = None

        found = Strange(1, 2)

        async def story() -> None:
            stream = Case().breaker.stream(colour.returning(found))
            await colour.next(stream)
            await colour.close(stream)
            assert found.ended == ["iterator", "stream"]

        colour.run(story())

    def test_also_when_it_can_not_be_iterated_after_all(self, colour: Any) -> None:
        closed: list[bool] = []

        class Broken:
            def __iter__(self) -> Any:
                raise BackendError

            __aiter__ = __iter__

            def close(self) -> None:
                closed.append(True)

        case = Case()

        async def story() -> None:
            with pytest.raises(BackendError):
                await colour.next(case.breaker.stream(colour.returning(Broken())))

        colour.run(story())
        assert (case.counted, closed) == (FAILURE, [True])

    def test_a_generator_that_a_manager_gave(self, colour: Any) -> None:
        source = Source(1, 2)
        manager = Manager(colour.function(source)())

        async def story() -> None:
            stream = Case().breaker.stream(lambda: manager)
            await colour.next(stream)
            await colour.close(stream)
            assert (source.closed, len(manager.left)) == (1, 1)

        colour.run(story())

    def test_a_manager_is_not_told_of_what_the_consumer_is_handling(self, colour: Any) -> None:
        """A stream may well be the answer to an error: a second attempt, or another model."""
        case, manager = Case(), Manager(Chunks(1, 2))

        def consumer_fails() -> None:
            raise ConsumersError

        async def story() -> None:
            try:
                consumer_fails()
            except ConsumersError:
                assert await colour.all(case.breaker.stream(lambda: manager)) == [1, 2]

        colour.run(story())
        assert (case.counted, manager.left) == (SUCCESS, [None])

    def test_a_manager_is_told_of_an_error(self, colour: Any) -> None:
        case, error = Case(), BackendError()
        manager = Manager(colour.function(Source(1, error))())

        async def story() -> None:
            with pytest.raises(BackendError):
                await colour.all(case.breaker.stream(lambda: manager))

        colour.run(story())
        assert (case.counted, manager.left) == (FAILURE, [error])

    def test_a_manager_that_gives_itself_is_no_stream(self, colour: Any) -> None:
        """As aiohttp's responses do."""
        case, manager = Case(), Manager(None)
        manager.found = manager

        async def story() -> None:
            with pytest.raises(TypeError, match="the context manager gave Manager, which is"):
                await colour.next(case.breaker.stream(lambda: manager))

        colour.run(story())
        assert (case.counted, len(manager.left)) == (NOTHING, 1)


@BOTH
class TestConsumersMistakes:
    def test_sending_to_what_is_no_generator(self, colour: Any) -> None:
        case = Case()

        class Stream:
            def __next__(self) -> int:
                return 1

            async def __anext__(self) -> int:
                return 1

        async def story() -> None:
            stream = case.breaker.stream(colour.returning(Stream()))
            await colour.next(stream)
            with pytest.raises(AttributeError, match="send"):
                await colour.send(stream, 5)

        colour.run(story())
        assert case.counted == NOTHING

    @pytest.mark.parametrize("inner", [RuntimeError, EqualToAllError])
    def test_an_error_of_theirs_that_the_source_wraps_twice(self, colour: Any, inner: type[Exception]) -> None:
        case = Case()

        @contextlib.contextmanager
        def wrapping(kind: type[Exception]) -> Iterator[None]:
            try:
                yield
            except Exception as error:
                raise kind from error

        def plain() -> Iterator[int]:
            with wrapping(RuntimeError), wrapping(inner):
                yield 1

        async def asynchronous() -> Any:
            with wrapping(RuntimeError), wrapping(inner):
                yield 1

        async def story() -> None:
            stream = case.breaker(plain if colour.name == "threads" else asynchronous)()
            await colour.next(stream)
            with pytest.raises(RuntimeError):
                await colour.throw(stream, ConsumersError())

        colour.run(story())
        assert case.counted == NOTHING


@BOTH
class TestRules:
    @pytest.mark.parametrize("name", ["complete", "failure_chunk"])
    def test_an_answer_that_is_neither_true_nor_false_is_a_failed_rule(
        self, colour: Any, name: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        """As numpy's arrays are neither."""

        class Neither:
            def __bool__(self) -> bool:
                raise ValueError("ambiguous")

        case = Case()

        async def story() -> None:
            predicate: Any = {name: lambda _: Neither()}
            assert await colour.all(case.breaker.stream(colour.function(Source(1)), **predicate)) == [1]

        with caplog.at_level(logging.ERROR, "pybreaker_ext.streams"):
            colour.run(story())
        assert case.counted == FAILURE
        assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError]


@BOTH
def test_an_error_after_an_error_event_is_not_judged(colour: Any) -> None:
    judged: list[BaseException] = []
    case = Case(ignore=[lambda error: judged.append(error)])

    async def story() -> None:
        stream = case.breaker.stream(colour.function(Source(1, BackendError())), failure_chunk=lambda _: True)
        with pytest.raises(BackendError):
            await colour.all(stream)

    colour.run(story())
    assert (case.counted, judged) == (FAILURE, [])


def test_a_stream_of_either_colour_is_closed_by_aclose_however_it_was_begun() -> None:
    case, source = Case(), Source(1, 2)

    async def story() -> None:
        stream = case.breaker.stream(lambda: source.plain())
        assert next(stream) == 1
        await stream.aclose()
        assert (case.counted, source.closed) == (NOTHING, 1)

    asyncio.run(story())


class TestTimeouts:
    @pytest.mark.parametrize("then", [None, BackendError()])
    def test_a_source_that_hides_its_cancellation_has_stalled_all_the_same(self, then: Exception | None) -> None:
        case = Case(ignore=[BackendError])

        async def stalls() -> Any:
            yield 1
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                if then is not None:
                    raise then from None

        async def story() -> None:
            stream = case.breaker.stream(stalls, chunk_timeout=0.05)
            assert await anext(stream) == 1
            with pytest.raises(TimeoutError, match="next chunk"):
                await anext(stream)

        asyncio.run(story())
        assert case.counted == FAILURE

    def test_outside_of_a_loop_asyncio_says_what_is_wrong(self) -> None:
        stream = Case().breaker.stream(Source(1).asynchronous, chunk_timeout=5)
        with pytest.raises(RuntimeError, match="no running event loop"):
            anext(stream).send(None)

    def test_a_blank_line_is_a_chunk_too(self) -> None:
        """Or nothing would end the wait for the next one."""
        case = Case()

        async def stalls() -> Any:
            yield ""
            await asyncio.sleep(1000)

        async def story() -> None:
            stream = case.breaker.stream(stalls, chunk_timeout=0.05)
            assert await anext(stream) == ""
            async with asyncio.timeout(30):
                with pytest.raises(TimeoutError, match="next chunk"):
                    await anext(stream)

        asyncio.run(story())
        assert case.counted == FAILURE


class KeptError(Exception):
    pass


@BOTH
class TestWhatIsKept:
    """Errors are let go of at once, and not when Python looks for cycles: they hold frames, and these a lot."""

    @pytest.fixture(autouse=True)
    def no_collector(self) -> Iterator[None]:
        gc.disable()
        yield
        gc.enable()

    def gone(self, colour: Any, breaker: CircuitBreaker, source: Any, consume: Any, **limits: Any) -> bool:
        """Tell whether nobody has kept an error that came out of a stream."""
        errors: list[Exception] = [KeptError()]
        found = weakref.ref(errors[0])

        async def story() -> None:
            stream = breaker.stream(source, errors, **limits)
            with contextlib.suppress(KeptError, CircuitBreakerError):
                await consume(stream, errors)

        colour.run(story())
        assert not errors
        return found() is None

    @pytest.mark.parametrize("settings", [{}, {"fail_max": 1}, {"ignore": [KeptError]}])
    def test_errors_of_the_backend(self, colour: Any, settings: Any) -> None:
        def plain(errors: list[Exception]) -> Iterator[int]:
            yield 1
            raise errors.pop()

        async def asynchronous(errors: list[Exception]) -> Any:
            yield 1
            raise errors.pop()

        async def consume(stream: Any, _: Any) -> None:
            await colour.all(stream)

        source = plain if colour.name == "threads" else asynchronous
        assert self.gone(colour, CircuitBreaker(**settings), source, consume)

    @pytest.mark.parametrize("limits", [{}, {"chunk_timeout": 500.0}])
    @pytest.mark.parametrize("caught", [(), KeptError])
    def test_errors_of_the_consumer(self, colour: Any, caught: Any, limits: Any) -> None:
        class Response(Wired):
            def plain(self, _: Any) -> Iterator[int]:
                with contextlib.suppress(caught):
                    yield 1
                yield 2

            async def asynchronous(self, _: Any) -> Any:
                with contextlib.suppress(caught):
                    yield 1
                yield 2

        async def consume(stream: Any, errors: list[Exception]) -> None:
            await colour.next(stream)
            if colour.name == "threads":
                stream.throw(errors.pop())
            else:
                await stream.athrow(errors.pop())

        with Response() as response:
            assert self.gone(colour, CircuitBreaker(), colour.function(response), consume, **limits)

    def test_an_answer_cut_off_after_an_error_event(self, colour: Any) -> None:
        case, found = Case(), []

        async def story() -> None:
            stream = case.breaker.stream(
                colour.function(Source(1)), complete=lambda _: False, failure_chunk=lambda _: True
            )
            try:
                await colour.all(stream)
            except IncompleteStreamError as error:
                found.append(weakref.ref(error))
            del stream

        colour.run(story())
        assert [reference() for reference in found] == [None]


class TestEndings:
    @pytest.mark.parametrize("times", range(5))
    def test_of_a_loop_with_open_streams(self, redis_server: Any, caplog: pytest.LogCaptureFixture, times: int) -> None:
        """The loop closes all its generators at once: the streams', and the one that closes the store's client."""
        with redis_server.client(socket_timeout=10, socket_connect_timeout=10) as client:
            storage = CircuitRedisStorage("closed", client, f"ending-{times}")
            breaker = CircuitBreaker(half_open_max_calls=20, probe_timeout=1000, state_storage=storage)
            kept: list[Any] = []

            async def main() -> None:
                await breaker.half_open_async()
                kept.extend(breaker.stream(Source(1, 2).asynchronous) for _ in range(10))
                for stream in kept:
                    await anext(stream)

            with caplog.at_level(logging.WARNING, "pybreaker_ext"):
                asyncio.run(main())
            look = breaker.snapshot()
            assert (look.state, look.probes) == ("half-open", 0)
            assert [record for record in caplog.records if record.name.startswith("pybreaker_ext")] == []

    def test_of_an_interpreter_with_open_streams(self) -> None:
        """The watchdog's thread, a daemon, may have been stopped anywhere."""
        program = textwrap.dedent(
            """
            import socket
            from types import SimpleNamespace

            from pybreaker_ext import CircuitBreaker


            class Stream:
                def __init__(self):
                    self.sockets = socket.socketpair()
                    stream = SimpleNamespace(get_extra_info=lambda _: self.sockets[0])
                    self.extensions = {"network_stream": stream}

                def __next__(self):
                    return 1

                def close(self):
                    print("closed")


            breaker = CircuitBreaker()
            streams = [breaker.stream(Stream, chunk_timeout=500) for _ in range(5)]
            for stream in streams:
                next(stream)
            """
        )
        ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
        assert ended.stderr == ""
        if not sysconfig.get_config_var("Py_GIL_DISABLED"):  # there it has taken our modules apart before
            assert ended.stdout == "closed\n" * 5

    def test_of_an_interpreter_that_has_taken_our_module_apart(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As free-threaded ones do before they collect what was left open."""
        stream = CircuitBreaker().stream(Source(1, 2).plain)
        next(stream)
        monkeypatch.setattr("pybreaker_ext.streams.guard._failed", None)
        stream.close()


def test_a_returned_response_is_known_to_the_watchdog_though_another_thing_iterates_it() -> None:
    """As `requests.get(..., stream=True)` gives one."""

    class Response(Chunks, Wired):
        pass

    with Response(1, 2) as response:
        stream = CircuitBreaker().stream(lambda: response, chunk_timeout=500)
        assert next(stream) == 1
        assert [watch.until < math.inf for watch in watchdog._watches] == [False]
        assert (next(stream), next(stream, ENDED)) == (2, ENDED)
        assert watchdog._watches == set()


class TestConnections:
    @pytest.mark.parametrize("module", ["", "aiohttp.client", "urllib", "urllib4", "urllib3x", "zlib"])
    def test_others_that_can_be_shut_down_are_left_alone(self, module: str) -> None:
        other = type("Response", (), {"shutdown": int, "__module__": module})()
        assert cutter(other) is None

    def test_one_of_urllib3_before_2_3_has_nothing_to_shut_it_down(self) -> None:
        assert cutter(type("Response", (), {"__module__": "urllib3.response"})()) is None

    def test_one_of_urllib3_has(self) -> None:
        response = type("Response", (), {"__module__": "urllib3.response", "shutdown": lambda self: self})()
        cut = cutter(SimpleNamespace(raw=response))
        assert cut is not None
        assert cut() is response  # type: ignore[func-returns-value]  the double's does

    def test_one_whose_version_of_http_is_no_constant(self) -> None:
        """It is told by what it says, not by which object says it."""
        connection = socket.socket()
        stream = SimpleNamespace(get_extra_info=lambda _: connection)
        with connection:
            for version, known in ((b"HTTP/1.1", True), (bytes(bytearray(b"HTTP/2")), False)):
                extensions = {"network_stream": stream, "http_version": version}
                assert (cutter(SimpleNamespace(extensions=extensions)) is not None) is known


def test_a_wait_that_has_lasted_just_as_long_as_it_may_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pybreaker_ext.streams.watchdog.time", SimpleNamespace(monotonic=lambda: 100.0))
    dog, is_cut = Watchdog(), threading.Event()
    watch = Watch(dog, is_cut.set)
    watch.begin(0.0)
    try:
        assert is_cut.wait(10)
    finally:
        watch.leave()


def test_a_wait_that_has_ended_is_not_cut_when_it_would_have_lasted_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("pybreaker_ext.streams.watchdog.time", SimpleNamespace(monotonic=lambda: now[0]))
    dog, cut = Watchdog(), []
    ended, other = Watch(dog, lambda: cut.append("ended")), Watch(dog, lambda: cut.append("other"))
    ended.begin(1000.0)
    until(lambda: dog._next_look == 1100.0)
    ended.end()
    now[0] = 2000.0
    other.begin(-1000.0)  # which wakes it
    until(lambda: dog._next_look == math.inf)
    assert cut == ["other"]
    ended.leave()
    other.leave()


def test_the_watchdog_is_woken_only_for_a_wait_that_ends_earlier(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else each chunk of each stream would cost a change of threads, and back."""
    monkeypatch.setattr("pybreaker_ext.streams.watchdog.time", SimpleNamespace(monotonic=lambda: 100.0))
    dog, woken = Watchdog(), []
    changed: Any = dog._changed
    notify = changed.notify

    def noted() -> None:
        woken.append(1)
        notify()

    changed.notify = noted
    first, second = Watch(dog, int), Watch(dog, int)
    first.begin(1000.0)
    until(lambda: dog._next_look == 1100.0)
    for _ in range(3):
        for limit in (1000.0, 2000.0, math.inf):
            second.begin(limit)
            second.end()
    assert len(woken) == 0
    second.begin(999.0)
    assert len(woken) == 1
    until(lambda: dog._next_look == 1099.0)
    first.leave()
    assert len(woken) == 1
    second.leave()
    until(lambda: dog._thread is None)
    assert len(woken) == 2


@BOTH
def test_who_has_no_lease_looks_at_no_clock_for_each_chunk(colour: Any) -> None:
    case, source = Case(closed=True), Source(*range(50))
    local, looks = case.breaker._local, []
    clock = local.clock

    def looked_at() -> float:
        looks.append(1)
        return clock()

    local.clock = looked_at  # type: ignore[misc]  a clock that counts looks
    stream = case.breaker.stream(colour.function(source), complete=lambda _: True)

    async def story() -> None:
        assert len(await colour.all(stream)) == 50

    colour.run(story())
    assert len(looks) < 20
