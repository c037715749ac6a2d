"""What a worker process does: it calls steadily through one breaker, in one colour, and notes each call.

These functions travel to worker processes by name (see `fleet.py`).
"""

from __future__ import annotations

import asyncio
import functools
import gc
import os
import resource
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pybreaker_ext
from faults import board, calls, clocks, lateness, versions
from faults.attempt import Attempt
from faults.heard import Heard
from faults.notes import HEARD, LATE, Notes

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds between two calls of a thread or task.
PAUSE: Final = 0.02
#: Seconds by which each timer is late, and which aren't worth a note.
USUAL: Final = 0.001
#: Seconds in which the tasks of a call come and go, while all is well.
COME_AND_GO: Final = 0.1

SETTINGS: Final[dict[str, Any]] = {
    "fail_max": 3,
    "reset_timeout": 0.5,
    "success_threshold": 2,
    "probe_timeout": 1.0,
}

THREADS, ASYNCIO = "threads", "asyncio"


@dataclass(frozen=True)
class Plan:
    """What one worker is told."""

    url: str
    #: The circuit's.
    name: str
    board: str
    #: The file for the process's notes.
    notes: str
    number: int
    colour: str
    max_staleness: float
    #: Arguments of the registry and of the breaker.
    settings: dict[str, Any] = field(default_factory=dict)
    #: Names a function of `faults.clocks` or `faults.versions` that makes the storage; empty: the registry does.
    storage: str = ""
    #: Threads or tasks that call.
    lanes: int = 2


class Vitals(NamedTuple):
    """What a process uses."""

    threads: int
    #: Without those of a call, which come and go.
    tasks: int
    files: int
    children: int
    #: Bytes that are its own: not those of files that it maps, its notes among them.
    memory: int


class Look(NamedTuple):
    """A circuit as a worker sees it."""

    state: str
    shared: bool
    generation: int


class Work:
    """One worker's breaker, and what calls it; it may have been made before."""

    def __init__(self, plan: Plan, breaker: Any = None) -> None:
        self.plan = plan
        self.board = board.Board(plan.board)
        self.notes = Notes(plan.notes)
        self.heard = Heard.all_of_this_process()
        self.loop: asyncio.AbstractEventLoop | None = None
        self.breaker = breaker or breaker_of(plan)
        self.storage: Any = self.breaker._state_storage
        self._stopping, self._noted = threading.Event(), threading.Event()
        self._threads = [threading.Thread(target=target, daemon=True) for target in (self._watch, *self._targets())]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()
        self._hear()
        self.heard.no_more()

    def look(self) -> Look:
        if self.loop is None:
            found = self.breaker.snapshot()
        else:
            found = asyncio.run_coroutine_threadsafe(self.breaker.snapshot_async(), self.loop).result()
        return Look(found.state.value, found.shared, found.generation)

    def tell(self) -> None:
        """Wait until all that was logged until now is noted, and by how much the machine was late."""
        for _ in range(2):  # the first may be of a moment before
            self._noted.clear()
            self._noted.wait()

    def _watch(self) -> None:
        lateness.watch(self._stopping, self._note_lateness)

    def _note_lateness(self, start: float, end: float, seconds: float) -> None:
        self._hear()
        if seconds > USUAL:
            self.notes.write(LATE, self.plan.number, start, end, seconds)
        self._noted.set()

    def _hear(self) -> None:
        while self.heard.lines:
            self.notes.write(HEARD, self.heard.lines.pop(0))

    def _targets(self) -> list[Callable[[], None]]:
        if self.plan.colour == THREADS:
            return [functools.partial(self._lane, lane) for lane in range(self.plan.lanes)]
        return [lambda: asyncio.run(self._loop())]

    def _attempt(self, lane: int) -> Attempt:
        note = functools.partial(self.notes.write, lane)
        return Attempt(self.board, self.plan.number, lambda: self.storage.outage.epoch, note)

    def _lane(self, lane: int) -> None:
        while not self._stopping.wait(PAUSE):
            attempt = self._attempt(lane)
            try:
                verdict, error = attempt.returned(self.breaker.call(attempt.backend)), None
            except BaseException as caught:  # noqa: BLE001  whatever a caller gets is noted
                verdict, error = attempt.raised(caught), caught
            self._note(attempt, verdict, error)

    async def _loop(self) -> None:
        self.loop = asyncio.get_running_loop()
        await asyncio.gather(*(self._lane_async(lane) for lane in range(self.plan.lanes)))

    async def _lane_async(self, lane: int) -> None:
        while not self._stopping.is_set():
            await asyncio.sleep(PAUSE)
            attempt = self._attempt(lane)
            try:
                verdict, error = attempt.returned(await self.breaker.call_async(attempt.backend_async)), None
            except BaseException as caught:  # noqa: BLE001  whatever a caller gets is noted
                verdict, error = attempt.raised(caught), caught
            self._note(attempt, verdict, error)

    def _note(self, attempt: Attempt, verdict: str, error: BaseException | None) -> None:
        number = self.plan.number
        attempt.end(verdict, error)
        self.board.add(number, board.CALLS)
        if verdict == calls.REJECTED:
            self.board.add(number, board.REJECTIONS)


