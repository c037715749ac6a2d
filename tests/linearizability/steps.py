"""One operation, and what the machine makes of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pybreaker_ext.machine import Decision, Record, decide

if TYPE_CHECKING:
    from linearizability.history import Operation


class Step(NamedTuple):
    """One operation in the order that was found, and what the machine made of it."""

    operation: Operation
    #: None for the loss of a record.
    decision: Decision | None
    #: The record afterwards; None: there is none.
    record: Record | None


def applied(record: Record | None, operation: Operation, now: int, initial: str) -> Step:
    """Return what the machine makes of an operation at a time, in microseconds."""
    decision = decide(record, operation.event, operation.policy, now, initial)
    return Step(operation, decision, decision.after if decision.write else record)


def key_of(record: Record) -> object:
    """Return what tells a record from others."""
    return (*record[:8], *sorted(record.permits.items()))
