"""Looks for an order of concurrent operations in which the machine gives the answers that were given.

Such an order has to be consistent with time: what ended before something else began comes before it. An
operation without an answer has happened at some time after it began, or not at all. The search is
Wing and Gong's, with Lowe's memory of places where it has been; see docs/explanation/linearizability.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from linearizability.history import NEVER, Operation
from pybreaker_ext.machine import COUNTED, FOREVER, Decision, Record, decide

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Places at which the search gives up. What is in order needs about one for each operation.
PATIENCE: Final = 1_000_000
#: Operations without an answer that may follow each other without one with an answer between them.
SILENT_RUN: Final = 3


class Step(NamedTuple):
    """One operation in the order that was found, and what the machine made of it."""

    operation: Operation
    #: None for the loss of a record.
    decision: Decision | None
    #: The record afterwards; None: there is none.
    record: Record | None


class NotLinearizableError(AssertionError):
    """No order explains the answers; the message tells how far the best attempt came."""


class UndecidedError(AssertionError):
    """The search has lost patience."""


def linearized(operations: Iterable[Operation], initial: str = "closed") -> list[Step]:
    """Return the operations in an order that explains them; those that didn't happen are left out.

    Args:
        operations: Of one circuit, in any order.
        initial: The state of a circuit without a record.

    Raises:
        NotLinearizableError: There is no such order.
        UndecidedError: None was found, and the search has not seen all.
    """
    return _Search(list(operations), initial).run()


class _Place(NamedTuple):
    """Where the search is: what is done, and the record that this has made."""

    record: Record | None = None
    #: All operations with an answer before this index are done, and `beyond` it these.
    low: int = 0
    beyond: frozenset[int] = frozenset()
    #: Those without an answer that are done.
    silent: frozenset[int] = frozenset()
    #: How many of them came last.
    run: int = 0


class _Search:
    def __init__(self, operations: list[Operation], initial: str) -> None:
        operations = sorted(operations, key=lambda each: each.began)
        self._answered = [each for each in operations if each.answered]
        self._silent = [each for each in operations if not each.answered and each.event.kind != "read"]
        self._initial = initial
        self._seen: set[object] = set()
        self._furthest = (-1, _Place(), list[Step]())

    def run(self) -> list[Step]:
        path: list[Step] = []
        stack = [self._moves(_Place())] if self._answered else []
        while stack:
            move = next(stack[-1], None)
            if move is None:
                stack.pop()
                del path[-1:]
                continue
            step, place = move
            path.append(step)
            if place.low == len(self._answered):
                return path
            self._note(place, path)
            stack.append(self._moves(place))
        if self._answered:
            raise NotLinearizableError(self._story())
        return []

    def _note(self, place: _Place, path: list[Step]) -> None:
        done = place.low + len(place.beyond)
        if done > self._furthest[0]:
            self._furthest = (done, place, path[-5:])

    def _moves(self, place: _Place) -> Iterator[tuple[Step, _Place]]:
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
                yield step, self._done(place, index, step)
                return
            changing.append((index, step))
        for index, step in changing:
            following = self._done(place, index, step)
            if self._is_new(following):
                yield step, following
        if place.run < SILENT_RUN:
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
        step = self._apply(record, operation, _microseconds(record, given))
        assert step.decision is not None
        return step if _content(step.decision) == _content(given) else None

    def _apply(self, record: Record | None, operation: Operation, now: int) -> Step:
        decision = decide(record, operation.event, operation.policy, now, self._initial)
        return Step(operation, decision, decision.after if decision.write else record)

    def _silent_moves(self, place: _Place, window: list[int]) -> Iterator[tuple[Step, _Place]]:
        """Yield what may have happened and told nobody, at the times that would explain what was seen next."""
        first_end = min(self._answered[index].ended for index in window)
        nexts = [self._answered[index] for index in window if self._answered[index].decision is not None]
        for number, operation in enumerate(self._silent):
            if operation.began > first_end:
                break
            if number in place.silent:
                continue
            for step in self._guesses(place.record, operation, nexts):
                following = place._replace(record=step.record, silent=place.silent | {number}, run=place.run + 1)
                if self._is_new(following):
                    yield step, following

    def _guesses(self, record: Record | None, operation: Operation, nexts: list[Operation]) -> Iterator[Step]:
        if operation.event.kind == "lose":
            if record is not None:
                yield Step(operation, None, None)
            return
        instants = {instant for each in nexts if each.decision for instant in _instants(operation, each.decision)}
        made: set[object] = set()
        for now in sorted(instants):
            step = self._apply(record, operation, now)
            if step.record is not None and step.record is not record:  # or else it is as if it had not happened
                key = _key(step.record)
                if key not in made and _shows(record, operation, step.record, nexts):
                    made.add(key)
                    yield step

    def _done(self, place: _Place, index: int, step: Step) -> _Place:
        beyond, low = place.beyond | {index}, place.low
        while low in beyond:
            low += 1
        return _Place(step.record, low, frozenset(each for each in beyond if each >= low), place.silent)

    def _is_new(self, place: _Place) -> bool:
        key = (place.record and _key(place.record), *place[1:])
        if key in self._seen:
            return False
        if len(self._seen) >= PATIENCE:
            raise UndecidedError(f"no order was found at {PATIENCE} places\n{self._story()}")
        self._seen.add(key)
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
                says = self._apply(place.record, operation, now).decision
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


def _key(record: Record) -> object:
    return (*record[:8], *sorted(record.permits.items()))


def _shows(before: Record | None, operation: Operation, made: Record, nexts: list[Operation]) -> bool:
    """Tell whether what came next can have seen this record; what left no trace need not have happened.

    A new generation shows at once, or in `opened_at` if another one came on top of it that nobody saw either. A lease
    and a longer hold show in the record; a lease that somebody reports on was given, whenever it ends.
    """
    decisions = [each.decision for each in nexts if each.decision is not None]
    if before is None or made.generation != before.generation:
        numbers = {decision.old_generation for decision in decisions}
        return made.generation in numbers or made.opened_at in {decision.after.opened_at for decision in decisions}
    token = operation.event.token
    if made.permits.get(token) not in (None, before.permits.get(token)):
        shown = any(decision.after.permits.get(token) == made.permits[token] for decision in decisions)
        return shown or any(each.event.token == token for each in nexts)
    return made.open_until in {before.open_until} | {decision.after.open_until for decision in decisions}


def _instants(operation: Operation, seen: Decision) -> Iterator[int]:
    """Yield the times, in microseconds, at which an operation may have left what was seen."""
    after, event, policy = seen.after, operation.event, operation.policy
    yield from (seen.now * 1000, seen.old_generation, after.generation)
    if after.opened_at:
        yield after.opened_at * 1000
    if 0 < after.open_until < FOREVER and event.kind in ("hold", "open"):
        yield (after.open_until - event.duration) * 1000
    if event.token in after.permits:
        yield (after.permits[event.token] - policy.probe_timeout) * 1000
