"""What type checkers see of retries, fallback chains and isolation. Never run: see test_typing.py."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING, Any, assert_type

from pybreaker_ext import CircuitBreaker
from pybreaker_ext.fallback import FallbackChain, FallbackResult, FallbackStream, Target
from pybreaker_ext.isolation import Outcome, run_isolated, run_isolated_async
from pybreaker_ext.retry import RetryBudget, RetryPolicy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator

breaker = CircuitBreaker()
retry = RetryPolicy(on=[ConnectionError], budget=RetryBudget(0.1))


def plain(a: int, *, b: str = "") -> float:
    return a


async def coroutine(a: int, *, b: str = "") -> float:
    return a


def awaitable(a: int) -> Awaitable[bytes]:
    return asyncio.sleep(0, bytes(a))


def numbers(a: int) -> Iterator[int]:
    yield a


async def texts(a: int) -> AsyncIterator[str]:
    yield str(a)


async def opened(a: int) -> AsyncIterator[str]:
    return texts(a)


@retry(breaker)
def decorated(a: int) -> float:
    return a


@retry(breaker)
async def decorated_coroutine(a: int) -> float:
    return a


assert_type(retry.call(breaker, plain, 1, b="x"), float)
assert_type(decorated(1), float)
assert_type(retry.within(3), RetryPolicy)
retry.call(breaker, plain, "1")  # type: ignore[arg-type]
retry.call(breaker, plain, 1, c=2)  # type: ignore[call-arg]
decorated("1")  # type: ignore[arg-type]
RetryPolicy(maximum="1")  # type: ignore[arg-type]
RetryPolicy(1, 2)  # type: ignore[call-arg]

chain = FallbackChain([Target("a", breaker, plain), Target("b", breaker, plain, retry)], deadline=3)
assert_type(chain.call(1, b="x"), FallbackResult[float])
assert_type(chain.call(1).value, float)
assert_type(chain.call(1).target, str)
chain.call("1")  # type: ignore[arg-type]
chain_async = FallbackChain([Target("a", breaker, coroutine)])
stream = FallbackChain([Target("a", breaker, numbers)]).stream(1)
assert_type(stream, FallbackStream[int])
assert_type(next(stream), int)

outcomes = run_isolated([functools.partial(plain, 1)], limit=5)
assert_type(outcomes, list[Outcome[float]])
assert_type(outcomes[0].unwrap(), float)
assert_type(outcomes[0].value, float | None)
run_isolated([functools.partial(plain, 1)])  # type: ignore[call-arg]


async def main() -> None:
    assert_type(await retry.call(breaker, coroutine, 1, b="x"), float)
    assert_type(await retry.call_async(breaker, coroutine, 1, b="x"), float)
    assert_type(await retry.call_async(breaker, awaitable, 1), bytes)
    assert_type(await decorated_coroutine(1), float)
    assert_type(await chain_async.call(1), FallbackResult[float])
    assert_type(await chain_async.call_async(1), FallbackResult[float])
    async with FallbackChain([Target("a", breaker, texts)]).stream(1) as chunks:
        assert_type(chunks, FallbackStream[str])
        async for chunk in chunks:
            assert_type(chunk, str)
    assert_type(FallbackChain([Target("a", breaker, opened)]).stream(1), FallbackStream[str])
    found = await run_isolated_async([functools.partial(coroutine, 1)], limit=5)
    assert_type(found, list[Outcome[float]])
    anything: Any = found
    del anything
