"""What tests/fuzz has found: whatever it is that comes, a call's end is its own."""

from __future__ import annotations

import asyncio
import socketserver
import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import redis

import pybreaker_ext

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Incomparable(type):
    """Classes that can't be hashed, and do harm when they are compared."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(cls, other: object) -> bool:
        raise RuntimeError("compared")


class Odd(metaclass=Incomparable):
    """What nobody may ask what it is."""

    @property
    def __class__(self) -> Any:
        raise RuntimeError("asked")


def test_a_result_of_any_class_is_the_callers() -> None:
    breaker, odd = pybreaker_ext.CircuitBreaker(), Odd()

    async def coroutine() -> Odd:
        return odd

    for _ in range(2):  # the second by the quick path
        assert breaker.call(lambda: odd) is odd
        assert breaker(lambda: odd)() is odd
        assert asyncio.run(breaker.call_async(lambda: odd)) is odd
        assert asyncio.run(breaker(coroutine)()) is odd
    assert breaker.fail_counter == 0


def test_an_error_of_any_class_is_the_callers() -> None:
    """Also one that is no `Exception`, and doesn't want to be asked."""

    class OddError(BaseException):
        @property
        def __class__(self) -> Any:
            raise RuntimeError("asked")

    breaker, odd = pybreaker_ext.CircuitBreaker(fail_max=1), OddError()

    def function() -> None:
        raise odd

    async def coroutine() -> None:
        function()

    def came_of(call: Any) -> BaseException | None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001  neither pytest nor an asyncio task can hold it
            return error
        return None

    async def came_of_async() -> BaseException | None:
        try:
            await breaker.call_async(coroutine)
        except BaseException as error:  # noqa: BLE001
            return error
        return None

    assert came_of(lambda: breaker.call(function)) is odd
    assert asyncio.run(came_of_async()) is odd
    assert came_of(lambda: list(breaker.stream(function))) is odd
    assert breaker.fail_counter == 0


def test_a_chunk_of_any_class_comes_through() -> None:
    breaker, odd = pybreaker_ext.CircuitBreaker(), Odd()

    async def consumed() -> list[Odd]:
        async def chunks() -> Any:
            yield odd

        return [chunk async for chunk in breaker.stream(chunks, failure_chunk=lambda _: False)]

    breaker.half_open()
    (chunk,) = breaker.stream(lambda: iter([odd]), failure_chunk=lambda _: False)
    assert chunk is odd
    (chunk,) = asyncio.run(consumed())
    assert chunk is odd


class Closed:
    """A listener with a hook that can't be looked at."""

    def __init__(self) -> None:
        self.told: list[str] = []

    @property
    def before_call(self) -> Any:
        raise RuntimeError("looked at")

    @property
    def success_ignored_for(self) -> Any:
        raise RuntimeError("looked at")

    def success(self, _breaker: Any) -> None:
        self.told.append("success")


def test_a_hook_that_cant_be_looked_at_is_logged_when_it_is_called(caplog: pytest.LogCaptureFixture) -> None:
    listener = Closed()
    breaker = pybreaker_ext.CircuitBreaker(listeners=[listener])
    assert breaker.call(lambda: "result") == "result"
    assert listener.told == ["success"]
    assert "The before_call hook of Closed failed" in caplog.text


@contextmanager
def somebody_else(answer: bytes) -> Iterator[int]:
    """A server that says the same to everything."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            while self.request.recv(65_536):
                self.request.sendall(answer)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize("answer", [b"+OK\r\n", b":1\r\n", b"$-1\r\n", b"*0\r\n", b"$3\r\n\xff\xfe\xfd\r\n"])
def test_a_server_that_is_no_redis_is_away(answer: bytes) -> None:
    """In both colours; it used to be an error of the protected call."""
    with (
        somebody_else(answer) as port,
        redis.Redis(port=port, protocol=2, socket_timeout=5) as client,
    ):
        storage = pybreaker_ext.CircuitRedisStorage("closed", client, "any")
        breaker = pybreaker_ext.CircuitBreaker(state_storage=storage)
        assert breaker.call(lambda: "result") == "result"
        assert storage.outage.epoch == 1
    with (
        somebody_else(answer) as port,
        redis.Redis(port=port, protocol=2, socket_timeout=5) as client,
    ):
        storage = pybreaker_ext.CircuitRedisStorage("closed", client, "any")
        breaker = pybreaker_ext.CircuitBreaker(state_storage=storage)
        assert asyncio.run(breaker.call_async(lambda: "result")) == "result"
        assert storage.outage.epoch == 1


def test_a_text_that_is_none_spoils_its_own_row_only(tmp_path: Path) -> None:
    """SQLite keeps any bytes as a text; that used to send the whole file away, for good."""
    path = tmp_path / "circuits.db"
    spoilt, other = (pybreaker_ext.CircuitSQLiteStorage(path, name) for name in ("spoilt", "other"))
    for storage in (spoilt, other):
        pybreaker_ext.CircuitBreaker(state_storage=storage).open(60)
    with closing(sqlite3.connect(path, isolation_level=None)) as file:
        file.execute("UPDATE circuits SET state = CAST(x'ff' AS TEXT) WHERE namespace = 'spoilt'")
        file.execute("UPDATE circuit_changes SET worker = CAST(x'ff' AS TEXT) WHERE namespace = 'spoilt'")
    breaker = pybreaker_ext.CircuitBreaker(state_storage=spoilt)
    assert breaker.current_state == "closed"
    assert [change.worker for change in breaker.history()] == ["\N{REPLACEMENT CHARACTER}"]
    assert other.state == "open"
    assert spoilt.outage.epoch == 0
