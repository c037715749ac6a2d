"""The processes of a round, for as long as it lasts."""

from __future__ import annotations

import functools
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from fleet import until

from linearizability.orders import ORDERS, new_orders

if TYPE_CHECKING:
    from collections.abc import Callable

    from fleet import Fleet, Worker

    from linearizability.traffic import Plan


class Crew:
    """The processes; one that is killed has a successor, with a file of its own.

    Args:
        fleet: Who does it.
        directory: Of the files.
        plan_of: Returns the plan of the process in a place, which writes to a file.
        work: What the processes run.
    """

    def __init__(
        self, fleet: Fleet, directory: Path, plan_of: Callable[[int, Path, int], Plan], work: Callable[[Plan], int]
    ) -> None:
        self._fleet, self._directory, self._plan_of, self._work = fleet, directory, plan_of, work
        self._started = 0
        self._orders = new_orders(directory / ORDERS)
        fleet.ready()
        for place in range(len(fleet.workers)):
            self._start(place)

    def _start(self, place: int) -> None:
        self._started += 1
        path = self._directory / f"process-{self._started}.jsonl"
        self._fleet.workers[place].send(self._work, self._plan_of(place, path, self._started))

    def kill(self, place: int) -> None:
        self._fleet.workers[place].kill()
        self._fleet.ready()
        self._start(place)

    def stop_next(self, where: int) -> list[int]:
        """Stop the process that comes to a place next (see `orders`), and tell which; sometimes there are two."""
        until(self._nobody_is_stopped)
        self._orders.give(where)
        stopped: list[int] = until(self._stopped)
        self._orders.give(0)
        return stopped

    def go_on(self, place: int) -> None:
        pid = self._fleet.workers[place].process.pid
        assert pid is not None
        os.kill(pid, signal.SIGCONT)

    def finish(self) -> None:
        """End the round, and wait until all have done their part."""
        self._orders.end()
        for worker in self._fleet.workers:
            until(functools.partial(self._has_done, worker))
            worker.answer()

    def _has_done(self, worker: Worker) -> bool:
        self._nobody_is_stopped()
        return worker.pipe.poll(0.05)

    def _nobody_is_stopped(self) -> bool:
        """Let those go on who have taken an order together with another one."""
        stopped = self._stopped()
        for place in stopped:
            self.go_on(place)
        return not stopped

    def _stopped(self) -> list[int]:
        return [place for place, worker in enumerate(self._fleet.workers) if _is_stopped(worker.process.pid)]


def _is_stopped(pid: int | None) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False
