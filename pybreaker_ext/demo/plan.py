"""What all processes of the demo agree upon: the breaker, the plan of a run, and what is counted."""

from __future__ import annotations

import json
import random
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any, Final

from pybreaker_ext.breaker import CircuitBreaker
from pybreaker_ext.settings import Backoff

#: Whose breakers the workers have.
OURS: Final = "pybreaker_ext"
PLAIN: Final = "pybreaker"

#: How calls end.
WELL, ERROR, REJECTION = 0, 1, 2

#: Seconds that one bar of a picture tells of.
BIN: Final = 0.25

#: Settings for a run of seconds. Services take longer times.
FAIL_MAX: Final = 5
RESET_TIMEOUT: Final = 1.0
SUCCESS_THRESHOLD: Final = 2
PROBES: Final = 1
BACKOFF: Final = Backoff(2, maximum=4, jitter=0.1)

#: Seconds after which a probe of a worker that died makes room for another one.
PROBE_TIMEOUT: Final = 5.0

#: Seconds that a worker waits for the backend's answer.
PATIENCE: Final = 0.5

#: Calls that all workers together make in a second, if they can.
RATE: Final = 100

#: Seconds between two calls of one worker, at least.
SHORTEST_PAUSE: Final = 0.04

#: Seconds of a run for each outage of the backend.
CYCLE: Final = 15.0

#: Seconds that the circuit stays open at most.
LONGEST_OPEN: Final = BACKOFF.maximum * (1 + BACKOFF.jitter)


def breaker_on(storage: Any, name: str, backoff: Backoff | None = BACKOFF) -> CircuitBreaker:
    """Return the demo's breaker for the circuit that `storage` keeps."""
    return CircuitBreaker(
        fail_max=FAIL_MAX,
        reset_timeout=RESET_TIMEOUT,
        success_threshold=SUCCESS_THRESHOLD,
        state_storage=storage,
        name=name,
        throw_new_error_on_trip=False,  # so that a CircuitBreakerError always is a rejection
        half_open_max_calls=PROBES,
        probe_timeout=PROBE_TIMEOUT,
        backoff=backoff,
    )


