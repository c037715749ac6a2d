"""Streams of the fleet's workers: functions that travel to worker processes by name."""

from __future__ import annotations

import asyncio
import itertools
import time
from typing import TYPE_CHECKING, Any

import openai
from fleet import Circuit, shared, until

import pybreaker_ext
from pybreaker_ext import policies
from pybreaker_ext.streams import openai_complete

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

QUESTION: Any = {"model": "gpt-4o", "messages": [{"role": "user", "content": "?"}], "stream": True}
#: Seconds between two chunks.
PAUSE = 0.05


def breaker_of(url: str) -> Any:
    """Return what each worker of a service would ask for by name."""
    settings = policies.llm(fail_max=3, reset_timeout=30, backoff=None, success_threshold=1, max_staleness=0.0)
    return pybreaker_ext.get_circuit_breaker(url, name="openai/gpt-4o", **settings)


def chat(url: str, provider: str, leave: int | None = None) -> str:
    """Read a provider's stream, or a part of it; tell how that ended."""
    breaker = breaker_of(url)
    with openai.OpenAI(api_key="k", base_url=provider, max_retries=0, timeout=30) as client:
        create = client.chat.completions.create
        try:
            with breaker.stream(create, **QUESTION, complete=openai_complete) as stream:
                for number, _ in enumerate(stream, 1):
                    if number == leave:
                        return "left"
        except Exception as error:  # noqa: BLE001  told to the test by its name
            return _told(error)
    return "whole"


def chat_async(url: str, provider: str, leave: int | None = None) -> str:
    """Read a provider's stream, or a part of it; tell how that ended."""
    return asyncio.run(_chat_async(breaker_of(url), provider, leave))


async def _chat_async(breaker: Any, provider: str, leave: int | None) -> str:
    async with openai.AsyncOpenAI(api_key="k", base_url=provider, max_retries=0, timeout=30) as client:
        create = client.chat.completions.create
        number = itertools.count(1)
        try:
            async with breaker.stream(create, **QUESTION, complete=openai_complete) as stream:
                async for _ in stream:
                    if next(number) == leave:
                        return "left"
        except Exception as error:  # noqa: BLE001  told to the test by its name
            return _told(error)
    return "whole"


def _told(error: Exception) -> str:
    if isinstance(error, pybreaker_ext.CircuitBreakerError):
        return "tripped" if error.__cause__ else "rejected"
    return "broken"


def send_for_ever(circuit: Circuit, index: int) -> None:
    """Be the probe, and send chunks until the process is killed."""
    if circuit.in_loop:
        asyncio.run(_send_for_ever_async(circuit, index))
        return

    def chunks() -> Iterator[int]:
        for number in itertools.count():
            yield number
            time.sleep(PAUSE)

    for _ in circuit.breaker().stream(chunks):
        shared().add(index)


async def _send_for_ever_async(circuit: Circuit, index: int) -> None:
    async def chunks() -> AsyncIterator[int]:
        for number in itertools.count():
            yield number
            await asyncio.sleep(PAUSE)

    async for _ in circuit.breaker().stream(chunks):
        shared().add(index)


def call_until_admitted(circuit: Circuit) -> float:
    """Call all the time; return when the first call ran, in seconds on the machine's clock."""
    breaker = circuit.breaker()

    def attempt() -> float:
        try:
            began: float = circuit.call(time.time, breaker)
        except pybreaker_ext.CircuitBreakerError:
            return 0.0
        return began

    found: float = until(attempt, pause=0.005)
    return found
