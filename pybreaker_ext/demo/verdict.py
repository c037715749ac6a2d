"""Whether a run of the demo showed what it should."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from pybreaker_ext.demo.plan import FAIL_MAX, LONGEST_OPEN, PATIENCE, PROBES
from pybreaker_ext.machine import CLOSED, OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pybreaker_ext.demo.plan import Plan, Tally

#: Seconds that a busy machine may need for what should happen at once.
MARGIN: Final = 1.5


@dataclass(frozen=True)
class Result:
    """What is known at the end of a run. `start` and `end` are seconds of the monotonic clock.

    Attributes:
        plan: What should happen.
        start: When the plan began.
        end: When the workers were told to stop.
        tally: What the workers have counted.
        sick_calls: Of each outage, the calls that reached the backend during it.
        state: The circuit's state at the end; None when the store is away.
        workers: How many there were.
        lost: What became of workers that did not end as they should.
    """

    plan: Plan
    start: float
    end: float
    tally: Tally
    sick_calls: Mapping[int, int]
    state: str | None
    workers: int
    lost: Mapping[int, str]

    def opened(self, outage: int) -> bool:
        """Tell whether the circuit opened because of an outage."""
        begin, end = self.plan.outages[outage]
        return self._first(OPEN, begin, end + PATIENCE + MARGIN) is not None

    def time_to_close(self, outage: int) -> float | None:
        """Return the seconds from the end of an outage until the circuit was closed; None: it wasn't."""
        _, healed = self.plan.outages[outage]
        following = self.plan.outages[outage + 1 :]
        closed = self._first(CLOSED, healed, following[0][0] if following else math.inf)
        return None if closed is None else closed - healed

    def could_have_closed(self) -> bool:
        """Tell whether nothing has kept the circuit open for long enough to expect it closed."""
        _, healed = self.plan.outages[-1]
        opened = max((seen - self.start for _, state, seen in self.tally.states if state == OPEN), default=0.0)
        return self.end - self.start >= max(healed, opened) + LONGEST_OPEN + PATIENCE + MARGIN

    def _first(self, wanted: str, begin: float, end: float) -> float | None:
        moments = (seen - self.start for _, state, seen in self.tally.states if state == wanted)
        return next((moment for moment in moments if begin <= moment < end), None)


def problems(result: Result) -> Iterator[str]:
    """Say, in a sentence each, what a run should not have shown."""
    for number, fate in sorted(result.lost.items()):
        yield f"Worker {number} {fate}; what it counted last is missing."
    if result.tally.alone:
        yield (
            f"The store was away for {result.tally.alone} decisions. Meanwhile each worker decided "
            "by itself, so the run doesn't show what a shared circuit does."
        )
    if result.state is None:
        yield "The store is away, so nobody knows the circuit's state."
    at_once = result.tally.most_probes_at_once()
    if at_once > PROBES:
        yield f"{at_once} probes were out at the same time, and only {PROBES} is allowed."
    for outage, calls in sorted(result.sick_calls.items()):
        # Each worker may have had a call under way when the outage began and when the circuit opened.
        if calls > FAIL_MAX + 2 * result.workers and not result.opened(outage):
            yield f"The circuit did not open, although {calls} calls reached the sick backend."
    if result.state not in (CLOSED, None) and result.could_have_closed():
        yield f"The circuit is {result.state}, although the backend has been healthy for long enough."
