"""Streams of real HTTP clients and provider SDKs, from a provider on loopback that sends them well or badly.

Of each case: what is counted, what the consumer sees, that the connection is closed, and that the
place of the probe is free.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING, Any, NamedTuple

import aiohttp
import anthropic
import httpx
import openai
import pytest
import requests
from backend import serving
from stream_backend import CHUNKS, StreamBackend

from pybreaker_ext import CircuitBreaker, CircuitMemoryStorage, policies
from pybreaker_ext.streams import (
    IncompleteStreamError,
    anthropic_complete,
    anthropic_error,
    openai_complete,
    openai_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Seconds that a stall lasts, and that everything else may last.
STALL, PATIENCE = 0.3, 30.0
QUESTION: Any = {"model": "m", "messages": [{"role": "user", "content": "?"}]}

OPENAI_RULES: Any = {"complete": openai_complete, "failure_chunk": openai_error}
ANTHROPIC_RULES: Any = {"complete": anthropic_complete, "failure_chunk": anthropic_error}


@pytest.fixture(scope="module")
def backend() -> Iterator[StreamBackend]:
    with serving(StreamBackend()) as running:
        yield running


# Each client takes a URL, guards a stream, and yields its chunks; leaving it early leaves the stream.


def openai_sync(breaker: Any, url: str, limits: Any) -> Iterator[Any]:
    with openai.OpenAI(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
        create = client.chat.completions.create
        with breaker.stream(create, **QUESTION, stream=True, **OPENAI_RULES, **limits) as stream:
            yield from stream


async def openai_async(breaker: Any, url: str, limits: Any) -> Any:
    async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
        create = client.chat.completions.create
        async with breaker.stream(create, **QUESTION, stream=True, **OPENAI_RULES, **limits) as stream:
            async for chunk in stream:
                yield chunk


def anthropic_sync(breaker: Any, url: str, limits: Any) -> Iterator[Any]:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
        create = client.messages.create
        with breaker.stream(create, **QUESTION, max_tokens=9, stream=True, **ANTHROPIC_RULES, **limits) as stream:
            yield from stream


async def anthropic_async(breaker: Any, url: str, limits: Any) -> Any:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
        create = client.messages.create
        guarded = breaker.stream(create, **QUESTION, max_tokens=9, stream=True, **ANTHROPIC_RULES, **limits)
        async with guarded as stream:
            async for chunk in stream:
                yield chunk


def anthropic_manager_sync(breaker: Any, url: str, limits: Any) -> Iterator[Any]:
    with anthropic.Anthropic(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
        manager = client.messages.stream
        with breaker.stream(manager, **QUESTION, max_tokens=9, **ANTHROPIC_RULES, **limits) as stream:
            yield from stream


async def anthropic_manager_async(breaker: Any, url: str, limits: Any) -> Any:
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0, timeout=PATIENCE) as client:
        manager = client.messages.stream
        async with breaker.stream(manager, **QUESTION, max_tokens=9, **ANTHROPIC_RULES, **limits) as stream:
            async for chunk in stream:
                yield chunk


def httpx_sync(breaker: Any, url: str, limits: Any) -> Iterator[Any]:
    with httpx.Client(timeout=PATIENCE) as client, client.stream("GET", url) as response:
        response.raise_for_status()
        with breaker.stream(response.iter_lines, **OPENAI_RULES, **limits) as stream:
            yield from stream


async def httpx_async(breaker: Any, url: str, limits: Any) -> Any:
    async def lines() -> Any:
        async with client.stream("GET", url) as response:
            response.raise_for_status()
            async for line in response.aiter_lines():
                yield line

    async with httpx.AsyncClient(timeout=PATIENCE) as client:
        async with breaker.stream(lines, **OPENAI_RULES, **limits) as stream:
            async for chunk in stream:
                yield chunk


async def httpx_bytes_async(breaker: Any, url: str, limits: Any) -> Any:
    async with httpx.AsyncClient(timeout=PATIENCE) as client, client.stream("GET", url) as response:
        response.raise_for_status()
        async with breaker.stream(response.aiter_bytes, **OPENAI_RULES, **limits) as stream:
            async for chunk in stream:
                yield chunk


def requests_lines(breaker: Any, url: str, limits: Any) -> Iterator[Any]:
    with requests.get(url, stream=True, timeout=PATIENCE) as response:
        response.raise_for_status()
        with breaker.stream(response.iter_lines, chunk_size=1, **OPENAI_RULES, **limits) as stream:
            yield from stream


def requests_content(breaker: Any, url: str, limits: Any) -> Iterator[Any]:
    with requests.get(url, stream=True, timeout=PATIENCE) as response:
        response.raise_for_status()
        with breaker.stream(response.iter_content, None, **OPENAI_RULES, **limits) as stream:
            yield from stream


async def aiohttp_lines(breaker: Any, url: str, limits: Any) -> Any:
    async def lines() -> Any:
        async with session.get(url) as response:
            response.raise_for_status()
            async for line in response.content:
                yield line

    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
        async with breaker.stream(lines, **OPENAI_RULES, **limits) as stream:
            async for chunk in stream:
                yield chunk


async def aiohttp_any(breaker: Any, url: str, limits: Any) -> Any:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE)) as session:
        async with session.get(url, raise_for_status=True) as response:
            async with breaker.stream(response.content.iter_any, **OPENAI_RULES, **limits) as stream:
                async for chunk in stream:
                    yield chunk


class Client(NamedTuple):
    use: Callable[..., Any]
    provider: str
    #: Whether it makes events of lines, and errors of events.
    is_sdk: bool = False
    #: Whether the call is made inside of the guard, so that its failure is the stream's.
    calls: bool = True

    def __str__(self) -> str:
        return self.use.__name__


CLIENTS = (
    Client(openai_sync, "openai", is_sdk=True),
    Client(openai_async, "openai", is_sdk=True),
    Client(anthropic_sync, "anthropic", is_sdk=True),
    Client(anthropic_async, "anthropic", is_sdk=True),
    Client(anthropic_manager_sync, "anthropic", is_sdk=True),
    Client(anthropic_manager_async, "anthropic", is_sdk=True),
    Client(httpx_sync, "openai", calls=False),
    Client(httpx_async, "openai"),
    Client(httpx_bytes_async, "openai", calls=False),
    Client(requests_lines, "openai", calls=False),
    Client(requests_content, "openai", calls=False),
    Client(aiohttp_lines, "openai"),
    Client(aiohttp_any, "openai", calls=False),
)

each_client = pytest.mark.parametrize("client", CLIENTS, ids=str)


class Run:
    """One stream through a half-open circuit, and what became of it."""

    def __init__(self, backend: StreamBackend, client: Client, case: str, *, leave: int | None = None, **limits: Any):
        self.breaker = CircuitBreaker(
            **policies.llm(
                success_threshold=2,
                throw_new_error_on_trip=False,
                state_storage=CircuitMemoryStorage("half-open", clock=lambda: 0.0),
            )
        )
        self.chunks: list[Any] = []
        self.error: BaseException | None = None
        before = len(backend.connections)
        stream = client.use(self.breaker, backend.url(case, client.provider), limits)
        try:
            if hasattr(stream, "__anext__"):
                asyncio.run(self.consume_async(stream, leave))
            else:
                self.consume(stream, leave)
        except Exception as error:  # noqa: BLE001  whatever the client raises
            self.error = error
        (self.connection,) = backend.connections[before:]
        look = self.breaker.snapshot()
        self.probes = look.probes
        self.counted = {"open": "failure", "half-open": "success" if look.success_counter else "nothing"}[look.state]

    def consume(self, stream: Any, leave: int | None) -> None:
        for chunk in stream:
            self.chunks.append(chunk)
            if len(self.chunks) == leave:
                break
        stream.close()

    async def consume_async(self, stream: Any, leave: int | None) -> None:
        async for chunk in stream:
            self.chunks.append(chunk)
            if len(self.chunks) == leave:
                break
        await stream.aclose()

    def check(self, counted: str) -> None:
        assert (self.counted, self.probes) == (counted, 0), self.error
        assert self.connection.closed.wait(PATIENCE)


@each_client
class TestEachEnd:
    def test_whole(self, backend: StreamBackend, client: Client) -> None:
        run = Run(backend, client, "whole")
        run.check("success")
        assert run.error is None
        assert run.chunks

    def test_busy(self, backend: StreamBackend, client: Client) -> None:
        run = Run(backend, client, "busy")
        run.check("failure" if client.calls else "nothing")
        assert run.chunks == []
        assert "503" in str(run.error)

    @pytest.mark.parametrize("case", ["error-first", "error"])
    def test_an_error_event(self, backend: StreamBackend, client: Client, case: str) -> None:
        run = Run(backend, client, case)
        run.check("failure")
        assert (
            type(run.error) is not IncompleteStreamError if client.is_sdk else type(run.error) is IncompleteStreamError
        )

    @pytest.mark.parametrize("case", ["cut-first", "cut", "broken"])
    def test_an_end_without_the_last_event(self, backend: StreamBackend, client: Client, case: str) -> None:
        run = Run(backend, client, case)
        run.check("failure")
        assert run.error is not None
        if case == "cut":
            assert type(run.error) is IncompleteStreamError
            assert run.chunks

    def test_a_malformed_chunk(self, backend: StreamBackend, client: Client) -> None:
        run = Run(backend, client, "malformed")
        run.check("failure")
        assert isinstance(run.error, json.JSONDecodeError if client.is_sdk else IncompleteStreamError)

    @pytest.mark.parametrize("case", ["reset-first", "reset"])
    def test_a_reset(self, backend: StreamBackend, client: Client, case: str) -> None:
        run = Run(backend, client, case)
        run.check("failure")
        assert run.error is not None

    def test_a_stall_before_the_first_chunk(self, backend: StreamBackend, client: Client) -> None:
        run = Run(backend, client, "stall-first", first_chunk_timeout=STALL)
        run.check("failure")
        assert type(run.error) is TimeoutError
        assert run.chunks == []

    def test_a_stall_between_chunks(self, backend: StreamBackend, client: Client) -> None:
        run = Run(backend, client, "stall", first_chunk_timeout=PATIENCE, chunk_timeout=STALL)
        run.check("failure")
        assert type(run.error) is TimeoutError
        assert "chunk_timeout=0.3" in str(run.error)

    @pytest.mark.parametrize("case", ["whole", "stall"])
    def test_a_consumer_that_leaves(self, backend: StreamBackend, client: Client, case: str) -> None:
        run = Run(backend, client, case, leave=1)
        run.check("nothing")
        assert run.error is None

    def test_a_stream_in_time(self, backend: StreamBackend, client: Client) -> None:
        Run(backend, client, "whole", first_chunk_timeout=PATIENCE, chunk_timeout=PATIENCE).check("success")


def sdk_calls(backend: StreamBackend, case: str) -> list[tuple[Any, Any, dict[str, Any]]]:
    """Return of each SDK a client, its function, and the function's arguments."""
    found: list[tuple[Any, Any, dict[str, Any]]] = []
    settings: Any = {"api_key": "k", "max_retries": 0, "timeout": PATIENCE}
    for cls in (openai.OpenAI, openai.AsyncOpenAI):
        client: Any = cls(base_url=backend.url(case, "openai"), **settings)
        found.append((client, client.chat.completions.create, {**QUESTION, "stream": True, **OPENAI_RULES}))
    for cls in (anthropic.Anthropic, anthropic.AsyncAnthropic):
        client = cls(base_url=backend.url(case, "anthropic"), **settings)
        arguments = {**QUESTION, "max_tokens": 9, **ANTHROPIC_RULES}
        found.append((client, client.messages.create, {**arguments, "stream": True}))
        client = cls(base_url=backend.url(case, "anthropic"), **settings)
        found.append((client, client.messages.stream, arguments))
    return found


