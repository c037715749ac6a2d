"""Each thing that must be true of a round is found when it is not."""

from __future__ import annotations

import asyncio
import math
from types import SimpleNamespace
from typing import Any

import pytest

from faults import judging
from faults.calls import FAILED, OK, REJECTED, UNENDED, Call
from faults.fault import Effect, Fault, nothing
from faults.judging import END, PROBED, WELL, WITH_CALLS, WORK
from faults.lateness import AROUND, Late, lag
from faults.round import Story
from faults.soak import GROWTH, LOOKS, Place, Soak
from faults.told import Log, Told
from faults.worker import Vitals, lasting_tasks

AWAY, BACK = "WARNING: the store is away", "INFO: the store is back"
#: Each phase has ten seconds.
PHASES = ("calm", "broken", "sick", "mended", "sick again", "calm again", END)
BEGAN = {phase: 10.0 * number for number, phase in enumerate(PHASES, 1)}
SPANS = judging.spans(BEGAN).values()
WORKERS = (0, 1)
LEAST = Vitals(4, 2, 10, 0, 50_000_000)


def call(began: float, worker: int = 0, delay: float = 0.0, verdict: str = OK, open_for: float = 0.0) -> Call:
    ran = 0.0 if verdict == REJECTED else began + delay
    return Call(worker, began, ran, began + delay, delay, verdict, open_for, (0, 0))


def usual() -> list[Call]:
    """Return two calls of each worker in each phase; while the backend is sick, they are turned away."""
    calls = [call(began + 1, worker) for began in BEGAN.values() for worker in range(4)]
    sick = [BEGAN[phase] + 2 for phase in ("sick", "sick again")]
    return calls + [call(began, worker, 0.0, REJECTED, 0.5) for began in sick for worker in range(4)]


def fault(**settings: Any) -> Fault:
    return Fault("breaks", "here", nothing, **settings)