@dataclass(frozen=True)
class Plan:
    """One run. All times are seconds from its start.

    Attributes:
        url: Where the circuit is kept.
        name: The circuit's name, of this run only.
        backend: The backend's URL.
        seed: What the workers' luck is made from.
        pause: From one call of a worker to its next one, on average.
        outages: When the backend falls sick and when it is well again.
        library: Whose breakers the workers have.
        compared: Whether they have only settings that both libraries know.
    """

    url: str
    name: str
    backend: str
    seed: int
    pause: float
    outages: list[tuple[float, float]]
    library: str = OURS
    compared: bool = False

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Return the plan that `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Return the plan as one line."""
        return json.dumps(asdict(self))

    def outage(self, elapsed: float) -> int | None:
        """Return which outage the backend has at that time, None when it is well."""
        for number, (begin, end) in enumerate(self.outages):
            if begin <= elapsed < end:
                return number
        return None

    def last_outage(self, elapsed: float) -> int:
        """Return which outage was the last to begin before that time, -1 for none."""
        return sum(begin <= elapsed for begin, _ in self.outages) - 1


def outages(seconds: float, seed: int) -> list[tuple[float, float]]:
    """Plan the outages of a run, about one every 15 seconds; each leaves the time to see it end."""
    luck = random.Random(seed)  # noqa: S311  chance here is no cryptography
    number = max(1, round(seconds / CYCLE))
    span = seconds / number
    found = []
    for count in range(number):
        begin = span * (count + luck.uniform(0.10, 0.13))
        found.append((begin, begin + _length(span * (count + 1) - begin, luck)))
    return found


def _length(room: float, luck: random.Random) -> float:
    """Choose a length so that the probe that finds the backend well ends within `room` seconds.

    The longer the outage, the longer the circuit stays open, so it is chosen between two probes:
    after the latest time at which one may fail and before the earliest of the next.
    """
    length, trips, earliest, latest = 0.0, 0, 0.0, PATIENCE
    while True:
        opened = min(RESET_TIMEOUT * BACKOFF.multiplier**trips, BACKOFF.maximum)
        last_failure, trips = latest, trips + 1
        earliest += opened
        latest += opened * (1 + BACKOFF.jitter) + PATIENCE
        if length and latest > room:
            return length
        length = luck.uniform(last_failure, max(earliest, last_failure))


@dataclass
class Tally:
    """What workers have counted. Instants are `time.monotonic()`, one clock for the whole machine.

    Attributes:
        attempts: Calls that users wanted.
        sick_attempts: Those of them during an outage.
        errors: Calls that reached the backend, or tried to, and failed.
        rejections: Calls that the breaker refused.
        alone: Decisions made without the store, because it was away.
        probes: Of each probe, the generation (which names the half-open period), begin and end.
        states: Each generation that was seen, in their order, its state, and when it was first seen.
        bins: Of each quarter of a second, counted from the start: calls that ended well, errors, and rejections.
        troubles: After each outage, when a call last ended in an error or a rejection, in seconds from the start.
        standing: Of each worker with a circuit of its own, or a look of its own at it, the state.
    """

    attempts: int = 0
    sick_attempts: int = 0
    errors: int = 0
    rejections: int = 0
    alone: int = 0
    probes: list[tuple[int, float, float]] = field(default_factory=list)
    states: list[tuple[int, str, float]] = field(default_factory=list)
    bins: dict[int, list[int]] = field(default_factory=dict)
    troubles: dict[int, float] = field(default_factory=dict)
    standing: dict[int, str] = field(default_factory=dict)

    @classmethod
    def from_json(cls, text: str | bytes) -> Tally:
        """Return the tally that `to_json` wrote."""
        fields = json.loads(text)
        for name in ("bins", "troubles", "standing"):  # JSON's keys are texts
            fields[name] = {int(key): value for key, value in fields[name].items()}
        return cls(**fields)

    def to_json(self) -> str:
        """Return the tally as one line."""
        return json.dumps(asdict(self))

    def add(self, other: Tally) -> None:
        """Count what another tally has counted."""
        self.attempts += other.attempts
        self.sick_attempts += other.sick_attempts
        self.errors += other.errors
        self.rejections += other.rejections
        self.alone += other.alone
        self.probes += other.probes
        self.standing.update(other.standing)
        for number, counts in other.bins.items():
            self.bins[number] = [sum(pair) for pair in zip(self.bins.get(number, [0, 0, 0]), counts, strict=True)]
        for outage, moment in other.troubles.items():
            self.troubles[outage] = max(moment, self.troubles.get(outage, moment))
        if other.states:
            self._see(other.states)

    def note(self, plan: Plan, elapsed: float, end: int) -> None:
        """Count how a call has ended: well, in an error, or in a rejection."""
        counts = self.bins.setdefault(int(elapsed / BIN), [0, 0, 0])
        counts[end] += 1
        if end != WELL:
            self.troubles[plan.last_outage(elapsed)] = elapsed

    def waves(self) -> list[int]:
        """Return how many probes came together, that is within half an open time of the first of them."""
        found: list[list[float]] = []
        for begin in sorted(begin for _, begin, _ in self.probes):
            if not found or begin >= found[-1][0] + RESET_TIMEOUT / 2:
                found.append([])
            found[-1].append(begin)
        return list(map(len, found))

    def periods(self) -> list[int]:
        """Return how many probes each half-open period had."""
        found: dict[int, int] = {}
        for generation, _, _ in self.probes:
            found[generation] = found.get(generation, 0) + 1
        return [found[generation] for generation in sorted(found)]

    def most_probes_at_once(self) -> int:
        """Return how many probes were out at the same time.

        A probe is timed from after its permit was issued until before it is given back, so that
        probes that overlap here have certainly overlapped in the store.
        """
        edges = [(begin, 1) for _, begin, _ in self.probes] + [(end, -1) for _, _, end in self.probes]
        return max(accumulate(step for _, step in sorted(edges)), default=0)

    def _see(self, states: list[tuple[int, str, float]]) -> None:
        first: dict[int, tuple[int, str, float]] = {}
        for generation, state, moment in sorted(self.states + states, key=lambda seen: seen[2]):
            first.setdefault(generation, (generation, state, moment))
        self.states = sorted(first.values())