@pytest.mark.parametrize("number", range(6), ids=("openai", "openai async", *("anthropic", "its manager") * 2))
@pytest.mark.parametrize("case", ["left", "error", "cut", "stall"])
def test_the_guard_closes_the_connection_and_not_only_the_client(
    backend: StreamBackend, number: int, case: str
) -> None:
    """The client stays open, as one that a program keeps does."""
    client, function, arguments = sdk_calls(backend, "stall" if case == "left" else case)[number]
    if case == "stall":
        arguments = {**arguments, "chunk_timeout": STALL}
    stream = CircuitBreaker(fail_max=9).stream(function, **arguments)

    def consume() -> None:
        with contextlib.suppress(Exception), stream:
            for _ in stream:
                if case == "left":
                    break
        assert backend.connections[-1].closed.wait(PATIENCE)
        client.close()

    async def consume_async() -> None:
        with contextlib.suppress(Exception):
            async with stream:
                async for _ in stream:
                    if case == "left":
                        break
        async with asyncio.timeout(PATIENCE):
            while not backend.connections[-1].closed.is_set():
                await asyncio.sleep(0.005)
        await client.close()

    if "Async" in type(client).__name__:
        asyncio.run(consume_async())
    else:
        consume()


def test_a_response_of_requests_is_a_stream_itself(backend: StreamBackend) -> None:
    breaker = CircuitBreaker(fail_max=9)
    limits: Any = {"first_chunk_timeout": PATIENCE, "chunk_timeout": STALL}
    url = backend.url("stall", "openai")
    with breaker.stream(requests.get, url, stream=True, timeout=PATIENCE, **limits) as stream:
        assert next(stream).startswith(b"data: ")
        assert stream.status_code == 200
        with pytest.raises(TimeoutError, match="next chunk"):
            list(stream)
    assert breaker.fail_counter == 1
    assert backend.connections[-1].closed.wait(PATIENCE)


