"""What has become of the calls through one breaker."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pybreaker_ext.listener import CircuitBreakerListener

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True)
class Outcomes:
    """How calls through one breaker have ended, and which states its circuit came into.

    Attributes:
        success: Calls that counted as a success.
        failure: Calls that counted as a failure.
        neutral: Calls that counted as nothing: ignored errors, holds, cancellations.
        rejected: Calls that were refused.
        states: The states that the circuit came into, in their order; the last 1,000.
    """

    success: int = 0
    failure: int = 0
    neutral: int = 0
    rejected: int = 0
    states: tuple[str, ...] = ()


class Recorder(CircuitBreakerListener):
    """Counts what its breaker tells."""

    def __init__(self) -> None:
        self.counts = Counter[str]()

    def success(self, cb: Any) -> None:
        """Count a success."""
        del cb
        self.counts["success"] += 1

    def failure(self, cb: Any, exc: BaseException) -> None:
        """Count a failure."""
        del cb, exc
        self.counts["failure"] += 1

    def neutral(self, cb: Any, exc: BaseException) -> None:
        """Count a call that counts as nothing."""
        del cb, exc
        self.counts["neutral"] += 1

    def rejected(self, cb: Any, error: Any) -> None:
        """Count a rejection."""
        del cb, error
        self.counts["rejected"] += 1


def outcomes_of(recorders: Iterable[Recorder], states: tuple[str, ...]) -> Outcomes:
    """Return what all of them have counted, with the states that their circuit came into."""
    counts = sum((recorder.counts for recorder in recorders), Counter[str]())
    return Outcomes(**counts, states=states)
