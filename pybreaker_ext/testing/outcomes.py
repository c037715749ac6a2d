"""What has become of the calls through one breaker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pybreaker_ext.listener import CircuitBreakerListener


@dataclass(frozen=True)
class Outcomes:
    """How calls through one breaker have ended, and which states its circuit came into.

    Attributes:
        success: Calls that counted as a success.
        failure: Calls that counted as a failure.
        neutral: Calls that counted as nothing: ignored errors, holds, cancellations.
        rejected: Calls that were refused.
        states: The states that the circuit came into, in their order.
    """

    success: int = 0
    failure: int = 0
    neutral: int = 0
    rejected: int = 0
    states: tuple[str, ...] = ()


class Recorder(CircuitBreakerListener):
    """Counts what its breaker tells."""

    def __init__(self) -> None:
        self._counts = {"success": 0, "failure": 0, "neutral": 0, "rejected": 0}
        self._states: list[str] = []

    @property
    def outcomes(self) -> Outcomes:
        """What was counted so far."""
        return Outcomes(**self._counts, states=tuple(self._states))

    def success(self, cb: Any) -> None:
        """Count a success."""
        del cb
        self._counts["success"] += 1

    def failure(self, cb: Any, exc: BaseException) -> None:
        """Count a failure."""
        del cb, exc
        self._counts["failure"] += 1

    def neutral(self, cb: Any, exc: BaseException) -> None:
        """Count a call that counts as nothing."""
        del cb, exc
        self._counts["neutral"] += 1

    def rejected(self, cb: Any, error: Any) -> None:
        """Count a rejection."""
        del cb, error
        self._counts["rejected"] += 1

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        """Note a state."""
        del cb, old_state
        self._states.append(str(new_state.name))
