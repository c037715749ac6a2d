"""What a chain tells: who has answered, who was tried before, and that nobody has."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

R = TypeVar("R")

#: The chain's deadline came first.
TIMEOUT = "timeout"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A target that was tried, and hasn't answered.

    Attributes:
        target: Its name.
        outcome: `rejected` when its circuit let nobody in, so that it wasn't called; `failure` or
            `hold` as its breaker has judged; `timeout` when the chain's deadline came before its
            answer, or before it was called. When one was to fall back on it, also `neutral`, or
            `success` for an excluded error.
        error: What was raised; a `FailedResult` when a result was judged to be a failure; for a
            `timeout` a `TimeoutError`, with what an earlier attempt has come to as its `__cause__`.
        seconds: How long it took, its retries included.
    """

    target: str
    outcome: str
    error: Exception
    seconds: float


@dataclass(frozen=True, slots=True)
class FallbackResult(Generic[R]):
    """What a chain's call returns.

    Attributes:
        value: What the target's function returned.
        target: The name of the target that has answered.
        attempts: What was tried before it, in order.
    """

    value: R
    target: str
    attempts: tuple[Attempt, ...] = ()


class AllTargetsFailedError(ExceptionGroup[Exception]):
    """No target of a chain has answered. An `ExceptionGroup`, which has the error of each that was tried.

    Attributes:
        retry_after: Seconds until the first of them may be called again, as its circuit or its
            backend says; 0.0 when one may at once, `math.inf` when all circuits stay open until
            somebody closes them.
        attempts: What was tried, in order.
    """

    retry_after: float
    attempts: tuple[Attempt, ...]

    def __new__(
        cls,
        message: str,
        errors: Sequence[Exception],
        *,
        retry_after: float = 0.0,
        attempts: tuple[Attempt, ...] = (),
    ) -> Self:
        """Make one of the errors."""
        self = super().__new__(cls, message, errors)
        self.retry_after = retry_after
        self.attempts = attempts
        return self

    def __init__(self, message: str, errors: Sequence[Exception], **attributes: Any) -> None:
        """Do what `ExceptionGroup` does; `__new__` has taken the attributes."""
        del attributes
        super().__init__(message, errors)

    def derive(self, errors: Sequence[Exception], /) -> AllTargetsFailedError:  # type: ignore[override]
        """Return one of some of the errors, for `split` and `except*`."""
        return AllTargetsFailedError(self.message, errors, retry_after=self.retry_after, attempts=self.attempts)


def told(attempts: Sequence[Attempt]) -> str:
    """Return attempts in words."""
    return ", ".join(f"{attempt.target} ({attempt.outcome})" for attempt in attempts)
