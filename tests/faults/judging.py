"""What must be true of a round: each function tells what is not."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple

from faults.calls import OK, REJECTED, STALENESS
from faults.fault import Effect
from faults.lateness import lag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from faults.calls import Call
    from faults.fault import Fault
    from faults.lateness import Late
    from faults.told import Log
    from faults.worker import Vitals

CALM, BROKEN, SICK, MENDED, SICK_AGAIN, CALM_AGAIN = "calm", "broken", "sick", "mended", "sick again", "calm again"
END: Final = "end"
#: In these the store is well.
ALL_WELL: Final = (CALM, SICK_AGAIN, CALM_AGAIN)
#: In these each worker is waited for. What is mended may be well at once, before anybody calls.
WITH_CALLS: Final = (CALM, BROKEN, SICK, SICK_AGAIN, CALM_AGAIN)

#: Seconds that a call may take beyond its bound: its own work, and timers that are as late as usual.
WORK: Final = 0.05
#: Seconds that a call may take while the store is well: the first one of a process imports and connects.
WELL: Final = 0.5
#: Seconds in which, once a circuit may be probed, some workers have called and the last of them has seen it
#: closed: two probes by callers that pause, and a view that was right a moment ago.
PROBED: Final = 0.15 + STALENESS

MORE_THREADS: Final = 1

AWAY_LINE: Final = re.compile("store is away")
BACK_LINE: Final = re.compile("store is back")


class Span(NamedTuple):
    """A phase, on the machine's monotonic clock."""

    phase: str
    start: float
    end: float

    def holds(self, call: Call) -> bool:
        return self.start <= call.began and call.ended < self.end


def spans(began: Mapping[str, float]) -> dict[str, Span]:
    """Return all phases that are over, of when each began, in their order."""
    return {phase: Span(phase, start, end) for (phase, start), (_, end) in pairwise(began.items())}


def unheard(calls: Sequence[Call], phases: Iterable[Span], crew: Iterable[int]) -> Iterator[str]:
    """Tell of workers of which a phase has no call: nothing would be known of it, whatever had happened."""
    for span in phases:
        missing = set(crew) - {call.worker for call in calls if span.holds(call)}
        if span.phase in WITH_CALLS and missing:
            yield f"in the phase {span.phase!r} there was no call of worker {', '.join(map(str, sorted(missing)))}"
        if span.phase == SICK_AGAIN and not any(call.open_for for call in calls if span.holds(call)):
            yield f"in the phase {span.phase!r} nobody was told for how long the circuit is open"


def uncalm(calls: Sequence[Call], phases: Iterable[Span]) -> Iterator[str]:
    """Tell of calls that were not well although all was."""
    for span in phases:
        found = {call.verdict for call in calls if span.holds(call)} - {OK}
        if span.phase in (CALM, CALM_AGAIN) and found:
            yield f"in the phase {span.phase!r} calls were {', '.join(sorted(found))}"


def too_late(calls: Iterable[Call], lates: Sequence[Late], bound: float) -> Iterator[str]:
    """Tell of calls that took longer than the store's time-outs, and than the machine made them."""
    for call in calls:
        if call.delay <= bound + WORK:  # which spares counting
            continue
        machine = lag([late for late in lates if late.worker == call.worker], call.began, call.began + call.delay)
        if call.delay > bound + WORK + machine:
            yield (
                f"a call of worker {call.worker} was {call.delay:.3f} s late ({call.verdict}), and {bound} s is allowed"
                f", and {machine:.3f} s for the machine"
            )


def too_late_when_well(calls: Sequence[Call], lates: Sequence[Late], phases: Iterable[Span]) -> Iterator[str]:
    """Tell of calls that took long although the store was well.

    What makes them wait is a write of another worker, which may have been late itself.
    """
    for span in phases:
        late = [call for call in calls if call.delay > WELL and span.phase in ALL_WELL and span.holds(call)]
        for call in late:
            machine = lag(lates, call.began, call.ended)
            if call.delay > WELL + machine:
                yield (
                    f"in the phase {span.phase!r} a call of worker {call.worker} was {call.delay:.3f} s late"
                    f", and {WELL} s is allowed, and {machine:.3f} s for the machine"
                )


def stuck(calls: Iterable[Call], lates: Sequence[Late], well: float, bound: float) -> Iterator[str]:
    """Tell when callers were turned away for longer than so many seconds after all was well.

    An open time passes however late the machine is; of what follows, as much is allowed as the worker missed that
    missed most, for it may have been the probe's.
    """
    turned_away = [call.began for call in calls if call.verdict == REJECTED and call.began > well + bound]
    last = max(turned_away, default=well)
    missed = [lag((late for late in lates if late.worker == worker), well + bound, last) for worker in workers(lates)]
    machine = max(missed, default=0.0)
    if last - well > bound + PROBED + machine:
        yield (
            f"the circuit was still not closed {last - well:.3f} s after all was well, and {bound} s is allowed, "
            f"{PROBED} s for probes, and {machine:.3f} s for the machine"
        )


def workers(lates: Iterable[Late]) -> set[int]:
    return {late.worker for late in lates}


def leaks(before: Mapping[int, Vitals], after: Mapping[int, Vitals], more_files: int) -> Iterator[str]:
    """Tell of processes that use more than they may."""
    for number in before.keys() & after.keys():
        if more(before[number], after[number], more_files):
            yield f"worker {number} had {before[number]}, and now {after[number]}"


def more(before: Vitals, after: Vitals, more_files: int) -> bool:
    """Tell whether a process uses more than it may."""
    return (
        after.threads > before.threads + MORE_THREADS
        or after.tasks > before.tasks
        or after.files > before.files + more_files
        or after.children > before.children
    )


def strange_logs(logs: Sequence[Log], fault: Fault, *, fresh: bool) -> Iterator[str]:
    """Tell of what was logged and shouldn't have been, and of what wasn't and should.

    Args:
        logs: Of all processes.
        fault: What happened.
        fresh: Whether the workers had not lived through other rounds: what is logged once was not logged then.
    """
    for log in logs:
        away, back = (sum(bool(one.search(line)) for line in log.lines) for one in (AWAY_LINE, BACK_LINE))
        # Who was killed may never have come so far.
        if log.alive and away - back not in ((0, 1) if fresh else (-1, 0, 1)):
            yield f"worker {log.worker} logged {away} times that the store is away, {back} back"
        says = [line for line in log.lines if fault.says and re.search(fault.says, line)]
        allowed = [AWAY_LINE, BACK_LINE, *([re.compile(fault.allows)] if fault.allows else [])]
        others = [line for line in log.lines if line not in says and not any(one.search(line) for one in allowed)]
        yield from (f"worker {log.worker} logged: {line}" for line in sorted(set(others)))
        if len(says) != len(set(says)):
            yield f"worker {log.worker} logged more than once: {says[0]}"
    lines = sorted({line for log in logs for line in log.lines})
    if fault.says and fresh and not any(re.search(fault.says, line) for line in lines):
        yield f"nobody logged {fault.says!r}, but {lines}"
    if fault.effect is Effect.AWAY and not any(AWAY_LINE.search(line) for line in lines):
        yield "nobody logged that the store is away"
