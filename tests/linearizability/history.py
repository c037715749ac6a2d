"""What happened, as the processes wrote it down: one JSON line when something begins, one when it ends.

A process that is killed leaves operations that have begun and not ended. Times are nanoseconds on the
machine's monotonic clock, which all its processes share.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pybreaker_ext.machine import Decision, Event, Policy, Record
from pybreaker_ext.storage.history import Change

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: When something ended that has not.
NEVER: Final = 2**63

#: Who decided: the shared store, or the stand-in of the process.
STORE: Final = "store"
LOCAL: Final = "local"

#: Events that come with a permit.
REPORTS: Final = ("success", "failure", "neutral", "hold", "renew")

#: Not one of the machine's events: the record is gone.
LOSE: Final = Event("lose")


class Operation(NamedTuple):
    """One event on its way to a machine and back."""

    began: int
    ended: int
    event: Event
    policy: Policy = Policy()
    #: None: no answer has come, and it may have happened or not.
    decision: Decision | None = None
    #: Of which of the process's calls it was a part; 0: of none.
    call: int = 0
    process: str = ""
    where: str = STORE

    @property
    def answered(self) -> bool:
        return self.decision is not None or (self.event.kind == "lose" and self.ended < NEVER)


@dataclass
class Call:
    """One call through a breaker, as its caller saw it."""

    process: str
    number: int
    began: int
    #: The machine's wall clock in milliseconds, at its beginning.
    wall: int
    #: When its function began, if it did.
    ran: int | None = None
    #: When its function ended.
    returned: int | None = None
    ended: int = NEVER
    #: `success`, `failure`, `neutral`, `hold`, `rejected`; empty for what is no call or didn't end.
    outcome: str = ""


@dataclass
class History:
    """What all processes have written down."""

    operations: list[Operation] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    #: The store's own account of what has changed the state.
    changes: list[Change] = field(default_factory=list)

    def of_store(self) -> list[Operation]:
        return [operation for operation in self.operations if operation.where == STORE]

    def of_stand_in(self, process: str) -> list[Operation]:
        """Return what the stand-in of a process decided; nothing when it never did.

        A report on a permit that another machine has issued is a mere look there.
        """
        own = [_as_understood(each) for each in self.operations if each.where == LOCAL and each.process == process]
        return own if any(each.decision is not None for each in own) else []

    @property
    def processes(self) -> list[str]:
        return sorted({operation.process for operation in self.operations})


def _as_understood(operation: Operation) -> Operation:
    event, decision = operation.event, operation.decision
    if decision is not None and event.kind in REPORTS and event.epoch != decision.epoch:
        return operation._replace(event=Event("read"))
    return operation


def read(paths: Iterable[Path]) -> History:
    """Return what the files say, one of each process."""
    history = History()
    for path in paths:
        begun: dict[int, Operation] = {}
        calls: dict[int, Call] = {}
        for line in _lines(path):
            if line[0] == "kept":
                history.changes += [Change(*change) for change in line[1]]
            else:
                _note(line, path.stem, begun, calls)
        history.operations += begun.values()
        history.calls += calls.values()
    return history


def _lines(path: Path) -> Iterator[list[Any]]:
    for line in path.read_text("utf-8").splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # the last line of a process that was killed
            return


def _note(line: list[Any], process: str, begun: dict[int, Operation], calls: dict[int, Call]) -> None:
    what, number, time, *rest = line
    match what:
        case "began":
            where, call, event, policy = rest
            begun[number] = Operation(time, NEVER, Event(*event), Policy(*policy), None, call, process, where)
        case "ended":
            (decision,) = rest
            begun[number] = begun[number]._replace(ended=time, decision=decision and _decision(decision))
        case "unhappened":
            del begun[number]
        case "lost":
            ended, where = rest
            begun[number] = Operation(time, ended, LOSE, process=process, where=where)
        case "call":
            calls[number] = Call(process, number, time, *rest)
        case "ran":
            calls[number].ran = time
        case "returned":
            calls[number].returned = time
        case "end":
            calls[number].ended, (calls[number].outcome,) = time, rest


def _decision(words: list[Any]) -> Decision:
    verdict, old_state, old_generation, after, *others = words
    return Decision(verdict, old_state, old_generation, Record(*after), *others)
