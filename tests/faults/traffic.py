"""Steady traffic through one circuit, from worker processes of both colours."""

from __future__ import annotations

import contextlib
import os
import signal
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fleet import CONTEXT
from fleet import Worker as Process

from faults import board, worker
from faults.calls import STALENESS
from faults.notes import Notes
from faults.patience import wait_until
from faults.told import Diary, Told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from faults.places import Place
    from faults.worker import Look, Plan, Vitals

#: Colour and `max_staleness` of each worker.
CREW: Final = (
    (worker.THREADS, 0.0),
    (worker.ASYNCIO, 0.0),
    (worker.THREADS, STALENESS),
    (worker.ASYNCIO, STALENESS),
)


class Traffic:
    """The workers, and the backend that they call.

    Args:
        place: Where the circuit is kept.
        path: An unused file.
        name: The circuit's name.
    """

    def __init__(self, place: Place, path: Path, name: str) -> None:
        self.place = place
        self.name = name
        self.board = board.Board.new(path)
        #: Workers that can't be spoken to now: stopped or killed.
        self.absent: set[int] = set()
        #: What makes the storages of some workers, instead of what makes the place's.
        self.storages: dict[int, str] = {}
        self.processes: dict[int, Process] = {}
        self.pids: dict[int, int] = {}
        self._directory = path.parent
        self._diaries: dict[Process, Diary] = {}

    @property
    def present(self) -> list[int]:
        return [number for number in sorted(self.processes) if number not in self.absent]

    def start(self, number: int) -> None:
        """Start a worker, or the successor of one that is gone."""
        process = self.processes[number] = Process(None)  # it shares the board instead
        self._diaries[process] = Diary(number, Notes.new(self._directory / f"notes-{process.process.pid}"))
        self.pids[number] = self.ask(number, worker.begin, self._plan(number))
        self.absent.discard(number)

    def start_all(self) -> None:
        for number in range(len(CREW)):
            self.start(number)

    def ask(self, number: int, function: Callable[..., Any], *args: Any) -> Any:
        """Run one of the worker module's functions there."""
        self.processes[number].send(function, *args)
        return self.processes[number].answer()

    def ask_all(self, function: Callable[..., Any], *args: Any) -> list[Any]:
        for number in self.present:
            self.processes[number].send(function, *args)
        return [self.processes[number].answer() for number in self.present]

    def looks(self) -> list[Look]:
        return self.ask_all(worker.look)

    def reasons(self) -> list[str]:
        """Return why each present worker was alone last."""
        return self.ask_all(worker.why_alone)

    def vitals(self) -> dict[int, Vitals]:
        return dict(zip(self.present, self.ask_all(worker.vitals), strict=True))

    def collect(self) -> Told:
        """Return what all workers have told since this was last called, also those that are dead."""
        told, now = Told(), time.monotonic()
        self.ask_all(worker.tell)
        for process, diary in list(self._diaries.items()):
            alive = process.process.is_alive()
            diary.read_on(told, now, alive=alive)
            if not alive:
                del self._diaries[process]
        told.calls.sort(key=lambda call: call.began)
        return told

    def some_calls(self, number: int = 5) -> None:
        """Wait until each present worker has made so many more calls."""
        self._until_each("calls", board.CALLS, number)

    def rejections(self, number: int = 3) -> None:
        """Wait until each present worker was turned away so many times more."""
        self._until_each("is turned away", board.REJECTIONS, number)

    def closes(self) -> None:
        """Wait until the circuit is closed, and shared, for all present workers."""
        wait_until(
            "the circuit is closed and shared", lambda: {look[:2] for look in self.looks()} == {("closed", True)}
        )

    def is_one_circuit(self) -> bool:
        """Tell whether all workers, and a newcomer, see one and the same closed circuit."""
        newcomer = worker.breaker_of(self._plan(0)).snapshot()
        expected = worker.Look("closed", True, newcomer.generation)
        return newcomer.shared and set(self.looks()) == {expected}

    def kill(self, number: int) -> None:
        self.processes[number].kill()
        self.absent.add(number)

    def pause(self, number: int) -> None:
        os.kill(self.pids[number], signal.SIGSTOP)
        self.absent.add(number)

    def is_dead(self, number: int) -> bool:
        return not self.processes[number].process.is_alive()

    def is_stopped(self, number: int) -> bool:
        return Path(f"/proc/{self.pids[number]}/stat").read_text().rpartition(")")[2].split()[0] == "T"

    def resume(self, number: int) -> None:
        os.kill(self.pids[number], signal.SIGCONT)
        self.absent.discard(number)

    def let_go(self) -> None:
        """Let all go on who were stopped, or ordered to stop."""
        for number in self.processes:
            self.board.order(number, 0)
            if not self.is_dead(number):
                self.resume(number)

    def stop(self) -> None:
        for number in self.processes:
            with contextlib.suppress(OSError, EOFError, TimeoutError, AssertionError):
                if number not in self.absent:
                    self.ask(number, worker.end)
        for process in self.processes.values():
            process.stop()

    def _until_each(self, does: str, what: int, number: int) -> None:
        before = {worker: self.board.count(worker, what) for worker in self.present}
        wait_until(
            f"each worker {does}",
            lambda: all(self.board.count(worker, what) >= count + number for worker, count in before.items()),
        )

    def _plan(self, number: int) -> Plan:
        """Return what this worker is told; a newcomer that only looks notes nothing."""
        colour, staleness = CREW[number]
        place, process = self.place, self.processes[number]
        notes = self._diaries[process].notes.path
        return worker.Plan(
            place.url,
            self.name,
            self.board.path,
            notes,
            number,
            colour,
            staleness,
            place.settings,
            self.storages.get(number, place.storage),
        )


@contextlib.contextmanager
def traffic_through(place: Place, name: str) -> Iterator[Traffic]:
    CONTEXT.set_forkserver_preload(["pybreaker_ext", "redis", "pybreaker", "redis.asyncio"])
    with tempfile.TemporaryDirectory(prefix="pybreaker-ext-traffic-") as directory:
        traffic = Traffic(place, Path(directory) / "board", name)
        try:
            yield traffic
        finally:
            traffic.stop()