def breaker_of(plan: Plan) -> Any:
    settings = {**SETTINGS, **plan.settings, "max_staleness": plan.max_staleness}
    if plan.storage:
        make = getattr(clocks, plan.storage, None) or getattr(versions, plan.storage)
        return pybreaker_ext.CircuitBreaker(state_storage=make(plan.url, plan.name), **settings)
    return pybreaker_ext.CircuitBreakerRegistry(plan.url, **settings).get(plan.name)


_work: Work | None = None


def work() -> Work:
    """Return this process's work."""
    assert _work is not None
    return _work


def is_begun() -> bool:
    return _work is not None


def begin(plan: Plan) -> int:
    """Begin to call; return the process's number."""
    global _work  # noqa: PLW0603  one per process
    _work = Work(plan)
    return os.getpid()


def end() -> None:
    work().stop()


def tell() -> None:
    """See to it that all is noted that was until now."""
    work().tell()


def look() -> Look:
    return work().look()


def why_alone() -> str:
    """Return what the store, or its client, said when it went away last."""
    return repr(work().storage.outage.error)


def vitals() -> Vitals:
    gc.collect()
    mine = work()
    tasks = lasting_tasks(mine.loop) if mine.loop is not None else 0
    status = Path("/proc/self/status").read_text()
    kilobytes = next(line for line in status.splitlines() if line.startswith("RssAnon")).split()[1]
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    files = len(os.listdir("/proc/self/fd"))  # noqa: PTH208
    return Vitals(threading.active_count(), tasks, files, len(children), int(kilobytes) * 1024)


def lasting_tasks(loop: asyncio.AbstractEventLoop) -> int:
    """Return how many of a loop's tasks are there for longer than those of a call."""
    seen = asyncio.all_tasks(loop)
    time.sleep(COME_AND_GO)  # real calls go on meanwhile
    return len(seen & asyncio.all_tasks(loop))


def limit_files(size: int) -> None:
    """Let this process write no file beyond so many bytes: a disk that is full. -1: it is mended."""
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (size if size >= 0 else hard, hard))


def become(user: int) -> None:
    """Have another user's rights."""
    os.seteuid(user)


class Blocking(pybreaker_ext.CircuitBreakerListener):
    """Blocks at each change of state.

    Args:
        seconds: For how long.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        time.sleep(self._seconds)


def listen(seconds: float) -> None:
    """Add a listener that blocks."""
    work().breaker.add_listener(Blocking(seconds))


def listen_no_more() -> None:
    for listener in work().breaker.listeners:
        work().breaker.remove_listener(listener)
