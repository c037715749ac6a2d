"""What a worker has noted is there whatever became of it."""

from __future__ import annotations

import math
import multiprocessing
import os
import resource
import signal
from typing import TYPE_CHECKING, Any

import pytest

from faults import notes
from faults.attempt import Attempt
from faults.board import EXIT, Board
from faults.calls import FAILED, OK, UNENDED
from faults.lateness import Late
from faults.notes import BEGAN, ENDED, HEARD, LATE, RAN, Notes
from faults.told import Diary, Told

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")


@pytest.fixture
def file(tmp_path: Path) -> Notes:
    return Notes.new(tmp_path / "notes")


def told_by(*written: tuple[Any, ...], notes: Notes, alive: bool = True) -> Told:
    for note in written:
        notes.write(*note)
    told = Told()
    Diary(3, notes).read_on(told, 11.0, alive=alive)
    return told


def note_and_be_killed(path: str) -> None:
    mine = Notes(path)
    # As the fault does that fills a disk.
    resource.setrlimit(resource.RLIMIT_FSIZE, (1, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    mine.write("first", 1)
    mine.write("second", 2.5)
    os.kill(os.getpid(), signal.SIGKILL)


def exit_in_call(path: str, board: str) -> None:
    mine, shared = Notes(path), Board(board)
    attempt = Attempt(shared, 3, lambda: 2, lambda *note: mine.write(0, *note))
    attempt.backend()
    attempt.end(OK, None)
    shared.order(3, EXIT)
    Attempt(shared, 3, lambda: 2, lambda *note: mine.write(0, *note)).backend()


def in_process(target: Callable[..., None], *args: str) -> int | None:
    child = CONTEXT.Process(target=target, args=args)
    child.start()
    child.join(60)
    return child.exitcode


def test_notes_outlive_a_process_that_is_killed_and_may_write_no_file(file: Notes) -> None:
    assert in_process(note_and_be_killed, file.path) == -signal.SIGKILL
    assert file.read_on() == [["first", 1], ["second", 2.5]]
    assert file.read_on() == []


def test_a_call_whose_process_exits_in_it_has_run_and_has_no_end(file: Notes, tmp_path: Path) -> None:
    board = Board.new(tmp_path / "board")
    assert in_process(exit_in_call, file.path, board.path) == 1
    told = told_by(notes=file, alive=False)
    ended, unended = told.calls
    assert (ended.worker, ended.verdict, ended.epochs) == (3, OK, (2, 2))
    assert (unended.worker, unended.verdict, unended.ended, unended.epochs) == (3, UNENDED, math.inf, (2, 2))
    assert ended.began <= ended.ran < ended.ended <= unended.began <= unended.ran


def test_a_note_that_was_not_finished_is_dropped(file: Notes) -> None:
    file.write("whole")
    written = notes.HEAD + notes.WRITTEN.unpack_from(file._map)[0]
    file._map[written : written + 5] = b'["tor'
    assert file.read_on() == [["whole"]]


def test_notes_go_round(file: Notes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notes, "ROOM", 100)
    for number in range(50):
        file.write("note", number)
        assert file.read_on() == [["note", number]]
    for number in range(10):
        file.write("note", number)
    with pytest.raises(OverflowError, match="20 bytes"):
        file.read_on()


def test_a_story(file: Notes) -> None:
    told = told_by(
        (1, BEGAN, 9.0, 0),
        (0, BEGAN, 9.5, 0),
        (HEARD, "WARNING: the store is away"),
        (LATE, 3, 9.5, 9.7, 0.1),
        (1, RAN, 9.6, 0),
        (1, ENDED, 3, 9.0, 9.6, 9.8, 0.5, FAILED, 0.0, (0, 1)),
        notes=file,
    )
    assert [(call.began, call.verdict, call.epochs) for call in told.calls] == [(9.0, FAILED, (0, 1))]
    assert told.lates == [Late(3, 9.5, 9.7, 0.1)]
    assert [(log.worker, log.alive, log.lines) for log in told.logs] == [(3, True, ["WARNING: the store is away"])]


def test_a_call_of_a_living_worker_that_hangs_has_had_its_delay_until_now(file: Notes) -> None:
    told = told_by((0, BEGAN, 9.0, 0), (1, BEGAN, 9.0, 0), (1, RAN, 9.5, 1), notes=file)
    hangs, runs = told.under_way
    assert (told.calls, hangs.delay, runs.delay, runs.epochs) == ([], 2.0, 0.5, (0, 1))
