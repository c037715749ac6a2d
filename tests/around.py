"""The same story told to threads and to asyncio, on a clock that only sleeping turns."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pybreaker_ext import CircuitBreaker, CircuitMemoryStorage

if TYPE_CHECKING:
    from collections.abc import Callable


class Time:
    """A clock, and sleepers that turn it."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.slept: list[float] = []
        #: Called while somebody sleeps.
        self.meanwhile: Callable[[], None] = lambda: None

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(round(seconds, 6))
        self.meanwhile()
        self.now += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)
        await asyncio.sleep(0)

    @property
    def settings(self) -> dict[str, Any]:
        return {"clock": self, "sleep": self.sleep, "sleep_async": self.sleep_async}


def breaker_on(time: Time, **settings: Any) -> CircuitBreaker:
    return CircuitBreaker(**{"fail_max": 100, "state_storage": CircuitMemoryStorage(clock=time), **settings})


class Threads:
    """Functions are functions."""

    name = "threads"

    def function(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """Return `func` in this colour."""
        return func

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        """Return what a call of this colour comes to."""
        return call(*args)


class Asyncio:
    """Functions are coroutine functions, and calls are awaited."""

    name = "asyncio"

    def function(self, func: Callable[..., Any]) -> Callable[..., Any]:
        async def coroutine_function(*args: Any, **kwargs: Any) -> Any:
            await asyncio.sleep(0)
            return func(*args, **kwargs)

        return coroutine_function

    def run(self, call: Callable[..., Any], *args: Any) -> Any:
        async def main() -> Any:
            return await call(*args)

        return asyncio.run(main())


class AsyncioByLambda(Asyncio):
    """Functions are plain ones that return coroutines."""

    name = "asyncio, by lambda"

    def function(self, func: Callable[..., Any]) -> Callable[..., Any]:
        coroutine_function = super().function(func)
        return lambda *args, **kwargs: coroutine_function(*args, **kwargs)


COLOURS = (Threads(), Asyncio())
ALL_COLOURS = (*COLOURS, AsyncioByLambda())


def name_of(colour: Any) -> str:
    return str(colour.name)


class Backend:
    """A function that returns or raises what it is given, one after the other; the last one again and again."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        del args, kwargs
        answer = self.answers[min(self.calls, len(self.answers) - 1)]
        self.calls += 1
        if callable(answer) and not isinstance(answer, type):
            answer = answer()
        if isinstance(answer, BaseException) or (isinstance(answer, type) and issubclass(answer, BaseException)):
            raise answer
        return answer


class StatusError(Exception):
    """What a client raises; with headers as `pybreaker_ext.http` reads them."""

    def __init__(self, status: int, wait: float | None = None) -> None:
        super().__init__(status)
        self.status_code = status
        self.headers = {} if wait is None else {"Retry-After": str(wait)}
