"""What type checkers see of streams. Never run: mypy and pyright read it, see test_typing.py."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Literal, assert_type, overload

from pybreaker_ext import CircuitBreaker
from pybreaker_ext.streams import AsyncStream, Stream, openai_complete

breaker = CircuitBreaker()


def plain(first: int) -> Iterator[int]:
    yield first


async def asynchronous(first: int) -> AsyncIterator[int]:
    yield first


async def coroutine(first: int) -> AsyncIterator[int]:
    return asynchronous(first)


@contextmanager
def manager() -> Generator[list[int], None, None]:
    yield [1]


@asynccontextmanager
async def async_manager() -> AsyncGenerator[AsyncIterator[int], None]:
    yield asynchronous(1)


assert_type(breaker.stream(plain, 1), Stream[int])
assert_type(breaker.stream(manager), Stream[int])
assert_type(breaker.stream(asynchronous, 1, chunk_timeout=5), AsyncStream[int])
assert_type(breaker.stream(coroutine, 1, complete=openai_complete), AsyncStream[int])
assert_type(breaker.stream(async_manager), AsyncStream[int])


@breaker(first_chunk_timeout=5, chunk_timeout=5, complete=openai_complete)
async def chat(question: str, *, model: str = "") -> AsyncGenerator[str, None]:
    yield question + model


class Chunk:
    text: str


class Answer:
    """A whole one, whose fields are iterated, as pydantic's models let them be."""

    def __iter__(self) -> Iterator[tuple[str, object]]:
        return iter(())


class Chunks(Iterator[Chunk]):
    def __next__(self) -> Chunk:
        return Chunk()


class AsyncChunks(AsyncIterator[Chunk]):
    async def __anext__(self) -> Chunk:
        return Chunk()


class Client:
    """Its functions are overloaded as those of OpenAI's and Anthropic's clients are."""

    @overload
    def create(self, *, stream: Literal[False] = False) -> Answer: ...
    @overload
    def create(self, *, stream: Literal[True]) -> Chunks: ...
    @overload
    def create(self, *, stream: bool) -> Answer | Chunks: ...
    def create(self, *, stream: bool = False) -> Answer | Chunks:
        return Chunks() if stream else Answer()

    @overload
    async def acreate(self, *, stream: Literal[False] = False) -> Answer: ...
    @overload
    async def acreate(self, *, stream: Literal[True]) -> AsyncChunks: ...
    @overload
    async def acreate(self, *, stream: bool) -> Answer | AsyncChunks: ...
    async def acreate(self, *, stream: bool = False) -> Answer | AsyncChunks:
        return AsyncChunks() if stream else Answer()


async def use(client: Client) -> list[str]:
    """mypy takes the chunks for `Any`; pyright sees what they are."""
    with breaker.stream(client.create, stream=True) as stream:
        texts: list[str] = [chunk.text for chunk in stream]
    async with breaker.stream(client.acreate, stream=True) as async_stream:
        texts += [chunk.text async for chunk in async_stream]
    async with await breaker.stream(client.acreate, stream=True) as async_stream:
        texts += [chunk.text async for chunk in async_stream]
    return texts + [text async for text in chat("?", model="m")]
