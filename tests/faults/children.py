"""Children of worker processes, made in the midst of their calls. They call through the same circuit, and end.

The functions that begin with `have` run in workers, the others in their children.
"""

from __future__ import annotations

import multiprocessing
import multiprocessing.forkserver
import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from faults import board, worker
from faults.judging import AWAY_LINE, BACK_LINE
from faults.notes import ENDED, HEARD, LATE, Notes
from faults.patience import PATIENCE, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from multiprocessing.connection import Connection

    from faults.worker import Plan, Work

METHODS: Final = ("fork", "forkserver", "spawn")
COLOURS: Final = (worker.THREADS, worker.ASYNCIO)
#: Of what a child waits for before it ends.
NUMBER: Final = 3
#: Threads or tasks of a child that leaves while they call.
LANES: Final = 8
#: By how much the number of a child, which is a worker for the board, is higher than its parent's, or its sibling's.
CREW: Final = 4


def have_children(wanted: int) -> None:
    """Have a child of each kind, which calls in both colours until it has counted what is wanted."""
    for index, method in enumerate(METHODS):
        have_child(index, method, call_in_both_colours, wanted)
    server: Any = multiprocessing.forkserver._forkserver
    server._stop()  # or it would pass for a child


def have_leaving_child(wanted: int) -> None:
    """Have a child of our colour, which leaves the interpreter while it calls. Only spawned ones do that."""
    have_child(0, "spawn", leave_in_calls, wanted)


def have_child(index: int, method: str, target: Callable[..., None], *args: Any) -> None:
    """Have a child, and take what it has noted for our own."""
    mine = worker.work()
    process: Any = multiprocessing.current_process()
    process._config["daemon"] = False  # who is one has no children
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as directory, ours:
        notes, complaints = Notes.new(Path(directory) / "notes"), Path(directory) / "stderr"
        plan = replace(mine.plan, number=mine.plan.number + CREW * (1 + index), notes=notes.path)
        child = context.Process(target=live, args=(theirs, str(complaints), plan, target, *args))
        child.start()
        theirs.close()
        if ours.poll(PATIENCE):
            take_over(plan.number, notes.read_on(ours.recv()))
        else:
            mine.heard.lines.append(f"ERROR child: {method} gave no answer")
        notes.close()
        child.join(PATIENCE)
        if child.exitcode is None:
            child.kill()
            child.join()
        if child.exitcode:
            mine.heard.lines.append(f"ERROR child: {method} ended with {child.exitcode}")
        mine.heard.lines += [f"ERROR child: {line}" for line in complaints.read_text("utf-8").splitlines()]


def take_over(child: int, notes: Iterable[list[Any]]) -> None:
    """Note what a child has noted, but for calls that it left, and outages, of whose ends it could not tell."""
    mine = worker.work()
    begun: dict[int, list[Any]] = {}
    for note in notes:
        match note:
            case [kind, line] if kind == HEARD:
                mine.heard.lines += [] if AWAY_LINE.search(line) or BACK_LINE.search(line) else [line]
            case [kind, *_] if kind == LATE:
                mine.notes.write(*note)
            case [lane, step, *what]:
                begun.setdefault(lane, []).append((step, *what))
                for each in begun.pop(lane) if step == ENDED else ():
                    mine.notes.write(LANES * child + lane, *each)


def live(pipe: Connection, complaints: str, plan: Plan, target: Callable[..., None], *args: Any) -> None:
    with Path(complaints).open("wb") as file:
        os.dup2(file.fileno(), 2)
    target(pipe, plan, *args)


def call_in_both_colours(pipe: Connection, plan: Plan, wanted: int) -> None:
    """Call through the breaker that was inherited, or that was made anew where nothing is."""
    inherited = worker.work().breaker if worker.is_begun() else None
    for colour in COLOURS:
        work = worker.Work(replace(plan, colour=colour), inherited)
        until_counted(work, wanted)
        work.stop()
    pipe.send(work.notes.written())


def leave_in_calls(pipe: Connection, plan: Plan, wanted: int) -> None:
    """Leave when one call goes on for ever, and while others begin and end."""
    work = worker.Work(replace(plan, lanes=LANES))
    until_counted(work, wanted)
    work.board.order(plan.number, board.LINGER)
    wait_until("a call lingers", lambda: has_parent() and not work.board.count(plan.number, board.ORDER))
    work.tell()
    pipe.send(work.notes.written())


def until_counted(work: Work, wanted: int) -> None:
    """Wait until the worker has counted so many more, and the store takes part in that."""
    number, before = work.plan.number, work.board.count(work.plan.number, wanted)

    def counted() -> bool:
        return has_parent() and work.board.count(number, wanted) >= before + NUMBER and work.look().shared

    wait_until("a child has called", counted)


def has_parent() -> bool:
    """Tell whether anybody waits for this child, which ends if not."""
    parent = multiprocessing.parent_process()
    if parent is None or not parent.is_alive():
        os._exit(1)
    return True
