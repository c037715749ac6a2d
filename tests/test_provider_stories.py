"""Retries and fallback chains with the SDKs of OpenAI and Anthropic, and providers that fail in every way.

The SDKs' own retries are off. Each story is told in both colours, with each of the two as the primary.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
import time
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import anthropic
import openai
import pytest
from around import Time
from backend import serving
from provider import BROKEN_AFTER, TEXTS, Provider

from pybreaker_ext import CircuitBreaker, CircuitBreakerError, CircuitMemoryStorage, policies
from pybreaker_ext.fallback import AllTargetsFailedError, FallbackChain, Target
from pybreaker_ext.retry import RetryPolicy
from pybreaker_ext.streams import (
    IncompleteStreamError,
    anthropic_complete,
    anthropic_error,
    openai_complete,
    openai_error,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

QUESTION: Any = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "?"}]}
#: Seconds that clients wait: where no answer will come, and everywhere else.
STALL, PATIENCE = 0.3, 30.0
RULES: Any = {
    "openai": {"complete": openai_complete, "failure_chunk": openai_error},
    "anthropic": {"complete": anthropic_complete, "failure_chunk": anthropic_error},
}


@pytest.fixture(scope="module")
def providers() -> Iterator[dict[str, Provider]]:
    with serving(Provider("openai")) as first, serving(Provider("anthropic")) as second:
        yield {"openai": first, "anthropic": second}


class Threads:
    """Plain clients, which a story uses again and again: they are slow to make."""

    name = "threads"
    classes = MappingProxyType[str, Any]({"openai": openai.OpenAI, "anthropic": anthropic.Anthropic})

    def __init__(self) -> None:
        self._clients: dict[Any, Any] = {}

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def asker(self, provider: Provider, patience: float) -> Callable[..., Any]:
        """Return a function that asks the provider, and returns the text of its answer."""

        def ask() -> str:
            return text_of(create_of(self.client(provider, patience))(**QUESTION))

        return ask

    def streamer(self, provider: Provider, patience: float) -> Callable[..., Any]:
        def stream() -> Iterator[Any]:
            with create_of(self.client(provider, patience))(**QUESTION, stream=True) as chunks:
                yield from chunks

        return stream

    def client(self, provider: Provider, patience: float) -> Any:
        key = (provider.name, patience)
        if key not in self._clients:
            make = self.classes[provider.name]
            self._clients[key] = make(api_key="k", base_url=provider.url, max_retries=0, timeout=patience)
        return self._clients[key]

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)

    def consume(self, stream: Any, seen: list[str]) -> None:
        with stream:
            seen.extend(filter(None, map(delta_of, stream)))


class Asyncio(Threads):
    """Asynchronous clients, and a loop for the whole story."""

    name = "asyncio"
    classes = MappingProxyType[str, Any]({"openai": openai.AsyncOpenAI, "anthropic": anthropic.AsyncAnthropic})

    def __init__(self) -> None:
        super().__init__()
        self._runner = asyncio.Runner()

    def close(self) -> None:
        for client in self._clients.values():
            self.run(client.close)
        self._runner.close()

    def asker(self, provider: Provider, patience: float) -> Callable[..., Any]:
        async def ask() -> str:
            return text_of(await create_of(self.client(provider, patience))(**QUESTION))

        return ask

    def streamer(self, provider: Provider, patience: float) -> Callable[..., Any]:
        async def stream() -> Any:
            async with await create_of(self.client(provider, patience))(**QUESTION, stream=True) as chunks:
                async for chunk in chunks:
                    yield chunk

        return stream

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        async def main() -> Any:
            return await call(*args)

        return self._runner.run(main())

    def consume(self, stream: Any, seen: list[str]) -> None:
        async def main() -> None:
            async with stream:
                async for chunk in stream:
                    seen.extend(filter(None, [delta_of(chunk)]))

        self.run(main)


def create_of(client: Any) -> Any:
    return client.messages.create if hasattr(client, "messages") else client.chat.completions.create


def text_of(answer: Any) -> str:
    text = answer.content[0].text if hasattr(answer, "content") else answer.choices[0].message.content
    assert isinstance(text, str)
    return text


def delta_of(chunk: Any) -> str:
    """Return the text of a chunk of a stream, if it has some."""
    choices = getattr(chunk, "choices", None)
    delta = choices[0].delta if choices else getattr(chunk, "delta", None)
    return getattr(delta, "content", None) or getattr(delta, "text", None) or ""


class World:
    """A primary and a fallback provider, and a clock that only sleeping turns."""

    def __init__(self, colour: Any, providers: dict[str, Provider], primary: str) -> None:
        self.colour = colour
        self.primary, self.fallback = sorted(providers.values(), key=lambda provider: provider.name != primary)
        self.time = Time()
        for provider in providers.values():
            provider.plays("answer")

    def breaker(self, **settings: Any) -> CircuitBreaker:
        storage = CircuitMemoryStorage(clock=self.time)
        return CircuitBreaker(**policies.llm(**{"fail_max": 5, "state_storage": storage, "backoff": None, **settings}))

    def policy(self, **settings: Any) -> RetryPolicy:
        return RetryPolicy(**{"jitter": 0, **self.time.settings, **settings})

    def ask(self, policy: RetryPolicy, breaker: CircuitBreaker, patience: float = PATIENCE) -> Any:
        return self.colour.run(policy.call, breaker, self.colour.asker(self.primary, patience))

    def chain(self, patience: float = PATIENCE, **settings: Any) -> Any:
        targets = [
            Target(provider.name, self.breaker(**settings), self.colour.asker(provider, patience))
            for provider in (self.primary, self.fallback)
        ]
        self.breakers = [target.breaker for target in targets]
        return FallbackChain(targets, clock=self.time)

    def stream_chain(self, patience: float = PATIENCE) -> Any:
        targets = [
            Target(
                provider.name,
                self.breaker(),
                self.colour.streamer(provider, patience),
                stream_options=RULES[provider.name],
            )
            for provider in (self.primary, self.fallback)
        ]
        self.breakers = [target.breaker for target in targets]
        return FallbackChain(targets, clock=self.time)


@pytest.fixture(params=["openai", "anthropic"])
def primary(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=[Threads, Asyncio], ids=lambda colour: colour.name)
def world(request: pytest.FixtureRequest, providers: dict[str, Provider], primary: str) -> Iterator[World]:
    with contextlib.closing(request.param()) as colour:
        yield World(colour, providers, primary)


class TestRetries:
    @pytest.mark.parametrize("failures", [["503"], ["529", "reset"], ["reset", "503", "503"]])
    def test_a_transient_failure_succeeds(self, world: World, failures: list[str]) -> None:
        world.primary.plays(*failures, "answer")
        assert world.ask(world.policy(), world.breaker()) == TEXTS[world.primary.name]
        assert len(world.primary.asked) == len(failures) + 1

    def test_a_stall_ends_at_the_clients_time_out(self, world: World) -> None:
        world.primary.plays("stall", "answer")
        assert world.ask(world.policy(), world.breaker(), STALL) == TEXTS[world.primary.name]
        assert len(world.primary.asked) == 2

    def test_a_dead_provider_is_asked_until_the_circuit_opens(self, world: World) -> None:
        """By all callers together; from then on a call costs under a millisecond."""
        world.primary.plays("503")
        breaker, policy = world.breaker(fail_max=3), world.policy(max_attempts=7)

        call = functools.partial(policy.call, breaker, world.colour.asker(world.primary, PATIENCE))
        cost = functools.partial(timed if world.colour.name == "threads" else timed_async, call)
        for _ in range(2):
            with pytest.raises(CircuitBreakerError):
                world.ask(policy, breaker)
        assert min(world.colour.run(cost) for _ in range(30)) < 0.001
        assert len(world.primary.asked) == 3

    def test_nobody_comes_back_before_retry_after(self, world: World) -> None:
        world.primary.plays("429", "answer")
        breaker = world.breaker()
        assert world.ask(world.policy(), breaker) == TEXTS[world.primary.name]
        assert (world.time.slept, len(world.primary.asked)) == ([2], 2)

    def test_nobody_waits_for_a_retry_after_that_is_too_late(self, world: World) -> None:
        world.primary.plays("429", "answer")
        with pytest.raises((openai.RateLimitError, anthropic.RateLimitError)) as caught:
            world.ask(world.policy(max_elapsed=1.9), world.breaker())
        assert (world.time.slept, len(world.primary.asked)) == ([], 1)
        assert caught.value.__notes__[0].startswith("RetryPolicy: 1 attempt in ")

    @pytest.mark.parametrize("scene", ["context", "filter"])
    def test_the_callers_mistakes_are_told_once(self, world: World, scene: str) -> None:
        world.primary.plays(scene)
        breaker = world.breaker()
        with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)):
            world.ask(world.policy(), breaker)
        assert (len(world.primary.asked), breaker.fail_counter) == (1, 0)


def timed(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    with pytest.raises(CircuitBreakerError):
        call()
    return time.perf_counter() - began


async def timed_async(call: Callable[[], Any]) -> float:
    began = time.perf_counter()
    with pytest.raises(CircuitBreakerError):
        await call()
    return time.perf_counter() - began


def test_with_a_clock_that_runs_nobody_comes_back_before_retry_after(world: World) -> None:
    world.primary.plays("429", "answer")
    assert world.ask(RetryPolicy(jitter=0.01), CircuitBreaker(**policies.llm())) == TEXTS[world.primary.name]
    first, second = world.primary.asked
    assert second - first >= 2


class TestChains:
    @pytest.mark.parametrize("scene", ["503", "reset", "429"])
    def test_the_fallback_answers(self, world: World, scene: str) -> None:
        world.primary.plays(scene)
        result = world.colour.run(world.chain().call)
        assert (result.value, result.target) == (TEXTS[world.fallback.name], world.fallback.name)
        assert [attempt.target for attempt in result.attempts] == [world.primary.name]
        assert (len(world.primary.asked), len(world.fallback.asked)) == (1, 1)

    def test_a_stall_falls_over_at_the_clients_time_out(self, world: World) -> None:
        world.primary.plays("stall")
        assert world.colour.run(world.chain(STALL).call).target == world.fallback.name

    @pytest.mark.parametrize("scene", ["context", "filter"])
    def test_the_callers_mistakes_are_not_masked(self, world: World, scene: str) -> None:
        world.primary.plays(scene)
        with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)):
            world.colour.run(world.chain().call)
        assert (len(world.primary.asked), len(world.fallback.asked)) == (1, 0)

    def test_nobody_answers(self, world: World) -> None:
        world.primary.plays("429")
        world.fallback.plays("503")
        chain = world.chain(fail_max=1, reset_timeout=30)
        for _ in range(2):
            with pytest.raises(AllTargetsFailedError) as caught:
                world.colour.run(chain.call)
            assert caught.value.retry_after == 2
        assert (len(world.primary.asked), len(world.fallback.asked)) == (1, 1)

    def test_a_minute_of_503(self, world: World) -> None:
        """Twenty requests are served by the fallback; then the primary serves within one open time, with no herd."""
        world.primary.plays("503")
        chain = world.chain(fail_max=3, reset_timeout=10)
        served = []
        for _ in range(20):
            served.append(world.colour.run(chain.call).target)
            world.time.now += 3
        assert served == [world.fallback.name] * 20
        # Three to open the circuit, and then one probe each 10 s: at 18, 30, 42 and 54 s.
        assert len(world.primary.asked) == 3 + 4

        world.primary.plays("answer")
        world.time.now += 10
        results = herd(world, chain)
        assert sorted(result.target for result in results) == sorted([world.primary.name] + [world.fallback.name] * 19)
        assert len(world.primary.asked) == 1
        world.primary.plays("answer")
        assert {world.colour.run(chain.call).target for _ in range(5)} == {world.primary.name}


def herd(world: World, chain: Any) -> list[Any]:
    """Make twenty calls at once; whoever reaches the primary is answered when all others are."""
    others = threading.Semaphore(0)

    def let_all_others_end() -> None:
        for _ in range(19):
            others.acquire(timeout=60)

    world.primary.before = let_all_others_end
    if world.colour.name == "threads":

        def call() -> Any:
            result = chain.call()
            others.release()
            return result

        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            return [future.result() for future in [pool.submit(call) for _ in range(20)]]

    async def call_async() -> Any:
        result = await chain.call()
        others.release()
        return result

    async def main() -> list[Any]:
        return await asyncio.gather(*[call_async() for _ in range(20)])

    found: list[Any] = world.colour.run(main)
    return found


class TestStreams:
    def test_a_whole_one(self, world: World) -> None:
        stream = world.stream_chain().stream()
        seen: list[str] = []
        world.colour.consume(stream, seen)
        assert (seen[0], len(seen), stream.target) == ("word 0 ", 60, world.primary.name)

    @pytest.mark.parametrize("scene", ["503", "reset", "429"])
    def test_a_failure_before_the_first_chunk_falls_over(self, world: World, scene: str) -> None:
        world.primary.plays(scene)
        stream = world.stream_chain().stream()
        seen: list[str] = []
        world.colour.consume(stream, seen)
        assert (len(seen), stream.target) == (60, world.fallback.name)
        assert [attempt.target for attempt in stream.attempts] == [world.primary.name]

    def test_a_stall_before_the_first_chunk_falls_over(self, world: World) -> None:
        world.primary.plays("stall")
        stream = world.stream_chain(STALL).stream()
        seen: list[str] = []
        world.colour.consume(stream, seen)
        assert (len(seen), stream.target) == (60, world.fallback.name)

    def test_one_that_is_cut_is_an_error(self, world: World) -> None:
        """After 40 of 60 chunks, by an end of the connection that looks like any other."""
        world.primary.plays("cut")
        stream = world.stream_chain().stream()
        seen: list[str] = []
        with pytest.raises(IncompleteStreamError):
            world.colour.consume(stream, seen)
        assert (len(seen), len(world.fallback.asked)) == (BROKEN_AFTER, 0)
        assert world.breakers[0].fail_counter == 1

    def test_one_that_stalls_ends_at_its_time_out(self, world: World) -> None:
        world.primary.plays("stall-later")
        stream = world.stream_chain(STALL).stream()
        seen: list[str] = []
        with pytest.raises(Exception) as caught:
            world.colour.consume(stream, seen)
        assert "Timeout" in type(caught.value).__name__
        assert (len(seen), len(world.fallback.asked)) == (BROKEN_AFTER, 0)
        assert world.breakers[0].fail_counter == 1

    @pytest.mark.parametrize("scene", ["context", "filter"])
    def test_the_callers_mistakes_are_not_masked(self, world: World, scene: str) -> None:
        world.primary.plays(scene)
        with pytest.raises((openai.BadRequestError, anthropic.BadRequestError)):
            world.colour.consume(world.stream_chain().stream(), [])
        assert (len(world.primary.asked), len(world.fallback.asked)) == (1, 0)
