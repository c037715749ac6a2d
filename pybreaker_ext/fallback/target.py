"""A place where a chain may find an answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar

from pybreaker_ext.breaker import CircuitBreaker
from pybreaker_ext.streams.rules import NAMES, checked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pybreaker_ext.ended import Ended
    from pybreaker_ext.retry import RetryPolicy

P = ParamSpec("P")
R = TypeVar("R")


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

    def _tried(self, attempt: Callable[[], Ended], seconds: float) -> Ended:
        """Return what it came to, the retries included that so many seconds leave time for."""
        if self.retry is None:
            return attempt()
        return self.retry.within(max(0.0, seconds))._attempts(self.breaker).run(attempt)

    async def _tried_async(
        self, attempt: Callable[[], Awaitable[Ended]], seconds: float, being_cancelled: Callable[[], bool]
    ) -> Ended:
        """Return what it came to, the retries included that so many seconds leave time for."""
        if self.retry is None:
            return await attempt()
        return await self.retry.within(max(0.0, seconds))._attempts(self.breaker, being_cancelled).run_async(attempt)
