"""What the metrics' labels may say: fixed words, apart from the breaker's name."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.machine import CLOSED, FAILURES, HALF_OPEN, HOLD, MANUAL, OPEN

if TYPE_CHECKING:
    from pybreaker_ext.errors import CircuitBreakerError

STATES: Final = (CLOSED, HALF_OPEN, OPEN)
CHANGES: Final = tuple(itertools.permutations(STATES, 2))

SUCCESS: Final = "success"
FAILURE: Final = "failure"
NEUTRAL: Final = "neutral"
OUTCOMES: Final = (SUCCESS, FAILURE, NEUTRAL)

#: The reason for which nobody has a word: a close, or what a foreign program did.
OTHER: Final = "other"
REASONS: Final = (FAILURES, HOLD, MANUAL, OTHER)
#: Why calls are rejected: the circuit is open for one of the reasons, or all probes are out.
REJECTIONS: Final = (*REASONS, HALF_OPEN)

#: The name of breakers that have none.
UNNAMED: Final = "unnamed"
#: The name of all breakers that come when there are `max_names` others.
OTHERS: Final = "others"
MAX_NAMES: Final = 1_000

#: Seconds. OpenTelemetry's for HTTP requests, and longer ones for models that think.
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 30.0, 60.0, 120.0)


def name_of(breaker: Any) -> Any:
    """Return a breaker's own name."""
    return breaker.name


def as_label(name: Any) -> str:
    """Return a name as text that can be sent; half a surrogate pair would spoil the whole answer."""
    return str(name).encode(errors="replace").decode() if name else UNNAMED


def reason(told: str) -> str:
    """Return a `Snapshot`'s reason as one of `REASONS`."""
    return told if told in REASONS else OTHER


def rejection(error: CircuitBreakerError) -> str:
    """Return one of `REJECTIONS`."""
    return HALF_OPEN if error.state == HALF_OPEN else reason(error.reason)


def change(new_state: Any) -> str:
    """Return why a state came, one of `REASONS`; `other` when only its name is known."""
    return reason(new_state.snapshot.reason) if new_state.snapshot else OTHER
