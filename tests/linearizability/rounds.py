"""One round: eight processes, what is broken around them, and whether all that fits together."""

from __future__ import annotations

import random
import sqlite3
import time
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from redis import Redis

from linearizability.checker import Step, linearized
from linearizability.history import LOCAL, History, Operation, read
from linearizability.history import LOSE as LOST
from linearizability.recorder import Recorder
from linearizability.traffic import KEPT, Plan, work
from linearizability.views import WALL, Timeline, check_views
from pybreaker_ext.machine import Event, Policy
from pybreaker_ext.storage.history import Change
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from fleet import Fleet

PROCESSES: Final = 8

KILL_WORKER: Final = "SIGKILL of a worker"
KILL_CLIENTS: Final = "CLIENT KILL"
FLUSH_SCRIPTS: Final = "SCRIPT FLUSH"
LOSE: Final = "all records lost"
#: What a round on each kind of store can be told to break.
FAULTS: Final = {
    "redis": (KILL_WORKER, KILL_CLIENTS, FLUSH_SCRIPTS, LOSE),
    "sqlite": (KILL_WORKER, LOSE),
}


@dataclass(frozen=True)
class Round:
    """What to do."""

    #: Of the store.
    url: str
    name: str
    colour: str
    max_staleness: float
    seconds: float
    seed: int
    #: How often in this time each of these is done, on average.
    faults: dict[str, int] = field(default_factory=dict)
    #: What the processes run; a broken store has its own.
    work: Callable[[Plan], int] = work

    @property
    def kind(self) -> str:
        return self.url.partition(":")[0]


@dataclass
class Report:
    """What a round has shown; that it exists says that all was in order."""

    operations: int
    #: Whose callers never got an answer, and those of them that have happened.
    unanswered: int
    happened: int
    local: int
    changes: int
    calls: int
    viewed: int
    verdicts: Counter[str]
    #: Seconds that the check took.
    checked_in: float

    def __str__(self) -> str:
        return (
            f"{self.operations} operations, {self.unanswered} of them unanswered ({self.happened} happened), "
            f"{self.local} by stand-ins; {self.changes} changes of state; {self.calls} calls, {self.viewed} of them "
            f"by a view; checked in {self.checked_in:.1f} s"
        )


def play(todo: Round, fleet: Fleet, directory: Path) -> History:
    """Let the processes run, break things around them, and return what all of them wrote down."""
    recorder = Recorder(directory / "observer.jsonl")
    observer: Any = from_url(todo.url, todo.name, history=KEPT)
    recorder.attach(observer)
    crew = _Crew(todo, fleet, directory)
    luck = random.Random(todo.seed)
    end = time.monotonic() + todo.seconds
    due = sorted(
        (end - luck.uniform(0.1, 0.9) * todo.seconds, fault)
        for fault, times in todo.faults.items()
        for _ in range(times)
    )
    losses = []
    for moment, fault in due:
        time.sleep(max(0.0, moment - time.monotonic()))
        losses += _strike(fault, todo, crew, luck)
    crew.finish()
    observer.apply(Event("read"), Policy())  # nobody writes any more, so all that has happened shows
    history = read(sorted(directory.glob("*.jsonl")))
    history.operations += losses
    return history


class _Crew:
    """The processes; one that is killed has a successor, with a file of its own."""

    def __init__(self, todo: Round, fleet: Fleet, directory: Path) -> None:
        self._todo, self._fleet, self._directory = todo, fleet, directory
        self._end = time.monotonic() + todo.seconds
        self._started = 0
        fleet.ready()
        for place in range(len(fleet.workers)):
            self._start(place)

    def _start(self, place: int) -> None:
        todo = self._todo
        self._started += 1
        path = self._directory / f"process-{self._started}.jsonl"
        left = max(0.0, self._end - time.monotonic())
        seed = todo.seed * 1_000 + self._started
        plan = Plan(todo.url, todo.name, str(path), todo.colour, todo.max_staleness, left, seed)
        self._fleet.workers[place].send(todo.work, plan)

    def kill(self, place: int) -> None:
        self._fleet.workers[place].kill()
        self._fleet.ready()
        self._start(place)

    def finish(self) -> None:
        for worker in self._fleet.workers:
            worker.answer()


