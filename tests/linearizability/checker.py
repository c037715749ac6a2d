"""Looks for an order of concurrent operations in which the machine gives the answers that were given.

Such an order has to be consistent with time: what ended before something else began comes before it. An
operation without an answer has happened at some time after it began, or not at all. The search is
Wing and Gong's, with Lowe's memory of places where it has been; see docs/explanation/linearizability.md.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from typing import TYPE_CHECKING, Final, NamedTuple

from linearizability.account import Account
from linearizability.history import NEVER, Operation
from linearizability.silent import Silent
from linearizability.steps import Step, applied, key_of
from pybreaker_ext.machine import COUNTED, Decision, Record

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Places at which the search gives up. What is in order needs about one for each operation.
PATIENCE: Final = 200_000
#: Operations without an answer that may follow each other without one with an answer between them.
SILENT_RUN: Final = 5
#: Answers that the search goes back at most, to see what would follow if something without an answer had happened:
#: answers tell the whole record, so a wrong turn shows within a few.
BACK: Final = 500


class NotLinearizableError(AssertionError):
    """No order explains the answers; the message tells how far the best attempt came."""


class UndecidedError(AssertionError):
    """The search has lost patience."""


def linearized(operations: Iterable[Operation], initial: str = "closed", account: Account | None = None) -> list[Step]:
    """Return the operations in an order that explains them; those that didn't happen are left out.

    Args:
        operations: Of one circuit, in any order.
        initial: The state of a circuit without a record.
        account: What the store itself has kept.

    Raises:
        NotLinearizableError: There is no such order, within the bounds of this file and of `silent`.
        UndecidedError: None was found, and the search has not seen all.
    """
    return _Search(list(operations), initial, account or Account()).run()


class _Place(NamedTuple):
    """Where the search is: what is done, and the record that this has made."""

    record: Record | None = None
    #: All operations with an answer before this index are done, and `beyond` it these.
    low: int = 0
    beyond: frozenset[int] = frozenset()
    #: Those without an answer that are done, and that otherwise might still be.
    silent: frozenset[int] = frozenset()
    #: 1 after one of them, which an answer has to follow; longer runs of them have been looked for already.
    run: int = 0


class _Search:
    def __init__(self, operations: list[Operation], initial: str, account: Account) -> None:
        operations = sorted(operations, key=lambda each: each.began)
        self._answered = [each for each in operations if each.answered]
        self._silent = Silent(operations, initial, account)
        self._initial = initial
        #: How the search came to a record: with which operations without an answer, and whether with one at last.
        self._seen: dict[object, list[tuple[frozenset[int], int]]] = defaultdict(list)
        self._places = 0
        self._furthest = (-1, _Place(), list[Step]())

    def run(self) -> list[Step]:
        path: list[list[Step]] = []
        stack = [self._moves(_Place())] if self._answered else []
        while stack:
            move = next(stack[-1], None)
            if move is None:
                stack.pop()
                del path[-1:]
                continue
            steps, place = move
            path.append(steps)
            if place.low == len(self._answered):
                return [*itertools.chain(*path)]
            self._note(place, path)
            stack.append(self._moves(place))
        if self._answered:
            raise NotLinearizableError(self._story())
        return []

    def _note(self, place: _Place, path: list[list[Step]]) -> None:
        done = place.low + len(place.beyond)
        if done > self._furthest[0]:
            self._furthest = (done, place, [*itertools.chain(*path[-5:])])

    def _moves(self, place: _Place) -> Iterator[tuple[list[Step], _Place]]:
        """Yield what may come next; what fits here and would change nothing anywhere, without an alternative."""
        changing = []
        window = self._window(place)
        if self._is_too_late(place, window):
            return
        for index in window:
            step = self._answer(place.record, self._answered[index])
            if step is None:
                continue
            if step.record is place.record and not _may_change(step):
                yield [step], self._done(place, index, step)
                return
            changing.append((index, step))
        for index, step in changing:
            following = self._done(place, index, step)
            if self._is_new(following):
                yield [step], following
        if not place.run and self._furthest[1].low - place.low <= BACK:
            yield from self._silent_moves(place, window)

    def _window(self, place: _Place) -> list[int]:
        """Return what may come next by the clock on the wall, the likeliest first."""
        first_end, found = NEVER, []
        for index in range(place.low, len(self._answered)):
            operation = self._answered[index]
            if operation.began > first_end:
                break
            if index not in place.beyond:
                found.append(index)
                first_end = min(first_end, operation.ended)
        found = [index for index in found if self._answered[index].began <= first_end]
        return sorted(found, key=lambda index: _stamp(self._answered[index]))

    def _is_too_late(self, place: _Place, window: list[int]) -> bool:
        """Tell whether an answer is left out that tells of an older generation: none ever comes back."""
        decisions = (self._answered[index].decision for index in window)
        now = place.record.generation if place.record is not None else 0
        return any(decision is not None and decision.old_generation < now for decision in decisions)

    def _answer(self, record: Record | None, operation: Operation) -> Step | None:
        """Return the step when the machine says what was answered."""
        given = operation.decision
        if given is None:
            return Step(operation, None, None)
        step = applied(record, operation, _microseconds(record, given), self._initial)
        assert step.decision is not None
        return step if _content(step.decision) == _content(given) else None

    def _silent_moves(self, place: _Place, window: list[int]) -> Iterator[tuple[list[Step], _Place]]:
        """Yield what nobody was told and explains an answer that may come next, the shortest first."""
        first_end = min(self._answered[index].ended for index in window)
        numbers = self._silent.between(self._since(place.low), first_end)
        nexts = [self._answered[index] for index in window if self._answered[index].decision is not None]
        runs: list[tuple[list[Step], _Place]] = [([], place)] if nexts else []
        for _ in range(SILENT_RUN):
            runs = [longer for run in runs for longer in self._longer(*run, numbers, nexts)]
            for steps, following in runs:
                if any(self._answer(following.record, each) is not None for each in nexts):
                    yield steps, following

    def _longer(
        self, steps: list[Step], place: _Place, numbers: Iterable[int], nexts: list[Operation]
    ) -> Iterator[tuple[list[Step], _Place]]:
        """Yield a run with one more operation without an answer, at the times that would explain what was seen next."""
        for number, step in self._silent.steps(place.record, place.silent, numbers, nexts):
            following = self._alive(_Place(step.record, place.low, place.beyond, place.silent | {number}, run=1))
            if self._is_new(following):
                yield [*steps, step], following

    def _alive(self, place: _Place) -> _Place:
        """Return the place without the memory of operations that could do nothing any more anyway."""
        return place._replace(silent=self._silent.alive(place.silent, place.record, self._since(place.low)))

    def _since(self, low: int) -> int:
        """Return an instant that has passed when all answers before an index have been given."""
        return self._answered[low - 1].began if low else 0

    def _done(self, place: _Place, index: int, step: Step) -> _Place:
        beyond, low = place.beyond | {index}, place.low
        while low in beyond:
            low += 1
        place = _Place(step.record, low, frozenset(each for each in beyond if each >= low), place.silent)
        return self._alive(place) if place.silent else place

    def _is_new(self, place: _Place) -> bool:
        """Tell whether the search should go on from here.

        It need not when it was here before with fewer operations without an answer: what can come from here,
        could then, too.
        """
        seen = self._seen[place.record and key_of(place.record), place.low, place.beyond]
        if any(run <= place.run and silent <= place.silent for silent, run in seen):
            return False
        if self._places >= PATIENCE:
            raise UndecidedError(f"no order was found at {PATIENCE} places\n{self._story()}")
        self._places += 1
        seen.append((place.silent, place.run))
        return True

    def _story(self) -> str:
        """Tell how far the search came, and why it came no further."""
        done, place, last = self._furthest
        lines = [f"no order explains all {len(self._answered)} answers; after {max(done, 0)} of them, the last"]
        lines += [f"  {_told(step.operation)}" for step in last]
        lines.append(
            f"there is the record\n  {place.record}\nand of what may come next, none is what the machine says:"
        )
        for index in self._window(place):
            operation = self._answered[index]
            if operation.decision is not None:
                now = _microseconds(place.record, operation.decision)
                says = applied(place.record, operation, now, self._initial).decision
                lines.append(f"  {_told(operation)}\n    the machine: {says}")
        return "\n".join(lines)


def _may_change(step: Step) -> bool:
    """Tell whether it might have changed something elsewhere, with the same answer.

    A loss finds a record or none; a success resets a counter, or finds it so.
    """
    if step.decision is None:
        return True
    return step.operation.event.kind == "success" and step.decision.verdict == COUNTED


def _told(operation: Operation) -> str:
    return f"{operation.process} {operation.event}\n    the store:   {operation.decision}"


def _stamp(operation: Operation) -> tuple[int, int]:
    decision = operation.decision
    return (decision.now, decision.after.generation) if decision is not None else (0, 0)


def _content(decision: Decision) -> tuple[object, ...]:
    """Return what an answer says; whether it was written is not told."""
    return (*decision[:4], decision.retry_after, decision.now, decision.stored)


def _microseconds(record: Record | None, given: Decision) -> int:
    """Return the store's clock at a decision. Only a missing record's generation shows more than milliseconds."""
    if record is None and given.old_generation // 1000 == given.now:
        return given.old_generation
    return given.now * 1000