def test_a_response_of_aiohttp_is_none(backend: StreamBackend) -> None:
    """Its `content` is one; and the call itself is not the backend's failure."""
    breaker = CircuitBreaker(fail_max=9)

    async def main() -> None:
        async with aiohttp.ClientSession() as session:
            with pytest.raises(TypeError, match="gave ClientResponse, which is no stream"):
                await anext(breaker.stream(session.get, backend.url("whole", "openai")))

    asyncio.run(main())
    assert breaker.fail_counter == 0
    assert backend.connections[-1].closed.wait(PATIENCE)


class TestTheSDKsOwn:
    """What passes through."""

    def test_openai(self, backend: StreamBackend) -> None:
        breaker = CircuitBreaker()
        with openai.OpenAI(api_key="k", base_url=backend.url("whole", "openai"), max_retries=0) as client:
            with breaker.stream(client.chat.completions.create, **QUESTION, stream=True) as stream:
                words = [chunk.choices[0].delta.content for chunk in stream]
                assert stream.response.status_code == 200
        assert words == [f"word {number} " for number in range(CHUNKS)] + [None]

    def test_anthropics_final_message(self, backend: StreamBackend) -> None:
        breaker = CircuitBreaker()

        async def main() -> str:
            url = backend.url("whole", "anthropic")
            async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
                async with breaker.stream(client.messages.stream, **QUESTION, max_tokens=9) as stream:
                    async for _ in stream:
                        pass
                    message = await stream.get_final_message()
                    return message.content[0].text

        assert asyncio.run(main()) == "word 0 word 1 word 2 "

    def test_a_decorated_function_as_it_is_written_without_a_breaker(self, backend: StreamBackend) -> None:
        breaker = CircuitBreaker(fail_max=1, throw_new_error_on_trip=False)

        @breaker
        async def texts(case: str) -> Any:
            url = backend.url(case, "anthropic")
            async with anthropic.AsyncAnthropic(api_key="k", base_url=url, max_retries=0) as client:
                async with client.messages.stream(**QUESTION, max_tokens=9) as stream:
                    async for text in stream.text_stream:
                        yield text

        async def main() -> None:
            assert [text async for text in texts("whole")] == ["word 0 ", "word 1 ", "word 2 "]
            assert breaker.current_state == "closed"
            with pytest.raises(anthropic.APIStatusError, match="Overloaded"):
                assert [text async for text in texts("error")]
            assert breaker.current_state == "open"

        asyncio.run(main())

    def test_a_cancelled_task_closes_its_connection(self, backend: StreamBackend) -> None:
        breaker = CircuitBreaker(state_storage=CircuitMemoryStorage("half-open"), success_threshold=2)
        begun = asyncio.Event()

        async def consume() -> None:
            url = backend.url("stall", "openai")
            async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
                async with breaker.stream(client.chat.completions.create, **QUESTION, stream=True) as stream:
                    async for _ in stream:
                        begun.set()

        async def main() -> None:
            task = asyncio.create_task(consume())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        look = breaker.snapshot()
        assert (look.state, look.probes, look.success_counter) == ("half-open", 0, 0)
        assert backend.connections[-1].closed.wait(PATIENCE)
