"""The checks of the fault suite find what they are made to find."""

from __future__ import annotations

import asyncio
import math
import os
import signal
from typing import TYPE_CHECKING, Any

import pytest

import pybreaker_ext
from faults.attempt import Attempt, BackendError
from faults.board import Board
from faults.calls import ALLOWED, FAILED, LOST, OK, REJECTED, TRIPPED, UNENDED, Call, against_knowledge, strange
from faults.fault import Fault
from faults.patience import NeverError
from faults.places import SQLITE
from faults.trial import try_out

if TYPE_CHECKING:
    from pathlib import Path

    from faults.fault import Scene

STORE, ALONE, BACK = (0, 0), (1, 1), (2, 2)


def rejected(began: float, open_for: float, worker: int = 0, epochs: tuple[int, int] = STORE) -> Call:
    return Call(worker, began, 0.0, began + 0.01, 0.01, REJECTED, open_for, epochs)


def ran(began: float, worker: int = 1, epochs: tuple[int, int] = STORE) -> Call:
    return Call(worker, began, began + 0.01, began + 0.02, 0.01, OK, 0.0, epochs)


@pytest.mark.parametrize(
    ("calls", "found"),
    [
        ([rejected(10, 1), ran(10.5)], True),
        ([rejected(10, 1), ran(10.05)], False),  # the other may not know yet
        ([rejected(10, 1), ran(11.0)], False),  # it is due
        ([rejected(10, 1), ran(9.9)], False),
        ([rejected(10, 0.0), ran(10.5)], False),  # half-open
        ([rejected(10, 1), rejected(10.4, 0.6), ran(10.7)], True),
        ([ran(9, 1, ALONE), rejected(10, 1, 1, ALONE), ran(10.05, 1, ALONE)], True),  # its own news
        ([ran(9.95, 1, (0, 1)), rejected(10, 1, 1, ALONE), ran(10.05, 1, ALONE)], False),  # the store's last word
        ([ran(9, 0, BACK), rejected(10, 1, 0, BACK), ran(9, 1, BACK), ran(10.5, 1, BACK)], True),
        (
            [ran(9.95, 0, BACK), rejected(10, 1, 0, BACK), ran(9, 1, BACK), ran(10.5, 1, BACK)],
            False,
        ),  # its own
        ([rejected(10, 1, 0, ALONE), ran(10.5, 1, ALONE)], False),  # each for itself
        ([rejected(10, 1, 1, ALONE), ran(10.5, 1, (3, 3))], False),  # another outage
        ([rejected(10, 1), ran(10.5, 1, ALONE)], False),
        ([rejected(10, 1), ran(10.5, 1, (0, 1))], False),  # the store went away meanwhile
        ([rejected(10, 1), ran(10.5)._replace(verdict=UNENDED, ended=math.inf)], True),  # killed when it ran
        ([rejected(10, 1), ran(10.5)._replace(verdict=UNENDED, ended=math.inf, ran=0.0)], False),  # or before
    ],
)
def test_a_function_that_runs_in_a_circuit_that_is_known_to_be_open(calls: list[Call], found: bool) -> None:
    assert bool(list(against_knowledge(calls))) == found


def test_an_error_that_no_caller_should_see() -> None:
    assert list(strange([ran(1)._replace(verdict=verdict) for verdict in ALLOWED])) == []
    assert len(list(strange([ran(1)._replace(verdict=LOST), ran(1)._replace(verdict="RedisError: no")]))) == 2


def an_attempt(board: Board, note: Any = lambda *_: None) -> Attempt:
    return Attempt(board, 0, lambda: 0, note)


class TestAttempt:
    @pytest.fixture
    def board(self, tmp_path: Path) -> Board:
        return Board.new(tmp_path / "board")

    @pytest.fixture(params=["threads", "asyncio"])
    def run(self, request: pytest.FixtureRequest) -> Any:
        if request.param == "threads":
            return lambda attempt: attempt.backend()
        return lambda attempt: asyncio.run(attempt.backend_async())

    def test_a_result(self, board: Board, run: Any) -> None:
        attempt = an_attempt(board)
        found = run(attempt)
        assert (attempt.returned(found), attempt.returned(None)) == (OK, LOST)
        assert attempt.raised(pybreaker_ext.CircuitBreakerError("after all")) == LOST

    def test_a_result_of_nothing(self, board: Board) -> None:
        assert an_attempt(board).returned(None) == LOST

    def test_an_error(self, board: Board, run: Any) -> None:
        board.sick = True
        attempt = an_attempt(board)
        with pytest.raises(BackendError) as caught:
            run(attempt)
        trip, other = pybreaker_ext.CircuitBreakerError("open"), pybreaker_ext.CircuitBreakerError("open")
        trip.__cause__ = caught.value
        seen = [attempt.raised(error) for error in (caught.value, trip, other, OSError("no"))]
        assert seen == [FAILED, TRIPPED, LOST, "OSError: no"]

    def test_a_rejection(self, board: Board) -> None:
        assert an_attempt(board).raised(pybreaker_ext.CircuitBreakerError("open")) == REJECTED


def test_what_never_came_is_told_though_workers_are_stopped() -> None:
    def breaks(scene: Scene) -> None:
        scene.traffic.pause(0)
        os.kill(scene.traffic.pids[1], signal.SIGSTOP)
        message = "the store never broke"
        raise NeverError(message)

    finding = try_out(Fault("breaks", SQLITE, breaks))
    assert finding.problems[0].startswith("the store never broke (in the phase 'broken': [('closed', True, ")
