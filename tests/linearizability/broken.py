"""Stores that break a promise each, and histories of them: what the checker is there to find.

They run in pretended time: some clients, each with one operation at a time, and a store that sees an
operation twice, when it arrives and when it is decided. A sound store looks only the second time.
"""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from linearizability.history import LOSE, NEVER, REPORTS, Operation
from linearizability.traffic import Plan, work
from pybreaker_ext.machine import ADMITTED, DROPPED, HALF_OPEN, OPEN, Decision, Event, Policy, Record, decide

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    #: Takes what it sees, the event, the policy, and the time in microseconds; returns what the caller is told.
    Store = Callable[["Seen", Event, Policy, int], Decision]

POLICY: Final = Policy(
    fail_max=3,
    reset_timeout=3,
    success_threshold=3,
    half_open_max_calls=2,
    probe_timeout=20,
    multiplier=2.0,
    maximum=12,
)
#: Microseconds since the epoch at which histories begin.
BEGIN: Final = 1_800_000_000_000_000


class Seen(NamedTuple):
    """What a store has of a circuit when it decides; None is no record."""

    record: Record | None
    #: As it was when the operation arrived.
    at_arrival: Record | None
    #: As it was two writes ago.
    replica: Record | None


def sound(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    return decide(seen.record, event, policy, now)


def read_then_write(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Loses the updates that came between its look and its write."""
    return decide(seen.at_arrival, event, policy, now)


def two_probes_in_one_place(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Counts places by an old look: who asks at the same time gets the same place."""
    record, earlier = seen.record, seen.at_arrival
    if record and earlier and record.generation == earlier.generation and event.kind == "ask":
        free = len(record.permits) - len(earlier.permits)
        return decide(
            record, event, policy._replace(half_open_max_calls=policy.half_open_max_calls + max(0, free)), now
        )
    return decide(record, event, policy, now)


def late_report_counts(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Takes no notice of generations."""
    record = seen.record
    if record is not None and event.kind in ("success", "failure"):
        token = event.token if event.token in record.permits else next(iter(record.permits), "")
        event = event._replace(generation=record.generation, token=token)
    return decide(record, event, policy, now)


def counter_begins_anew(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Resets the success counter whenever somebody notices that the circuit is half-open, as pybreaker does."""
    record = seen.record
    if record is not None and record.state == HALF_OPEN and event.kind == "ask":
        record = record._replace(success_counter=0)
    return decide(record, event, policy, now)


def generation_by_the_clock(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Gives out the time as a number, and twice the same one when two changes fall into one millisecond."""
    record = seen.record
    found = decide(record, event, policy, now)
    if record is None or found.after.generation == record.generation:
        return found
    return found._replace(after=found.after._replace(generation=now // 1000 * 1000))


def report_counts_twice(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Is sent each failure again after its answer got lost."""
    record = seen.record
    first = decide(record, event, policy, now)
    if event.kind != "failure" or not first.write:
        return first
    return decide(first.after, event, policy, now)._replace(verdict=first.verdict, write=True)


def shorter_hold_shortens(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Takes the last word of the backend for the longest."""
    record = seen.record
    found = decide(record, event, policy, now)
    if record is None or event.kind != "hold" or record.state != OPEN or found.verdict != DROPPED:
        return found
    return found._replace(after=record._replace(open_until=now // 1000 + event.duration), verdict="counted", write=True)


def stale_reads(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Reads from a replica."""
    return decide(seen.replica if event.kind == "read" else seen.record, event, policy, now)


def dead_probe_keeps_its_place(seen: Seen, event: Event, policy: Policy, now: int) -> Decision:
    """Knows no leases."""
    record = seen.record
    if record is not None:
        record = record._replace(permits=dict.fromkeys(record.permits, now // 1000 + 1_000))
    return decide(record, event, policy, now)


BROKEN: Final[dict[str, Store]] = {
    store.__name__: store
    for store in (
        read_then_write,
        two_probes_in_one_place,
        late_report_counts,
        counter_begins_anew,
        generation_by_the_clock,
        report_counts_twice,
        shorter_hold_shortens,
        stale_reads,
        dead_probe_keeps_its_place,
    )
}


def history_of(
    store: Store, seed: int, *, clients: int = 8, length: int = 800, unanswered: float = 0.0
) -> list[Operation]:
    """Return what clients of a store have seen.

    Args:
        store: Decides.
        seed: Of all that is chance.
        clients: Who have one operation under way each.
        length: Operations.
        unanswered: The share of them whose answers get lost.
    """
    luck, loss = random.Random(seed), random.Random(f"loss {seed}")
    lost = frozenset(number for number in range(length) if loss.random() < unanswered)
    run = _Run(store, luck, lost)
    free = [0] * clients
    moments: list[tuple[int, int, int]] = []
    for number in range(length):
        client = min(range(clients), key=free.__getitem__)
        arrives, decided, ends = sorted(free[client] + luck.randrange(1, 900) for _ in range(3))
        run.operations.append(Operation(free[client], ends, Event("read"), POLICY, process=f"client-{client}"))
        moments += [(arrives, 0, number), (decided, 1, number)]
        free[client] = ends + luck.choice([0, 100, 4_000])
    for moment, what, number in sorted(moments):
        (run.decide if what else run.arrive)(number, moment)
    return [_without_answer(each) if number in lost else each for number, each in enumerate(run.operations)]


class _Run:
    """One history in the making."""

    def __init__(self, store: Store, luck: random.Random, lost: frozenset[int]) -> None:
        self.operations: list[Operation] = []
        self._store = store
        self._luck = luck
        self._lost = lost
        self._record: Record | None = None
        self._written: list[Record | None] = [None, None, None]
        self._earlier: dict[int, Record | None] = {}
        self._permits: list[tuple[int, str]] = []

    def arrive(self, number: int, _moment: int) -> None:
        self._earlier[number] = self._record

    def decide(self, number: int, moment: int) -> None:
        event = self._event(number)
        operation = self.operations[number]._replace(event=event)
        if event is LOSE:
            self._write(None)
            self.operations[number] = operation
            return
        decision = self._store(self._seen(number), event, POLICY, BEGIN + moment)
        if decision.verdict == ADMITTED and number not in self._lost:  # or nobody knows of the permit
            self._permits.append((decision.after.generation, event.token))
        if decision.write:
            self._write(decision.after)
        self.operations[number] = operation._replace(decision=decision._replace(write=False))

    def _seen(self, number: int) -> Seen:
        return Seen(self._record, self._earlier[number], self._written[-3])

    def _write(self, record: Record | None) -> None:
        self._record = record
        self._written.append(record)

    def _event(self, number: int) -> Event:
        luck = self._luck
        kinds = ["ask", "report", "read", "open", "half_open", "close", "reset", "lose"]
        (kind,) = luck.choices(kinds, [50, 50, 6, 1, 1, 1, 1, 0.3])
        if kind == "lose":
            return LOSE
        if kind != "report" or not self._permits:
            return Event("ask" if kind == "report" else kind, f"t{number}", duration=3)
        (report,) = luck.choices(REPORTS, [50, 35, 4, 4, 7])
        place = luck.choice([0, -1])
        generation, token = self._permits.pop(place) if luck.random() < 0.9 else self._permits[place]
        return Event(report, token, generation, luck.choice([1, 3, 9]), luck.random())


def _without_answer(operation: Operation) -> Operation:
    return operation if operation.decision is None else operation._replace(ended=NEVER, decision=None)


def work_on_an_unlocked_file(plan: Plan) -> int:
    """Do one process's part on a real file, with a storage that reads in one transaction and writes in another."""
    from pybreaker_ext.storage.sqlite import CircuitSQLiteStorage

    def attempt(self: Any, event: Event, policy: Policy) -> Decision:
        record, _ = self._file.run(self._load)
        time.sleep(0.0005)

        def decided(_record: Record | None, now: int) -> Decision:
            return decide(record, event, policy, now)

        found: Decision = self._file.run(lambda transaction: self._write(transaction, decided))
        return found

    storage: Any = CircuitSQLiteStorage
    kept = storage._attempt
    storage._attempt = attempt
    try:
        return work(plan)
    finally:
        storage._attempt = kept
