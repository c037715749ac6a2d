"""What happens to a circuit, as a pure function: no clock, no lock, no I/O.

Two rules say what may live here. Every change of a record is decided in this file, and nothing
in this file knows where records are kept or who asks. `storage/machine.lua` is this file again,
function by function in the same order; whoever changes one changes the other. `storage/quick.lua`
says rows 1 to 3 of it again, faster, and a test holds that against this file.

Units: `now` is whole microseconds on the store's clock; every stored instant and every duration
is whole milliseconds. A generation starts from `now`, so that it does not repeat even when the
store has lost its data; microseconds because two changes may fall into one millisecond.

"Row n" in the comments is row n of the state table in docs/reference/state-machine.md.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

CLOSED: Final = "closed"
OPEN: Final = "open"
HALF_OPEN: Final = "half-open"
STATES: Final = (CLOSED, OPEN, HALF_OPEN)

FAILURES: Final = "failures"
HOLD: Final = "hold"
MANUAL: Final = "manual"
REASONS: Final = (FAILURES, HOLD, MANUAL, "")

#: The instant that never comes: "until closed by hand". The largest whole number that a double
#: (Lua, JSON) holds exactly; in milliseconds it is some 285,000 years away.
FOREVER: Final = 2**53 - 1

#: A token is remembered for this many leases after its lease has ended.
TOKEN_MEMORY: Final = 10

ADMITTED: Final = "admitted"
REJECTED: Final = "rejected"
COUNTED: Final = "counted"
DROPPED: Final = "dropped"
DONE: Final = "done"
SEEN: Final = "seen"
VERDICTS: Final = (ADMITTED, REJECTED, COUNTED, DROPPED, DONE, SEEN)


class Record(NamedTuple):
    """All that is stored of one circuit."""

    state: str = CLOSED
    generation: int = 0
    fail_counter: int = 0
    success_counter: int = 0
    #: Milliseconds; 0 when the circuit was never opened, or nobody knows when.
    opened_at: int = 0
    #: Milliseconds; `FOREVER` when only a hand can end it.
    open_until: int = 0
    #: Trips in a row without a close between them: the n of D(n).
    trips: int = 0
    #: `failures`, `hold` or `manual`; empty when nothing has happened yet or nobody knows.
    reason: str = ""
    #: Token -> lease end in milliseconds. Empty outside half-open.
    permits: Mapping[str, int] = {}


class Policy(NamedTuple):
    """The settings that the machine reads. Durations in whole milliseconds."""

    fail_max: int = 5
    reset_timeout: int = 60_000
    success_threshold: int = 1
    half_open_max_calls: int = 1
    probe_timeout: int = 30_000
    multiplier: float = 1.0
    maximum: int = 0
    jitter: float = 0.0


class Event(NamedTuple):
    """One thing that happens to a circuit."""

    kind: str
    #: Names the ask; in half-open it is the permit's token.
    token: str = ""
    #: Of the permit that a report comes with.
    generation: int = 0
    #: Milliseconds, of a hold or of an opening by hand.
    duration: int = 0
    #: Uniform in [0, 1): the luck that a trip's jitter is made from.
    luck: float = 0.0
    #: Which machine issued the permit (see `storage/outage.py`); the machine itself ignores it.
    epoch: int = 0


class Decision(NamedTuple):
    """What became of an event."""

    verdict: str
    #: State and generation as they were found; of a missing or foreign record, as adopted.
    old_state: str
    old_generation: int
    #: The record as it is now.
    after: Record
    #: Whether `after` has to be stored.
    write: bool
    #: Milliseconds until the next call may be admitted; 0 when one may, `FOREVER` when none will.
    retry_after: int
    #: Milliseconds on the store's clock.
    now: int
    #: None when `after` is what is stored. Else it was adopted and not stored, and this is the
    #: generation that is; 0 when there is none.
    stored: int | None = None
    #: Which machine decided: even is the shared store, odd a local stand-in.
    epoch: int = 0
    #: False for what was decided without the store although that is there: good for this once only.
    lasting: bool = True


def missing(initial: str, now: int, last: int = 0) -> Record:
    """Return what a circuit without a record is; `last` is a generation that is known to be used."""
    return Record(state=initial, generation=max(now, last + 1))


def later(ms: int, duration: int) -> int:
    """Return the instant `duration` after `ms`; nothing lies beyond `FOREVER`."""
    return min(ms + duration, FOREVER)


def change(record: Record, state: str, ms: int) -> Record:
    """Move to `state`: a new generation, in which no permit has been issued yet.

    It follows the clock, so that a store which went back to an older record repeats none.
    """
    return record._replace(state=state, generation=max(ms * 1000, record.generation + 1), permits={})


def adopt(record: Record, state: str, opened_at: int, policy: Policy, ms: int) -> Record:
    """Take over what somebody who doesn't know this machine wrote: a new generation in `state`.

    A writer whose clock runs ahead can't keep the circuit open for longer than `reset_timeout`. One who
    closes it by its state alone leaves the failures that have opened it, which are over.
    """
    found = change(record, state, ms)._replace(opened_at=min(opened_at, ms), reason="")
    if state == OPEN:
        until = later(min(opened_at, ms), policy.reset_timeout) if opened_at else ms
        return found._replace(open_until=until)
    if state == CLOSED:
        return found._replace(trips=0, fail_counter=found.fail_counter if found.fail_counter < policy.fail_max else 0)
    return found


def keep_time(record: Record, policy: Policy, ms: int) -> Record:
    """Return the record without what a clock that was set back has made longer.

    A circuit that was opened in the future is open for its time from now on, and no lease lasts
    longer than a new one. Measured by a right clock, neither becomes shorter.
    """
    if record.state == OPEN and ms < record.opened_at and record.open_until < FOREVER:
        return record._replace(opened_at=ms, open_until=later(ms, max(0, record.open_until - record.opened_at)))
    longest = later(ms, policy.probe_timeout)
    permits = {token: min(end, longest) for token, end in record.permits.items()}
    return record if permits == record.permits else record._replace(permits=permits)


def open_time(policy: Policy, trips: int, luck: float) -> int:
    """Return D(trips): back-off with a cap, then jitter upwards, in whole milliseconds."""
    try:
        growth = min(policy.multiplier**trips, FOREVER)
    except OverflowError:  # Lua says infinity
        growth = FOREVER
    span = max(policy.reset_timeout, min(policy.reset_timeout * growth, policy.maximum))
    return math.ceil(min(span * (1 + policy.jitter * luck), FOREVER))


def live(record: Record, ms: int) -> tuple[int, int]:
    """Return how many leases are alive, and when the first of them ends."""
    count, first = 0, FOREVER
    for end in record.permits.values():
        if ms < end:
            count, first = count + 1, min(first, end)
    return count, first


def retry_after(record: Record, policy: Policy, ms: int) -> int:
    """Return how long until an ask may be admitted."""
    if record.state == OPEN:
        return FOREVER if record.open_until == FOREVER else max(0, record.open_until - ms)
    if record.state == HALF_OPEN:
        count, first = live(record, ms)
        return 0 if count < policy.half_open_max_calls else first - ms
    return 0


def counts(record: Record, event: Event) -> bool:
    """Tell whether the event's permit is still good; row 16 drops what fails this."""
    if event.generation != record.generation:
        return False
    return record.state == CLOSED or event.token in record.permits