def _strike(fault: str, todo: Round, crew: _Crew, luck: random.Random) -> list[Operation]:
    """Break something; return what that did to the record."""
    if fault == KILL_WORKER:
        crew.kill(luck.randrange(PROCESSES))
        return []
    began = time.monotonic_ns()
    if todo.kind == "sqlite":
        with closing(sqlite3.connect(todo.url.removeprefix("sqlite:///"), timeout=60, isolation_level=None)) as file:
            file.execute("DELETE FROM circuits")
    else:
        with Redis.from_url(todo.url) as client:
            deed = {KILL_CLIENTS: client.client_kill_filter, FLUSH_SCRIPTS: client.script_flush, LOSE: client.flushall}
            deed[fault](**{"_type": "normal"} if fault == KILL_CLIENTS else {})
    return [Operation(began, time.monotonic_ns(), LOST, process="fault")] if fault == LOSE else []


def check(history: History, todo: Round) -> Report:
    """Check what was written down.

    Raises:
        AssertionError: It does not fit together; the message tells what.
    """
    began = time.monotonic()
    steps = linearized(history.of_store())
    check_clock(history)
    check_generations(steps)
    check_changes(steps, kept(todo), history)
    shared = Timeline(steps)
    timelines = {process: [shared] for process in history.processes}
    local = 0
    for process in history.processes:
        own = history.of_stand_in(process)
        if own:
            stand_in = linearized(own)
            local += sum(step.decision is not None for step in stand_in)
            timelines[process].append(Timeline(stand_in, LOCAL))
    for call in history.calls:
        timelines.setdefault(call.process, [shared])
    views = check_views(history, timelines, todo.max_staleness)
    unanswered = [each for each in history.of_store() if not each.answered]
    return Report(
        operations=len(history.of_store()),
        unanswered=len(unanswered),
        happened=sum(not step.operation.answered for step in steps),
        local=local,
        changes=len(changes_of(steps)),
        calls=sum(bool(call.outcome) for call in history.calls),
        viewed=views["viewed"],
        verdicts=Counter(f"{s.operation.event.kind} {s.decision.verdict}" for s in steps if s.decision),
        checked_in=time.monotonic() - began,
    )


def kept(todo: Round) -> list[Change]:
    """Return the changes of state that the store itself has kept."""
    storage: Any = from_url(todo.url, todo.name, history=KEPT)
    changes: list[Change] = storage.history(KEPT)
    return changes


def changes_of(steps: Iterable[Step]) -> list[Change]:
    """Return the changes of state that an order of operations makes, without who made them."""
    return [
        Change(decision.now, decision.old_state, decision.after.state, decision.after.reason, "")
        for _, decision, _ in steps
        if decision is not None and decision.write and decision.after.generation != decision.old_generation
    ]


def check_changes(steps: list[Step], stored: list[Change], history: History) -> None:
    """Compare the store's own account of the circuit's past with the order that was found.

    A loss takes it along in Redis. What nobody ever saw may stand in the account only.
    """
    lost = [place for place, step in enumerate(steps) if step.decision is None]
    expected = changes_of(steps)
    after_loss = changes_of(steps[lost[-1] + 1 :]) if lost else expected
    actual = [change._replace(worker="") for change in stored]
    unseen = sum(not each.answered for each in history.of_store()) - sum(not step.operation.answered for step in steps)
    if not (_is_within(expected, actual, unseen) or (lost and _is_within(after_loss, actual, unseen))):
        raise AssertionError(
            f"the store has kept {len(actual)} changes of state, and the order has {len(expected)}, "
            f"{len(after_loss)} after the last loss:\n{actual[-5:]}\n{expected[-5:]}"
        )


def _is_within(expected: list[Change], actual: list[Change], spare: int) -> bool:
    left = iter(actual)
    return len(actual) <= len(expected) + spare and all(any(each == other for other in left) for each in expected)


def check_clock(history: History) -> None:
    """Each answer of the store tells a time between its question and itself: its own clock, which is this machine's."""
    wall = [call.wall - call.began // 1_000_000 for call in history.calls]
    earliest, latest = min(wall, default=0) - WALL, max(wall, default=0) + WALL
    for each in history.of_store():
        if each.decision is not None and wall:
            first, last = each.began // 1_000_000 + earliest, each.ended // 1_000_000 + latest
            assert first <= each.decision.now <= last, f"the store's clock was neither {first} to {last}: {each}"


def check_generations(steps: list[Step]) -> None:
    """No generation begins twice, also not after the record was lost."""
    seen: set[int] = set()
    now = 0
    for step in steps:
        if step.record is not None and step.record.generation != now:
            now = step.record.generation
            assert now not in seen, f"generation {now} was used twice, the second time by {step.operation}"
            seen.add(now)