class TestCallsInEachPhase:
    def test_all_are_there(self) -> None:
        assert list(judging.unheard(usual(), SPANS, WORKERS)) == []

    @pytest.mark.parametrize("phase", WITH_CALLS)
    def test_one_worker_has_none(self, phase: str) -> None:
        calls = [one for one in usual() if one.worker != 1 or one.began // 10 != BEGAN[phase] // 10]
        (problem,) = judging.unheard(calls, SPANS, WORKERS)
        assert (phase in problem, "worker 1" in problem) == (True, True)

    def test_one_that_never_ended_is_none(self) -> None:
        calls = [one._replace(ended=math.inf, verdict=UNENDED) if one.began == 21 else one for one in usual()]
        assert list(judging.unheard(calls, SPANS, [0])) == ["in the phase 'broken' there was no call of worker 0"]

    def test_a_phase_that_never_came_needs_none(self) -> None:
        spans = judging.spans({"calm": 10.0, "broken": 20.0}).values()
        assert list(judging.unheard([call(11)], spans, [0])) == []

    def test_nobody_knew_for_how_long_the_circuit_was_open(self) -> None:
        (problem,) = judging.unheard([one._replace(open_for=0.0) for one in usual()], SPANS, WORKERS)
        assert problem == "in the phase 'sick again' nobody was told for how long the circuit is open"


@pytest.mark.parametrize(("began", "found"), [(11, True), (61, True), (21, False), (41, False)])
def test_a_failure_while_all_was_well(began: float, found: bool) -> None:
    assert list(judging.uncalm(usual(), SPANS)) == []
    assert bool(list(judging.uncalm([call(began, verdict=FAILED)], SPANS))) == found


class TestLateness:
    @pytest.mark.parametrize(
        ("lates", "expected"),
        [
            ([], 0.0),
            ([Late(0, 10, 11, 0.3)], 0.3),
            ([Late(0, 10, 11, 1.0), Late(0, 11, 11.5, 0.5)], 1.5),
            ([Late(0, 9, 10, 1.0)], AROUND),  # as much of it as was around the call
            ([Late(0, 13, 14, 1.0), Late(0, 8, 9, 1.0)], 0.0),
        ],
    )
    def test_what_counts(self, lates: list[Late], expected: float) -> None:
        assert lag(lates, 10, 12) == pytest.approx(expected)

    @pytest.mark.parametrize(
        ("delay", "lates", "found"),
        [
            (0.5 + WORK, [], False),
            (1.5, [], True),
            (1.5, [Late(0, 10.2, 11.3, 1.0)], False),
            (1.5, [Late(0, 10.2, 11.3, 0.9)], True),
            (1.5, [Late(1, 10.2, 11.3, 1.0)], True),  # another worker's
            (1.5, [Late(0, 8.0, 9.0, 1.0)], True),  # at another time
        ],
    )
    def test_a_call_takes_longer_than_its_store_and_the_machine(
        self, delay: float, lates: list[Late], found: bool
    ) -> None:
        assert bool(list(judging.too_late([call(10, 0, delay)], lates, 0.5))) == found

    def test_a_call_that_hangs_still(self) -> None:
        hangs = call(10, 0, 1.5, UNENDED)._replace(ended=math.inf, ran=0.0)
        assert len(list(judging.too_late([hangs], [], 0.5))) == 1

    @pytest.mark.parametrize(
        ("began", "delay", "lates", "found"),
        [
            (11, WELL, [], False),
            *((began, WELL + 0.1, [], True) for began in (11, 51, 61)),
            *((began, WELL + 0.1, [], False) for began in (21, 31, 41)),
            (11, WELL + 0.1, [Late(3, 11.1, 11.4, 0.2)], False),  # who might have written
        ],
    )
    def test_a_call_takes_long_while_the_store_is_well(
        self, began: float, delay: float, lates: list[Late], found: bool
    ) -> None:
        assert bool(list(judging.too_late_when_well([call(began, 0, delay)], lates, SPANS))) == found

    @pytest.mark.parametrize(
        ("began", "lates", "found"),
        [
            (40.5 + PROBED, [], False),
            (40.6 + PROBED, [], True),
            (40.59 + PROBED, [Late(1, 40.5, 40.6, 0.1), Late(3, 40.6, 40.7, 0.1)], False),
            (40.7 + PROBED, [Late(1, 40.5, 40.6, 0.1), Late(3, 40.6, 40.7, 0.1)], True),  # only the latest counts
            (40.6 + PROBED, [Late(1, 40.1, 40.3, 0.2)], True),  # in the open time itself
        ],
    )
    def test_a_circuit_stays_open_when_all_is_well(self, began: float, lates: list[Late], found: bool) -> None:
        calls = [call(39, 0, 0.0, REJECTED), call(began, 0, 0.0, REJECTED), call(48)]
        assert bool(list(judging.stuck(calls, lates, 40.0, 0.5))) == found

    def test_a_circuit_that_turned_nobody_away(self) -> None:
        assert list(judging.stuck([call(48)], [], 40.0, 0.5)) == []


class TestLeaks:
    @pytest.mark.parametrize(
        ("after", "found"),
        [
            (LEAST, False),
            (Vitals(5, 2, 14, 0, 90_000_000), False),
            (LEAST._replace(threads=6), True),
            (LEAST._replace(tasks=3), True),
            (LEAST._replace(files=15), True),
            (LEAST._replace(children=1), True),
        ],
    )
    def test_a_worker_uses_more_than_before(self, after: Vitals, found: bool) -> None:
        assert bool(list(judging.leaks({0: LEAST, 1: LEAST}, {0: LEAST, 1: after}, 4))) == found

    def test_a_worker_that_was_not_there_before(self) -> None:
        assert list(judging.leaks({0: LEAST}, {1: LEAST._replace(threads=99)}, 4)) == []

    def test_tasks_of_calls_come_and_go(self) -> None:
        async def calls() -> None:
            while True:
                await asyncio.create_task(asyncio.sleep(0))  # a task that is over at once

        async def main() -> list[int]:
            loop = asyncio.get_running_loop()
            found = []
            for _ in range(2):
                leaked = asyncio.create_task(calls())
                found.append(await asyncio.to_thread(lasting_tasks, loop))
            leaked.cancel()
            return found

        assert asyncio.run(main()) == [2, 3]


class TestLogs:
    @pytest.mark.parametrize(
        ("lines", "alive", "fresh", "settings", "found"),
        [
            ([AWAY, BACK], True, True, {}, False),
            ([AWAY], True, True, {}, False),  # whoever decides alone needn't have come back when notes are read
            ([AWAY, BACK, BACK], True, True, {}, True),
            ([AWAY, BACK, BACK], True, False, {}, False),  # it went away in the round before
            ([AWAY, AWAY], True, True, {}, True),
            ([AWAY, AWAY], False, True, {}, False),  # it was killed
            ([], True, True, {"effect": Effect.SHARED}, False),
            ([], True, True, {}, True),  # the store had to go away
            ([AWAY, "ERROR: unclosed"], True, True, {}, True),
            ([AWAY, "ERROR: unclosed"], False, True, {}, True),
            ([AWAY, "ERROR: unclosed"], True, True, {"allows": "unclosed"}, False),
            ([AWAY, "set aside"], True, True, {"says": "set aside"}, False),
            ([AWAY], True, True, {"says": "set aside"}, True),
            ([AWAY], True, False, {"says": "set aside"}, False),  # it said so in a round before
            ([AWAY, "set aside", "set aside"], True, True, {"says": "set aside"}, True),
        ],
    )
    def test_what_is_logged(
        self, lines: list[str], alive: bool, fresh: bool, settings: dict[str, Any], found: bool
    ) -> None:
        logs = [Log(0, alive, lines)]
        assert bool(list(judging.strange_logs(logs, fault(**settings), fresh=fresh))) == found


class TestRound:
    """All that is found comes into the round's finding."""

    @staticmethod
    def judged(told: Told, longest_open: float | None = 0.5, **settings: Any) -> list[str]:
        place = SimpleNamespace(bound=0.5, longest_open=longest_open)
        scene: Any = SimpleNamespace(place=place, traffic=None)
        story = Story(scene, fault(effect=Effect.SHARED, **settings))
        story._began, story._well, story._told = BEGAN, 40.0, told
        story._judge()
        return story.finding.problems

    def test_nothing_is_wrong(self) -> None:
        assert self.judged(Told(usual())) == []

    @pytest.mark.parametrize(
        ("wrong", "says"),
        [
            (Told([call(11)]), "there was no call"),
            (Told([*usual(), call(25, verdict="RedisError: no")]), "got: RedisError: no"),
            (Told([*usual(), call(15, verdict=FAILED)]), "calls were failed"),
            (Told([*usual(), call(52.3)]), "in an open circuit"),
            (Told([*usual(), call(25, 0, 1.5)]), "1.500 s late"),
            (Told(usual(), under_way=[call(25, 0, 1.5)]), "1.500 s late"),
            (Told([*usual(), call(15, 0, WELL + 0.02)]), "late"),
            (Told([*usual(), call(49, 0, 0.0, REJECTED)]), "still not closed"),
            (Told(usual(), logs=[Log(0, True, ["ERROR: unclosed"])]), "logged: ERROR: unclosed"),
        ],
    )
    def test_something_is_wrong(self, wrong: Told, says: str) -> None:
        problems = self.judged(wrong)
        assert [problem for problem in problems if says in problem], problems

    def test_what_a_store_said_that_may_have_lost_it_is_not_judged_while_it_is_broken(self) -> None:
        told = Told([*usual(), call(32.3)])
        assert [len(self.judged(told, sound=sound)) for sound in (True, False)] == [1, 0]

    def test_a_fault_has_a_bound_of_its_own(self) -> None:
        assert self.judged(Told([*usual(), call(25, 0, 1.5)]), bound=1.5) == []

    def test_only_where_it_is_asked_for_a_circuit_closes_in_time(self) -> None:
        assert self.judged(Told([*usual(), call(49, 0, 0.0, REJECTED)]), None) == []


class TestSoak:
    """What is judged of all rounds together."""

    @staticmethod
    def judged(*lives: list[Vitals]) -> Soak:
        soak = Soak()
        place = Place("here", [], soak, 1)
        place._more_files = 4
        place._vitals.update(enumerate(lives))
        place._judge()
        return soak

    def test_workers_that_stay_as_they_are(self) -> None:
        soak = self.judged([LEAST] * 20, [LEAST] * 2)
        assert (soak.problems, soak.growth, soak.used["here"][0]["workers"]) == ([], 0, 1)

    @pytest.mark.parametrize(("more", "found"), [(GROWTH, False), (GROWTH + 1, True)])
    def test_a_worker_that_grows(self, more: int, found: bool) -> None:
        grown = LEAST._replace(memory=LEAST.memory + more)
        soak = self.judged([LEAST] * 20, [LEAST] * 10 + [grown] * 10)
        assert (bool(soak.problems), soak.growth) == (found, more)

    def test_what_caches_take_in_the_beginning_is_no_growth(self) -> None:
        small = LEAST._replace(memory=10_000_000)
        assert self.judged([small] * 5 + [LEAST] * 15).problems == []

    def test_of_a_short_life_nothing_is_said(self) -> None:
        looks = [LEAST._replace(memory=number * GROWTH) for number in range(LOOKS - 1)]
        assert self.judged(looks).problems == []

    @pytest.mark.parametrize(("last", "found"), [(3, True), (2, False)])
    def test_a_worker_that_has_more_threads_in_the_end(self, last: int, found: bool) -> None:
        looks = [LEAST] * 10 + [LEAST._replace(threads=9)] * last
        assert bool(self.judged(looks).problems) == found
