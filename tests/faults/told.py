"""What workers have told in their notes, those that were killed among them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from faults.calls import UNENDED, Call
from faults.lateness import Late
from faults.notes import BEGAN, ENDED, HEARD, LATE, RAN, Notes

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Log:
    """What one process has logged.

    Attributes:
        worker: Whose it was.
        alive: Whether the process was not killed, so that this is all it had to say.
        lines: As `Heard` writes them.
    """

    worker: int
    alive: bool
    lines: list[str] = field(default_factory=list)


@dataclass
class Told:
    """All of it.

    Attributes:
        calls: Those that have ended, and those whose process was killed in them; in the order of their beginnings.
        under_way: Calls of living workers that have not ended yet.
        lates: When the machine was late.
        logs: One for each process.
    """

    calls: list[Call] = field(default_factory=list)
    under_way: list[Call] = field(default_factory=list)
    lates: list[Late] = field(default_factory=list)
    logs: list[Log] = field(default_factory=list)


class Diary:
    """The reader's side of one process's notes.

    Args:
        worker: Who it is.
        notes: Where it writes.
    """

    def __init__(self, worker: int, notes: Notes) -> None:
        self.worker = worker
        self.notes = notes
        self._under_way: dict[int, Call] = {}

    def read_on(self, told: Told, now: float, *, alive: bool) -> None:
        """Add to what was told since this was last called.

        Args:
            told: To this.
            now: Since when the process has noted all that had happened; on the monotonic clock.
            alive: Whether calls may still end.
        """
        log = Log(self.worker, alive)
        told.logs.append(log)
        for note in self.notes.read_on():
            match note:
                case [kind, line] if kind == HEARD:
                    log.lines.append(line)
                case [kind, *what] if kind == LATE:
                    told.lates.append(Late(*what))
                case [lane, step, *what]:
                    told.calls += self._step(lane, step, what)
        unended = self._under_way.values()
        if alive:
            told.under_way += (so_far(call, now) for call in unended)
        else:
            told.calls += unended

    def _step(self, lane: int, step: str, what: list[Any]) -> Iterable[Call]:
        if step == BEGAN:
            began, epoch = what
            self._under_way[lane] = Call(self.worker, began, 0.0, math.inf, 0.0, UNENDED, 0.0, (epoch, epoch))
        elif step == RAN:
            ran, epoch = what
            call = self._under_way[lane]
            delay, epochs = ran - call.began, (call.epochs[0], epoch)
            self._under_way[lane] = call._replace(ran=ran, delay=delay, epochs=epochs)
        elif step == ENDED:
            del self._under_way[lane]
            *others, epochs = what
            return [Call._make([*others, tuple(epochs)])]
        return []


def so_far(call: Call, now: float) -> Call:
    """Return a call that is under way with the delay that it has had; of one that has run, that before it ran."""
    return call if call.ran else call._replace(delay=now - call.began)
