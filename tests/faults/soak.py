"""The soak: the same places and workers for minutes, and one fault after the other, chosen by chance."""

from __future__ import annotations

import random
import statistics
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from faults import patience
from faults.fault import Scene
from faults.judging import more
from faults.places import CLUSTER, PROXIED, REDIS, SENTINELS, SQLITE, place_of
from faults.round import Story
from faults.traffic import traffic_through
from faults.worker_faults import FAULTS as OF_WORKERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from faults.fault import Fault
    from faults.worker import Vitals

#: Where it happens, at the same time.
KINDS: Final = (REDIS, PROXIED, SENTINELS, CLUSTER, SQLITE)
#: Workers are killed and replaced in one place only: in the others their memory is watched for longer.
WITH_DEAD_WORKERS: Final = REDIS
#: Bytes by which a worker may grow from the second quarter of its life to the last. The first fills caches.
GROWTH: Final = 6_000_000
#: Looks at a worker's memory without which nothing is said of it.
LOOKS: Final = 8
#: Rounds with problems after which a place is given up.
ENOUGH: Final = 3


@dataclass
class Soak:
    """What a soak has shown.

    Attributes:
        seconds: For how long it went.
        calls: Of all workers.
        faults: How many have happened, by place.
        problems: What was wrong.
        growth: Bytes by which the worker grew that grew most.
        worst: Milliseconds by which the slowest call was late, by place.
        used: What the workers that lived long used at the start, in the middle and at the end, by place: each a
            dictionary of `Vitals`, summed up, and their number.
    """

    seconds: float = 0.0
    calls: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    growth: int = 0
    worst: dict[str, float] = field(default_factory=dict)
    used: dict[str, list[dict[str, int]]] = field(default_factory=dict)


class Place:
    """One place of the soak, and its workers.

    Args:
        kind: The place.
        faults: What may happen in it.
        soak: What is told of it.
        seed: Chooses the faults.
    """

    def __init__(self, kind: str, faults: Sequence[Fault], soak: Soak, seed: int) -> None:
        self._kind = kind
        self._faults = [one for one in faults if one.kind == kind and one.lasting and _fits(one)]
        self._soak = soak
        self._luck = random.Random(f"{seed}/{kind}")
        self._vitals: defaultdict[int, list[Vitals]] = defaultdict(list)
        self._bad = 0
        self._more_files = 0

    def run(self, until: float) -> None:
        """Let faults happen until then, on the monotonic clock; one at least."""
        if not self._faults:
            return
        try:
            with place_of(self._kind) as place, traffic_through(place, "claude") as traffic:
                traffic.start_all()
                self._more_files = place.more_files
                self._round(Scene(place, traffic))
                while time.monotonic() < until and self._bad < ENOUGH:
                    self._round(Scene(place, traffic))
        except patience.InterruptedRoundError:
            return
        except Exception as error:  # noqa: BLE001  the other places go on
            self._soak.problems.append(f"{self._kind}: {type(error).__name__}: {error}")
        self._judge()

    def _round(self, scene: Scene) -> None:
        fault = self._luck.choice(self._faults)
        scene.traffic.board.sick = False  # as a round that went wrong may have left it
        fault.prepares(scene)
        story = Story(scene, fault)
        story.fresh = not self._vitals
        finding = story.tell()
        soak, kind = self._soak, self._kind
        soak.calls += finding.calls
        soak.faults[kind] = soak.faults.get(kind, 0) + 1
        soak.worst[kind] = max(soak.worst.get(kind, 0.0), finding.worst)
        soak.problems += [f"{fault.title}: {problem}" for problem in finding.problems]
        self._bad += bool(finding.problems)
        for number, vitals in scene.traffic.vitals().items():
            self._vitals[scene.traffic.pids[number]].append(vitals)

    def _judge(self) -> None:
        """Each worker's memory is flat, and it has as few threads and files as in the beginning."""
        lived = [looks for looks in self._vitals.values() if len(looks) >= LOOKS]
        if lived:
            self._soak.used[self._kind] = [summed(moment) for moment in zip(*map(three, lived), strict=True)]
        for looks in self._vitals.values():
            if all(more(looks[0], one, self._more_files) for one in looks[-3:]):  # one may be of a slow call
                self._soak.problems.append(f"{self._kind}: a worker had {looks[0]}, and {looks[-1]} at the end")
            quarter = len(looks) // 4
            if len(looks) >= LOOKS:
                early, late = looks[quarter : 2 * quarter], looks[-quarter:]
                growth = round(statistics.mean(one.memory for one in late) - statistics.mean(e.memory for e in early))
                self._soak.growth = max(self._soak.growth, growth)
                if growth > GROWTH:
                    self._soak.problems.append(f"{self._kind}: a worker grew by {growth:,} bytes")


def three(looks: Sequence[Vitals]) -> tuple[Vitals, Vitals, Vitals]:
    """Return the first look, the one in the middle, and the last."""
    return looks[0], looks[len(looks) // 2], looks[-1]


def summed(workers: Sequence[Vitals]) -> dict[str, int]:
    """Return what several workers use together."""
    kinds = workers[0]._fields
    return {"workers": len(workers), **{kind: sum(getattr(one, kind) for one in workers) for kind in kinds}}


def _fits(fault: Fault) -> bool:
    return fault not in OF_WORKERS or fault.kind == WITH_DEAD_WORKERS


def run_soak(faults: Sequence[Fault], minutes: float, seed: int, show: Callable[[str], None]) -> Soak:
    """Let faults happen in all places for so many minutes; `show` gets a line about it now and then."""
    soak, began = Soak(), time.monotonic()
    end = began + 60 * minutes
    threads = [threading.Thread(target=Place(kind, faults, soak, seed).run, args=(end,), name=kind) for kind in KINDS]
    for thread in threads:
        thread.start()
    try:
        while any(thread.is_alive() for thread in threads):
            soak.seconds = time.monotonic() - began
            show(_line(soak, minutes))
            time.sleep(1 if minutes < 1 else 10)
    finally:
        if time.monotonic() < end:
            patience.interrupted.set()
        for thread in threads:
            thread.join()
    soak.seconds = time.monotonic() - began
    return soak


def _line(soak: Soak, minutes: float) -> str:
    passed, total = (f"{int(seconds) // 60}:{int(seconds) % 60:02}" for seconds in (soak.seconds, 60 * minutes))
    number = sum(soak.faults.values())
    return f"soak {passed} of {total}: {soak.calls:,} calls, {number} faults, {len(soak.problems)} problems"
