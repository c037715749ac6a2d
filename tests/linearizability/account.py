"""A store's own account of a circuit's past: evidence for what happened and nobody was told."""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final

from pybreaker_ext.storage.history import Change, change_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pybreaker_ext.machine import Decision, Record

#: Changes that may have come one after the other without that anybody was told of one.
NEXT: Final = 4


class Account:
    """All changes of state of a circuit, as its store has kept them.

    Args:
        changes: The oldest first. None at all: there is no account.
    """

    def __init__(self, changes: Iterable[Change] = ()) -> None:
        self.changes: Sequence[Change] = [_anonymous(change) for change in changes]
        self._known = set(self.changes)

    def knows(self, decision: Decision) -> bool | None:
        """Tell whether a decision has changed the state; None: it would not have, or there is no account."""
        change = change_of(decision, "-")
        return None if change is None or not self._known else _anonymous(change) in self._known

    def instants(self, record: Record) -> list[int]:
        """Return the times, in milliseconds, of the next changes that may have found a record."""
        first = bisect.bisect_left(self.changes, record.generation // 1000, key=lambda change: change.at)
        return [change.at for change in self.changes[first : first + NEXT] if change.old_state == record.state]


def changes_of(decisions: Iterable[Decision | None]) -> list[Change]:
    """Return the changes of state that decisions have made, without who made them."""
    found = [change_of(decision, "-") for decision in decisions if decision is not None]
    return [_anonymous(change) for change in found if change is not None]


def _anonymous(change: Change) -> Change:
    return change._replace(worker="")