def issue(record: Record, event: Event, policy: Policy, ms: int) -> Record:
    """Give the event's token a lease, and forget tokens whose lease ended long ago."""
    memory = TOKEN_MEMORY * policy.probe_timeout
    permits = {token: end for token, end in record.permits.items() if ms < later(end, memory)}
    permits[event.token] = later(ms, policy.probe_timeout)
    return record._replace(permits=permits)


def settle(record: Record, event: Event) -> Record:
    """Take the event's permit back."""
    permits = {token: end for token, end in record.permits.items() if token != event.token}
    return record._replace(permits=permits)


def trip(record: Record, event: Event, policy: Policy, ms: int) -> Record:
    """Open the circuit because of a failure: rows 4 and 11."""
    until = later(ms, open_time(policy, record.trips, event.luck))
    return change(record, OPEN, ms)._replace(
        fail_counter=record.fail_counter + 1,
        success_counter=0,
        opened_at=ms,
        open_until=until,
        trips=record.trips + 1,
        reason=FAILURES,
    )


def ask(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Decide whether a call may go: rows 1 and 5 to 8."""
    if record.state == CLOSED:
        return ADMITTED, record
    if record.state == OPEN:
        if ms < record.open_until:
            return REJECTED, record
        record = change(record, HALF_OPEN, ms)._replace(success_counter=0)
    if event.token in record.permits:  # asked twice: the first answer was lost on the way
        return ADMITTED, record
    count, _ = live(record, ms)
    if count >= policy.half_open_max_calls:
        return REJECTED, record
    return ADMITTED, issue(record, event, policy, ms)


def success(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Count a success: rows 2, 9 and 10."""
    if not counts(record, event):
        return DROPPED, record
    if record.state == CLOSED:
        return COUNTED, record._replace(fail_counter=0) if record.fail_counter else record
    if record.success_counter + 1 < policy.success_threshold:
        return COUNTED, settle(record, event)._replace(success_counter=record.success_counter + 1)
    return COUNTED, change(record, CLOSED, ms)._replace(fail_counter=0, success_counter=0, trips=0, reason="")


def failure(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Count a failure: rows 3, 4 and 11."""
    if not counts(record, event):
        return DROPPED, record
    if record.state == CLOSED and record.fail_counter + 1 < policy.fail_max:
        return COUNTED, record._replace(fail_counter=record.fail_counter + 1)
    return COUNTED, trip(record, event, policy, ms)


def neutral(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Take the permit back and count nothing: rows 12 and 13."""
    if not counts(record, event):
        return DROPPED, record
    return COUNTED, record if record.state == CLOSED else settle(record, event)


def hold(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Stay away for as long as the backend asked: rows 14 and 15."""
    until = later(ms, event.duration)
    if record.state == OPEN:  # whatever its generation: the backend's word still stands
        if until <= record.open_until:
            return DROPPED, record
        return COUNTED, record._replace(open_until=until, reason=HOLD)
    if not counts(record, event):
        return DROPPED, record
    opened = change(record, OPEN, ms)._replace(opened_at=ms, open_until=until)
    return COUNTED, opened._replace(success_counter=0, reason=HOLD)


def renew(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Begin the probe's lease anew: row 21."""
    if record.state != HALF_OPEN or not counts(record, event):
        return DROPPED, record
    permits = {**record.permits, event.token: later(ms, policy.probe_timeout)}
    return COUNTED, record._replace(permits=permits)


def open_by_hand(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Open for the event's duration: row 17."""
    opened = change(record, OPEN, ms)._replace(opened_at=ms, open_until=later(ms, event.duration))
    return DONE, opened._replace(success_counter=0, reason=MANUAL)


def half_open_by_hand(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Let probes through: row 18."""
    return DONE, change(record, HALF_OPEN, ms)._replace(success_counter=0, reason=MANUAL)


def close_by_hand(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Close: row 19."""
    closed = change(record, CLOSED, ms)._replace(fail_counter=0, success_counter=0)
    return DONE, closed._replace(trips=0, reason=MANUAL)


def reset_by_hand(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Forget everything but that the generation was used: row 20. `decide` sets the state."""
    return DONE, Record(generation=change(record, CLOSED, ms).generation, reason=MANUAL)


def read(record: Record, event: Event, policy: Policy, ms: int) -> tuple[str, Record]:
    """Look, and change nothing."""
    return SEEN, record


HANDLERS: Final[Mapping[str, Callable[[Record, Event, Policy, int], tuple[str, Record]]]] = {
    "ask": ask,
    "success": success,
    "failure": failure,
    "neutral": neutral,
    "hold": hold,
    "renew": renew,
    "open": open_by_hand,
    "half_open": half_open_by_hand,
    "close": close_by_hand,
    "reset": reset_by_hand,
    "read": read,
}


def decide(
    record: Record | None,
    event: Event,
    policy: Policy,
    now: int,
    initial: str = CLOSED,
    *,
    adopted_from: int | None = None,
) -> Decision:
    """Return what `event` does to `record` at `now`.

    `initial` is the state of a circuit that has no record. `adopted_from` says that `record` is
    what a foreign write was taken for, and is to be stored with the next change or ask; it is the
    generation that is stored, 0 when there is none.
    """
    before = missing(initial, now) if record is None else record
    ms = now // 1000
    verdict, after = HANDLERS[event.kind](keep_time(before, policy, ms), event, policy, ms)
    if event.kind == "reset":
        after = after._replace(state=initial)
    stored = 0 if record is None else adopted_from
    write = verdict not in (DROPPED, SEEN) and (stored is not None or after is not before)
    wait = retry_after(after, policy, ms)
    return Decision(verdict, before.state, before.generation, after, write, wait, ms, None if write else stored)
