"""The machine's own lateness is measured, and no more than that is forgiven."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from typing import TYPE_CHECKING

import pytest

from faults import lateness, sqlite_faults
from faults.lateness import NAP
from faults.trial import try_out

if TYPE_CHECKING:
    from pathlib import Path


class Clock:
    """One that each nap takes further, by so much more than it should.

    Args:
        late: Seconds, for each nap.
        stopping: Is set with the last one.
    """

    def __init__(self, late: list[float], stopping: threading.Event) -> None:
        self._now = 10.0
        self._late = late
        self._stopping = stopping

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self._now += seconds + self._late.pop(0)
        if not self._late:
            self._stopping.set()


def noted(monkeypatch: pytest.MonkeyPatch, late: list[float], waited: list[float]) -> list[tuple[float, ...]]:
    """Return what is noted of naps that are late, while threads wait for processors."""
    found: list[tuple[float, ...]] = []
    stopping = threading.Event()
    sums = iter(itertools.accumulate([0.0, *waited]))
    monkeypatch.setattr(lateness, "time", Clock(late, stopping))
    monkeypatch.setattr(lateness, "waited_for_processors", lambda: next(sums))
    lateness.watch(stopping, lambda *note: found.append(note))
    return found


def test_a_nap_in_time_misses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert noted(monkeypatch, [0.0], [0.0]) == [pytest.approx((10.0, 10.0 + NAP, 0.0))]


def test_a_nap_that_is_late_and_threads_that_wait_are_noted(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third = noted(monkeypatch, [0.5, 0.0, 0.1], [0.0, 0.01, 0.2])
    assert first == pytest.approx((10.0, 10.5 + NAP, 0.5))
    assert second == pytest.approx((10.5 + NAP, 10.5 + 2 * NAP, 0.01))
    assert third == pytest.approx((10.5 + 2 * NAP, 10.6 + 3 * NAP, 0.3))


def test_a_thread_that_has_ended_is_no_time_won(monkeypatch: pytest.MonkeyPatch) -> None:
    (only,) = noted(monkeypatch, [0.1], [-5.0])
    assert only[2] == pytest.approx(0.1)


def test_how_long_threads_waited_for_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for thread, seconds in (("1", 2), ("2", 3)):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(f"7 {seconds}000000000 9\n")
    monkeypatch.setattr(lateness, "THREADS", str(tmp_path))
    assert lateness.waited_for_processors() == 5.0
    monkeypatch.setattr(lateness, "THREADS", str(tmp_path / "none"))
    assert lateness.waited_for_processors() == 0.0


def test_what_a_store_makes_calls_wait_for_is_not_taken_for_the_machines_lateness() -> None:
    """Callers wait two seconds for a file that is locked; here they must not."""
    (locked,) = (fault for fault in sqlite_faults.FAULTS if fault.name == "locked by another program")
    problems = try_out(dataclasses.replace(locked, bound=0.0)).problems
    assert [problem for problem in problems if "s late" in problem]
    assert [problem for problem in problems if "s late" not in problem] == []
