"""Circuits as they are in their store, whoever uses them: seen from outside, without a breaker."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pybreaker_ext.machine import OPEN, live
from pybreaker_ext.snapshot import CircuitState, Transition, in_seconds, transition_of

if TYPE_CHECKING:
    from pybreaker_ext.storage.places import Listing, Place, Seen


@dataclass(frozen=True, slots=True)
class StoredCircuit:
    """What a circuit looked like at one moment. Instants are seconds since the epoch on the store's clock.

    Attributes:
        name: What a registry calls it; empty for pybreaker's keys without a namespace.
        namespace: The namespace of its storage, or None.
        state: `closed`, `open` or `half-open`.
        since: When it came into this state; None when nobody knows.
        fail_counter: Consecutive failures.
        success_counter: Successes since the circuit went half-open.
        trips: Trips in a row without a close between them.
        reason: Why the circuit was opened or set: `failures`, `hold`, `manual`, or empty.
        opened_at: When it was opened last, or None.
        open_until: When an open circuit may be probed, `math.inf` when only a hand can end it; None
            unless it is open, and when it depends on the settings of its workers, which the store
            doesn't know.
        probes: Probes that are out and whose leases have not ended.
        last_change: The last change of state that its history tells, or None.
        foreign: Whether somebody else's program has written the state, plain pybreaker for instance,
            and none of our workers has acted on it since.
        now: The moment itself.
    """

    name: str
    namespace: str | None
    state: CircuitState
    since: float | None
    fail_counter: int
    success_counter: int
    trips: int
    reason: str
    opened_at: float | None
    open_until: float | None
    probes: int
    last_change: Transition | None
    foreign: bool
    now: float


class StoredCircuits:
    """The circuits in a store, whoever has made them, plain pybreaker among them. Reading changes nothing.

    `registry.stored()` gives one. Every method raises `StoreUnavailableError` (of
    `pybreaker_ext.errors`) when the store can't be asked.
    """

    def __init__(self, listing: Listing) -> None:
        self._listing = listing

    def names(self) -> tuple[str, ...]:
        """Return all names, sorted. In Redis it takes a SCAN of the whole database."""
        return tuple(place.name for place in self._listing.search())

    async def names_async(self) -> tuple[str, ...]:
        """Return all names, sorted; a thread asks the store meanwhile."""
        return await asyncio.to_thread(self.names)

    def read(self) -> list[StoredCircuit]:
        """Return all circuits as they are now, by name. In Redis it takes a SCAN, and two commands for each."""
        places = self._listing.search()
        seen = self._listing.read(places)
        return [circuit_of(place, seen[place]) for place in places if place in seen]

    async def read_async(self) -> list[StoredCircuit]:
        """Return all circuits as they are now, by name; a thread asks the store meanwhile."""
        return await asyncio.to_thread(self.read)


def circuit_of(place: Place, seen: Seen) -> StoredCircuit:
    """Return what was seen as users see it."""
    decision, record = seen.decision, seen.decision.after
    foreign = decision.stored is not None
    known = record.state == OPEN and not foreign
    return StoredCircuit(
        name=place.name,
        namespace=place.namespace,
        state=CircuitState(record.state),
        since=_since(seen),
        fail_counter=record.fail_counter,
        success_counter=record.success_counter,
        trips=record.trips,
        reason=record.reason,
        opened_at=in_seconds(record.opened_at) if record.opened_at else None,
        open_until=in_seconds(record.open_until) if known else None,
        probes=live(record, decision.now)[0],
        last_change=transition_of(seen.change) if seen.change else None,
        foreign=foreign,
        now=in_seconds(decision.now),
    )


def _since(seen: Seen) -> float | None:
    """Return when the state began: a generation is the microsecond of the change that began it."""
    decision, record = seen.decision, seen.decision.after
    if decision.stored is None:
        return min(record.generation // 1000, decision.now) / 1000
    return in_seconds(record.opened_at) if record.state == OPEN and record.opened_at else None
