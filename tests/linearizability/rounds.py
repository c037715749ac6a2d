"""One round: eight processes, what is broken around them, and whether all that fits together."""

from __future__ import annotations

import random
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import servers

from linearizability.account import Account, changes_of
from linearizability.checker import linearized
from linearizability.crew import Crew
from linearizability.history import LOCAL, History, read
from linearizability.recorder import KEPT, Observer
from linearizability.strikes import Striker
from linearizability.traffic import Plan, work
from linearizability.views import WALL, Timeline, check_views
from linearizability.ways import ways_to
from pybreaker_ext.storage.outage import RETRY_INTERVAL
from pybreaker_ext.storage.redis_urls import TIMEOUT
from pybreaker_ext.storage.sqlite_file import LOCK_TIMEOUT
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from fleet import Fleet

    from linearizability.steps import Step
    from pybreaker_ext.storage.history import Change

#: Seconds that an operation waits for its store.
PATIENCE: Final = {"redis": TIMEOUT, "sqlite": LOCK_TIMEOUT}


class TooCalmError(AssertionError):
    """Nothing that matters has happened in a round, so that all was in order says nothing."""


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
    #: Seconds that an operation waits for its store, and from one look for a store that is away to the next;
    #: 0.0: the package's own, for which a short round has no time.
    patience: float = 0.0
    retry: float = RETRY_INTERVAL
    #: What the processes run; a broken store has its own.
    work: Callable[[Plan], int] = work

    @property
    def kind(self) -> str:
        return self.url.partition(":")[0]

    @property
    def waits(self) -> float:
        return self.patience or PATIENCE[self.kind]

    def storage(self) -> Any:
        """Return a storage that is in no hurry."""
        patience = servers.PATIENCE if self.kind == "redis" else ""
        return from_url(self.url + patience, self.name, history=KEPT)


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
    observer = Observer(directory / "observer.jsonl", todo.storage())
    luck = random.Random(todo.seed)
    end = time.monotonic() + todo.seconds
    due = sorted(
        (end - luck.uniform(0.1, 0.9) * todo.seconds, fault)
        for fault, times in todo.faults.items()
        for _ in range(times)
    )
    with ways_to(todo.url, todo.waits, luck) as ways:

        def plan_of(place: int, path: Path, number: int) -> Plan:
            way = ways[bool(todo.faults) and place % 2]
            seed = todo.seed * 1_000 + number
            return Plan(way, todo.name, path, todo.colour, todo.max_staleness, seed, todo.waits, todo.retry)

        crew = Crew(fleet, directory, plan_of, todo.work)
        striker = Striker(todo.url, todo.name, todo.waits, crew, observer, luck)
        for moment, fault in due:
            time.sleep(max(0.0, moment - time.monotonic()))  # real processes work meanwhile
            striker.strike(fault)
        time.sleep(max(0.0, end - time.monotonic()))
        crew.finish()
    observer.end()  # nobody writes any more, so all that has happened shows
    return read(sorted(directory.glob("*.jsonl")))


def check(history: History, todo: Round) -> Report:
    """Check what was written down.

    Raises:
        AssertionError: It does not fit together; the message tells what.
    """
    began = time.monotonic()
    stored = Account(history.changes)
    steps = linearized(history.of_store(), account=stored)
    check_clock(history)
    check_generations(steps)
    check_changes(steps, stored, history)
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
    happened = sum(not step.operation.answered for step in steps)
    if todo.faults:
        check_losses(len(unanswered), happened)
    return Report(
        operations=len(history.of_store()),
        unanswered=len(unanswered),
        happened=happened,
        local=local,
        changes=len(changes_of(step.decision for step in steps)),
        calls=sum(bool(call.outcome) for call in history.calls),
        viewed=views["viewed"],
        verdicts=Counter(f"{s.operation.event.kind} {s.decision.verdict}" for s in steps if s.decision),
        checked_in=time.monotonic() - began,
    )


def check_changes(steps: list[Step], stored: Account, history: History) -> None:
    """Compare the store's own account of the circuit's past with the order that was found.

    What nobody ever saw may stand in the account only.
    """
    expected, actual = changes_of(step.decision for step in steps), stored.changes
    unseen = sum(not each.answered for each in history.of_store()) - sum(not step.operation.answered for step in steps)
    if not _is_within(expected, actual, unseen):
        raise AssertionError(
            f"the store has kept {len(actual)} changes of state, and the order has {len(expected)}:\n"
            f"{actual[-5:]}\n{expected[-5:]}"
        )


def _is_within(expected: Sequence[Change], actual: Sequence[Change], spare: int) -> bool:
    left = iter(actual)
    return len(actual) <= len(expected) + spare and all(any(each == other for other in left) for each in expected)


def check_losses(unanswered: int, happened: int) -> None:
    """Raise TooCalmError unless answers were lost, some after their operation had happened and some before."""
    if not 0 < happened < unanswered:
        raise TooCalmError(f"{unanswered} operations were unanswered, of which {happened} have happened")


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
