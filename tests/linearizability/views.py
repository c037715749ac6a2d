"""Whether each call was told what the store had said: by its own ask, or at most `max_staleness` before."""

from __future__ import annotations

import bisect
from collections import defaultdict
from itertools import accumulate
from typing import TYPE_CHECKING, Final, NamedTuple

from linearizability.history import NEVER, STORE, Call, History, Operation
from pybreaker_ext.machine import ADMITTED, CLOSED, OPEN, REJECTED

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from linearizability.steps import Step
    from pybreaker_ext.machine import Record

#: Milliseconds by which a wall clock may be set right in a round.
WALL: Final = 50


class StaleError(AssertionError):
    """A call was told what the store had not said, or too long ago."""


class Span(NamedTuple):
    """One record, and when it may have been the one that is stored."""

    first: int
    last: int
    record: Record


class Timeline:
    """What was stored at which time, as far as an order of operations tells."""

    def __init__(self, steps: list[Step], where: str = STORE) -> None:
        self._where = where
        # A step has come about after all that came before it had begun, and before all that came after it had ended.
        began = list(accumulate((step.operation.began for step in steps), max))
        ended = list(accumulate((step.operation.ended for step in reversed(steps)), min, initial=NEVER))[::-1]
        self._spans = []
        at = 0
        for following in range(1, len(steps) + 1):
            if following < len(steps) and steps[following].record is steps[at].record:
                continue
            record = steps[at].record
            if record is not None:
                self._spans.append(Span(began[at], ended[following], record))
            at = following
        self._firsts = [span.first for span in self._spans]
        self._lasts = [span.last for span in self._spans]

    def rejects(self, record: Record, call: Call) -> bool:
        """Tell whether a record is open when a call begins: stand-ins go by the monotonic clock."""
        now = call.wall if self._where == STORE else call.began // 1_000_000
        return record.state == OPEN and now < record.open_until + WALL

    def between(self, begin: int, end: int) -> list[Record]:
        """Return the records that may have been stored at some time between two, both included."""
        first = bisect.bisect_left(self._lasts, begin)
        return [span.record for span in self._spans[first : bisect.bisect_right(self._firsts, end)]]


def check_views(history: History, timelines: dict[str, list[Timeline]], max_staleness: float) -> dict[str, int]:
    """Return how many verdicts came from a call's own ask, and how many from a view.

    Args:
        history: All calls, and all operations.
        timelines: Of each process: of the store, and of its stand-in if there was one.
        max_staleness: Seconds.

    Raises:
        StaleError: A call was admitted, rejected or not reported without a reason.
    """
    own: dict[tuple[str, int], list[Operation]] = defaultdict(list)
    for operation in history.operations:
        own[operation.process, operation.call].append(operation)
    found = {"asked": 0, "viewed": 0}
    for call in history.calls:
        if call.outcome:
            operations = own[call.process, call.number]
            found[_verdict(call, operations, timelines[call.process], max_staleness)] += 1
            _check_report(call, operations, timelines[call.process], max_staleness)
    return found


def _verdict(call: Call, own: list[Operation], timelines: list[Timeline], max_staleness: float) -> str:
    verdict = ADMITTED if call.ran is not None else REJECTED
    decided = call.ended if call.ran is None else call.ran
    for each in own:
        if each.event.kind == "ask" and each.decision and each.decision.verdict == verdict and each.began <= decided:
            return "asked"

    def says(timeline: Timeline, record: Record) -> bool:
        return record.state == CLOSED if verdict == ADMITTED else timeline.rejects(record, call)

    _check(call, f"was {verdict}", timelines, max_staleness, call.began, decided, says)
    return "viewed"


def _check_report(call: Call, own: list[Operation], timelines: list[Timeline], max_staleness: float) -> None:
    """A failure and a hold always go to the store; a success may stay away from a circuit that counts none."""
    if call.returned is None or call.outcome == "neutral":
        return
    returned = call.returned
    if any(each.event.kind != "ask" and each.ended >= returned for each in own):
        return
    if call.outcome != "success":
        raise StaleError(f"a {call.outcome} was not reported: {call}")

    def says(_timeline: Timeline, record: Record) -> bool:
        return record.state == CLOSED and not record.fail_counter

    _check(call, "was not reported", timelines, max_staleness, returned, call.ended, says)


def _check(
    call: Call,
    what: str,
    timelines: Iterable[Timeline],
    max_staleness: float,
    begin: int,
    end: int,
    says: Callable[[Timeline, Record], bool],
) -> None:
    if not max_staleness:
        raise StaleError(f"a call {what} without asking the store: {call}")
    earliest = begin - round(max_staleness * 1e9)
    shown = [(timeline, record) for timeline in timelines for record in timeline.between(earliest, end)]
    if not any(says(*each) for each in shown):
        records = "\n  ".join(str(record) for _, record in shown)
        raise StaleError(f"a call {what}, which nothing explains that was stored then: {call}\n  {records}")
