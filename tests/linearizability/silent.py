"""Operations without an answer: which of them may have happened, when, and what that would explain.

They may be many, and each may have happened at any later time or never. So only what leaves a trace is
looked at: in the answers that may come next, or in the store's own account of its changes.
"""

from __future__ import annotations

import bisect
from typing import TYPE_CHECKING, Final

from linearizability.history import REPORTS, Operation
from linearizability.steps import Step, applied, key_of
from pybreaker_ext.machine import FOREVER

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from linearizability.account import Account
    from pybreaker_ext.machine import Decision, Record

#: Nanoseconds after its beginning in which an operation without an answer happens, or never: it waits in a
#: server's socket for as long as the server is stopped, which is less than a second.
LIFE: Final = 5_000_000_000


class Silent:
    """The operations without an answer.

    Args:
        operations: All, in the order in which they began.
        initial: The state of a circuit without a record.
        account: What the store itself has kept.
    """

    def __init__(self, operations: list[Operation], initial: str, account: Account) -> None:
        self._operations = [each for each in operations if not each.answered and each.event.kind != "read"]
        self._began = [each.began for each in self._operations]
        self._initial = initial
        self._account = account
        decisions = [each.decision for each in operations if each.decision is not None]
        #: Of asks that somebody has seen traces of.
        self._tokens = {token for each in decisions for token in each.after.permits}
        self._tokens.update(each.event.token for each in operations if each.answered)

    def between(self, since: int, until: int) -> range:
        """Return the numbers of those that may happen between two times."""
        return range(bisect.bisect_left(self._began, since - LIFE), bisect.bisect_right(self._began, until))

    def alive(self, numbers: frozenset[int], record: Record | None, since: int) -> frozenset[int]:
        """Return the numbers of those that might still change something, from a record and a time on."""
        first = self.between(since, since).start
        return frozenset(n for n in numbers if n >= first and _matters(record, self._operations[n]))

    def steps(
        self, record: Record | None, done: frozenset[int], numbers: Iterable[int], nexts: list[Operation]
    ) -> Iterator[tuple[int, Step]]:
        """Yield what may happen to a record, at the times that would explain what was seen next."""
        traceless: set[int] = set()
        for number in numbers:
            operation = self._operations[number]
            if number in done or not _matters(record, operation):
                continue
            for step in self._guesses(record, operation, nexts):
                if operation.event.kind == "ask" and operation.event.token not in self._tokens and step.record:
                    if step.record.generation in traceless:  # another one does as well
                        continue
                    traceless.add(step.record.generation)
                yield number, step

    def _guesses(self, record: Record | None, operation: Operation, nexts: list[Operation]) -> Iterator[Step]:
        if operation.event.kind == "lose":
            if record is not None:
                yield Step(operation, None, None)
            return
        instants = {instant for each in nexts if each.decision for instant in _instants(operation, each.decision)}
        if record is not None:
            instants |= {1000 * instant for instant in self._account.instants(record)}
        made: set[object] = set()
        for now in sorted(instants):
            step = applied(record, operation, now, self._initial)
            if step.record is not None and step.record is not record:  # or else it is as if it had not happened
                known = self._account.knows(step.decision) if step.decision is not None else None
                key = key_of(step.record)
                if key not in made and known is not False and _shows(record, step, nexts, kept=bool(known)):
                    made.add(key)
                    yield step


def _matters(record: Record | None, operation: Operation) -> bool:
    """Tell whether an operation may change this record or a later one; a report of an old generation doesn't."""
    event = operation.event
    if record is None or event.kind not in REPORTS or event.kind == "hold":
        return True
    return event.generation >= record.generation


def _shows(before: Record | None, step: Step, nexts: list[Operation], *, kept: bool) -> bool:
    """Tell whether what came next can have seen what a step has made; what left no trace need not have happened.

    A new generation shows at once; or, if another one came on top of it that nobody saw either, in the store's own
    account, in that one's number or in `opened_at`. A lease, a failure and a longer hold show in the record; a lease
    that somebody reports on was given, whenever it ends.
    """
    made, event = step.record, step.operation.event
    assert made is not None
    decisions = [each.decision for each in nexts if each.decision is not None]
    changed = before is None or made.generation != before.generation
    if changed and made.generation not in {decision.old_generation for decision in decisions}:
        if kept or made.generation + 1 in {decision.old_generation for decision in decisions}:
            return True
        return event.kind != "ask" and made.opened_at in {decision.after.opened_at for decision in decisions}
    if made.permits.get(event.token) not in (None, before and before.permits.get(event.token)):
        shown = any(decision.after.permits.get(event.token) == made.permits[event.token] for decision in decisions)
        # A lease goes with its generation, and is forgotten some time after its end.
        hidden = changed and any(
            made.generation == each.old_generation
            and (each.after.generation != made.generation or each.now > made.permits[event.token])
            for each in decisions
        )
        return shown or hidden or any(each.event.token == event.token for each in nexts)
    if before is None or changed:
        return True
    if before.fail_counter < made.fail_counter > max(decision.after.fail_counter for decision in decisions):
        return False
    return made.open_until in {before.open_until} | {decision.after.open_until for decision in decisions}


def _instants(operation: Operation, seen: Decision) -> Iterator[int]:
    """Yield the times, in microseconds, at which an operation may have left what was seen."""
    after, event, policy = seen.after, operation.event, operation.policy
    yield from (seen.now * 1000, seen.old_generation, after.generation)
    yield seen.old_generation - 1  # by hand, where there was no record
    if after.opened_at:
        yield after.opened_at * 1000
    if 0 < after.open_until < FOREVER and event.kind in ("hold", "open"):
        yield (after.open_until - event.duration) * 1000
    if event.token in after.permits:
        yield (after.permits[event.token] - policy.probe_timeout) * 1000
