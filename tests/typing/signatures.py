"""What type checkers see of protected functions. Never run: mypy and pyright read it, see test_typing.py.

A line that must be an error carries a `type: ignore`, and both checkers complain of one that isn't needed.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Generator
from typing import TYPE_CHECKING, Any, assert_type

import pybreaker_ext
from pybreaker_ext import CircuitBreaker, CircuitState, Snapshot
from pybreaker_ext.streams import AsyncStream, Stream

if TYPE_CHECKING:
    import pybreaker

breaker = CircuitBreaker(fail_max=3)


@breaker
def bare(a: int, *, b: str = "") -> float:
    return a


@breaker()
def with_parentheses(a: int, *, b: str = "") -> float:
    return a


@breaker.protect
def by_name(a: int, *, b: str = "") -> float:
    return a


@breaker
async def coroutine(a: int, *, b: str = "") -> float:
    return a


@breaker()
async def coroutine_with_parentheses(a: int) -> float:
    return a


@breaker
def generator(a: int) -> Generator[int, str, bytes]:
    yield a
    return b""


class Client:
    @breaker
    def method(self, a: int) -> str:
        return str(a)

    @breaker
    async def async_method(self, a: int) -> str:
        return str(a)

    @classmethod
    @breaker
    def of_class(cls, a: int) -> str:
        return str(a)

    @staticmethod
    @breaker
    def static(a: int) -> str:
        return str(a)


assert_type(bare(1, b="x"), float)
assert_type(with_parentheses(1, b="x"), float)
assert_type(by_name(1), float)
assert_type(generator(1), Generator[int, str, bytes])
assert_type(Client().method(1), str)
assert_type(Client.of_class(1), str)
assert_type(Client.static(1), str)
assert_type(breaker.call(bare, 1, b="x"), float)
assert_type(breaker.call(generator, 1), Generator[int, str, bytes])

bare("1")  # type: ignore[arg-type]
bare(1, b=2)  # type: ignore[arg-type]
bare(1, c=2)  # type: ignore[call-arg]
with_parentheses()  # type: ignore[call-arg]
Client().method("1")  # type: ignore[arg-type]
breaker.call(bare, "1")  # type: ignore[arg-type]
CircuitBreaker(fail_max="3")  # type: ignore[arg-type]


async def plain(a: int) -> bytes:
    return bytes(a)


def awaitable(a: int) -> Awaitable[bytes]:
    return plain(a)


async def stream() -> AsyncIterator[int]:
    yield 1


async def main() -> None:
    assert_type(await coroutine(1, b="x"), float)
    assert_type(await coroutine_with_parentheses(1), float)
    assert_type(await Client().async_method(1), str)
    assert_type(await breaker.call(coroutine, 1), float)
    assert_type(await breaker.call_async(coroutine, 1), float)
    assert_type(await breaker.call_async(plain, 1), bytes)
    assert_type(await breaker.call_async(awaitable, 1), bytes)
    assert_type(await breaker.call_async(bare, 1), float)
    assert_type(await breaker.snapshot_async(), Snapshot)
    assert_type(await breaker.open_async(3), bool)
    await coroutine("1")  # type: ignore[arg-type]
    await breaker.call_async(plain, "1")  # type: ignore[call-overload]
    async with breaker.calling() as given:
        assert_type(given, None)


@breaker
async def async_generator(a: int) -> AsyncIterator[int]:
    yield a


@breaker(chunk_timeout=3, complete=bool)
async def chat(a: int) -> AsyncIterator[int]:
    return stream()


async def made() -> AsyncIterator[str]:
    return texts()


async def texts() -> AsyncIterator[str]:
    yield ""


@contextlib.asynccontextmanager
async def manager() -> AsyncIterator[AsyncIterator[str]]:
    yield texts()


async def streams() -> None:
    assert_type(async_generator(1), AsyncIterator[int])
    assert_type(await chat(1), AsyncIterator[int])
    assert_type(breaker.stream(generator, 1), Stream[int])
    assert_type(breaker.stream(texts, chunk_timeout=3), AsyncStream[str])
    assert_type(breaker.stream(made), AsyncStream[str])
    assert_type(breaker.stream(manager), AsyncStream[str])
    async with breaker.stream(texts) as guarded:
        async for text in guarded:
            assert_type(text, str)
    with breaker.stream(list[bytes]) as plain_stream:
        assert_type(next(plain_stream), bytes)
    breaker.stream(texts, chunk_timeout="3")  # type: ignore[call-overload]
    async_generator("1")  # type: ignore[arg-type]
    breaker(chunk_timeout="3")  # type: ignore[call-overload]


with breaker.calling() as nothing:
    assert_type(nothing, None)

assert_type(breaker.snapshot(), Snapshot)
assert_type(breaker.snapshot().state, CircuitState)
assert_type(breaker.retry_after, float)
assert_type(breaker.current_state, str)

drop_in: pybreaker.CircuitBreaker = breaker
error: pybreaker.CircuitBreakerError = pybreaker_ext.CircuitBreakerError()
storage: pybreaker.CircuitBreakerStorage = pybreaker_ext.CircuitMemoryStorage()
anything: Any = pybreaker_ext.STATE_OPEN


class Listener(pybreaker_ext.CircuitBreakerListener):
    def failure(self, cb: CircuitBreaker, exc: BaseException) -> None: ...

    def rejected(self, cb: CircuitBreaker, error: pybreaker_ext.CircuitBreakerError) -> None: ...
