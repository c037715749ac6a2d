"""Where circuits are kept. Every storage has one verb: apply an event atomically, get a decision."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pybreaker_ext.machine import Decision, Event, Policy


@runtime_checkable
class Storage(Protocol):
    """What the breaker needs of a storage."""

    def apply(self, event: Event, policy: Policy) -> Decision:
        """Apply one event to the circuit, as one atomic step, and return what became of it.

        Never raises because the store is away: it then decides on its own (see `outage.py`).
        """
        ...

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        """Apply one event to the circuit, as one atomic step, and return what became of it.

        Never keeps the event loop waiting. When the caller is cancelled, a report is carried out
        all the same, and an ask gives its permit back.
        """
        ...
