"""One consistent look at a circuit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from pybreaker_ext.machine import CLOSED, FOREVER, HALF_OPEN, OPEN, live

if TYPE_CHECKING:
    from pybreaker_ext.machine import Decision
    from pybreaker_ext.storage.history import Change


class CircuitState(StrEnum):
    """The three states; each equals pybreaker's text for it."""

    CLOSED = CLOSED
    OPEN = OPEN
    HALF_OPEN = HALF_OPEN


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a circuit looked like at one moment. Instants are seconds on the store's clock.

    Attributes:
        name: The breaker's name.
        state: `closed`, `open` or `half-open`.
        generation: Changes at every change of state and never repeats.
        fail_counter: Consecutive failures.
        success_counter: Successes since the circuit went half-open.
        trips: Trips in a row without a close between them.
        reason: Why the circuit was opened or set: `failures`, `hold`, `manual`, or empty.
        opened_at: When it was opened last, or None.
        open_until: When an open circuit may be probed, `math.inf` when only a hand can end it;
            None unless it is open.
        retry_after: Seconds until the next call may be admitted, `math.inf` for never.
        probes: Probes that are out and whose leases have not ended.
        now: The moment itself.
        shared: False when the store is away and this process decides by itself.
    """

    name: str | None
    state: CircuitState
    generation: int
    fail_counter: int
    success_counter: int
    trips: int
    reason: str
    opened_at: float | None
    open_until: float | None
    retry_after: float
    probes: int
    now: float
    shared: bool


@dataclass(frozen=True, slots=True)
class Transition:
    """One change of a circuit's state, from its history.

    Attributes:
        at: When, in seconds on the store's clock; since the epoch, but for memory.
        old_state: `closed`, `open` or `half-open`.
        new_state: The same as `old_state` when an open circuit was opened anew, say.
        reason: `failures`, `hold`, `manual`, or empty: probes have closed it, or nobody knows.
        worker: Who made it, `host:pid` or a name that was given; empty for somebody else's program,
            that has only written the state.
    """

    at: float
    old_state: CircuitState
    new_state: CircuitState
    reason: str
    worker: str


def transition_of(change: Change) -> Transition:
    """Return a stored change as users see it."""
    at, old, new, reason, worker = change
    return Transition(at / 1000, CircuitState(old), CircuitState(new), reason, worker)


def in_seconds(milliseconds: int) -> float:
    """Return milliseconds as seconds; `FOREVER` is `math.inf`."""
    return math.inf if milliseconds == FOREVER else milliseconds / 1000


def snapshot_of(name: str | None, decision: Decision) -> Snapshot:
    """Return the snapshot that a decision shows."""
    record = decision.after
    return Snapshot(
        name=name,
        state=CircuitState(record.state),
        generation=record.generation,
        fail_counter=record.fail_counter,
        success_counter=record.success_counter,
        trips=record.trips,
        reason=record.reason,
        opened_at=in_seconds(record.opened_at) if record.opened_at else None,
        open_until=in_seconds(record.open_until) if record.state == OPEN else None,
        retry_after=in_seconds(decision.retry_after),
        probes=live(record, decision.now)[0],
        now=in_seconds(decision.now),
        shared=decision.epoch % 2 == 0,
    )
