"""A place where a chain may find an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from pybreaker_ext.breaker import CircuitBreaker
from pybreaker_ext.ended import PENDING, Ended
from pybreaker_ext.streams.rules import NAMES, checked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pybreaker_ext.retry import RetryPolicy
    from pybreaker_ext.retry.loop import Attempts

P = ParamSpec("P")
R = TypeVar("R")


class Once:
    """In the place of a retry policy's attempts: there is one."""

    count = 0

    def run(self, attempt: Callable[[], Ended]) -> Ended:
        """Return what it has come to."""
        return attempt()

    async def run_async(self, attempt: Callable[[], Awaitable[Ended]]) -> Ended:
        """Return what it has come to."""
        return await attempt()

    def go_on(self, being_cancelled: Callable[[], bool]) -> Once:
        """Return this: nothing came before."""
        del being_cancelled
        return self

    def cut(self) -> Ended:
        """Return that nothing has ended before."""
        return Ended(PENDING)


@dataclass(frozen=True, eq=False)
class Target(Generic[P, R]):
    """One of a chain's backends.

    Args:
        name: Told in results and errors, such as `"openai/gpt-4o"`; not empty.
        breaker: Through which it is called.
        func: The function that calls it. It needs no `@breaker`.
        retry: Tries it again before the next target is tried; None: not at all.
        stream_options: Arguments of `CircuitBreaker.stream` for this target's streams, such as
            `{"chunk_timeout": 20.0, "complete": openai_complete}`.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: `name` is empty, or a stream's time-out out of its range.
    """

    name: str
    breaker: CircuitBreaker
    func: Callable[P, R]
    retry: RetryPolicy | None = None
    stream_options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the arguments."""
        for argument, holds, allowed in (
            ("name", isinstance(self.name, str), "a text"),
            ("breaker", isinstance(self.breaker, CircuitBreaker), "a pybreaker_ext.CircuitBreaker"),
            ("func", callable(self.func), "callable"),
            ("retry", self.retry is None or hasattr(type(self.retry), "within"), "a RetryPolicy or None"),
            ("stream_options", isinstance(self.stream_options, Mapping), "a mapping"),
        ):
            if not holds:
                message = f"{argument} must be {allowed}, not {getattr(self, argument)!r}"
                raise TypeError(message)
        if not self.name:
            message = "name must be a text that isn't empty, not ''"
            raise ValueError(message)
        unknown = self.stream_options.keys() - NAMES
        if unknown:
            message = f"stream_options must have {', '.join(sorted(NAMES))} only, not {min(unknown)!r}"
            raise TypeError(message)
        checked(**self.stream_options)

    def _tries(self, seconds: float, being_cancelled: Callable[[], bool]) -> Attempts | Once:
        """Return what tries it, with the retries that so many seconds leave time for."""
        if self.retry is None:
            return Once()
        return self.retry.within(max(0.0, seconds))._attempts(self.breaker, being_cancelled)
