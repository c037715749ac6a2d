"""The story of each fault: calm, the store breaks, the backend too, all is mended, once more, calm."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Final

from faults import judging
from faults.calls import against_knowledge, strange
from faults.fault import Effect, Finding
from faults.judging import BROKEN, CALM, CALM_AGAIN, END, MENDED, SICK, SICK_AGAIN, Span
from faults.lateness import lag
from faults.patience import NeverError, sleep, wait_until
from faults.told import Told
from faults.traffic import CREW

if TYPE_CHECKING:
    from faults.calls import Call
    from faults.fault import Fault, Scene
    from faults.worker import Vitals

#: Seconds that each phase lasts at least.
PHASE: Final = 0.3
#: Seconds from which a call counts as late.
LATE: Final = 0.05


class Story:
    """One round as it goes.

    Args:
        scene: Where, with traffic that runs.
        fault: What happens.
        phase: Seconds that each phase lasts at least.
    """

    def __init__(self, scene: Scene, fault: Fault, phase: float = PHASE) -> None:
        self.scene = scene
        self.fault = fault
        self.finding = Finding(fault.title, sound=fault.sound)
        #: Whether the workers had not lived through other rounds: what is logged once was not logged then.
        self.fresh = True
        self._phase = phase
        self._began: dict[str, float] = {}
        #: When store and backend were well again, after the fault.
        self._well = float("inf")
        self._told = Told()

    def tell(self) -> Finding:
        try:
            self._happen()
        except NeverError as error:
            self.scene.traffic.let_go()  # who is stopped can't be asked
            self.finding.problems.append(f"{error} (in the phase {list(self._began)[-1]!r}: {self._looks()})")
        self._told = self.scene.traffic.collect()
        self.finding.calls = len(self._told.calls)
        self._judge()
        self._measure()
        return self.finding

    def _happen(self) -> None:
        traffic = self.scene.traffic
        self._mark(CALM)
        traffic.closes()
        self._go_on()
        before = traffic.vitals()
        self._mark(BROKEN)
        self.fault.breaks(self.scene)
        self._go_on()
        self._mark(SICK)
        traffic.board.sick = True
        self._again()
        traffic.rejections()
        self._go_on()
        self._take_effect()
        self._mark(MENDED)
        self._again()
        traffic.board.sick = False
        self.fault.mends(self.scene)
        self._well = time.monotonic()
        traffic.closes()
        self.finding.healed = time.monotonic() - self._began[MENDED]
        self._mark(SICK_AGAIN)
        traffic.board.sick = True
        traffic.rejections()
        traffic.board.sick = False
        traffic.closes()
        wait_until("a newcomer sees the same closed circuit as all workers", traffic.is_one_circuit)
        self._mark(CALM_AGAIN)
        self._go_on()
        self._mark(END)
        self._check_leaks(before)

    def _mark(self, phase: str) -> None:
        self._began[phase] = time.monotonic()

    def _go_on(self) -> None:
        self.scene.traffic.some_calls()
        sleep(self._phase)

    def _again(self) -> None:
        if self.fault.again:
            self.fault.breaks(self.scene)

    def _take_effect(self) -> None:
        effect = self.fault.effect
        if effect is not Effect.EITHER:
            shared = effect is Effect.SHARED
            what = "all workers decide together" if shared else "each worker decides alone"
            wait_until(what, lambda: {look.shared for look in self.scene.traffic.looks()} == {shared})

    def _looks(self) -> str:
        try:
            seen = [tuple(look) for look in self.scene.traffic.looks()]
            return f"{seen}, because of {sorted(set(self.scene.traffic.reasons()))}"
        except (OSError, EOFError, TimeoutError, AssertionError) as error:
            return f"{type(error).__name__}: {error}"

    def _check_leaks(self, before: dict[int, Vitals]) -> None:
        found: list[str] = []

        def gone() -> bool:
            found[:] = judging.leaks(before, self.scene.traffic.vitals(), self.scene.place.more_files)
            return not found

        try:
            wait_until("nothing leaks", gone, pause=0.2)
        except NeverError:
            self.finding.problems += found

    def _during(self, first: str, last: str) -> list[Call]:
        span = Span(first, self._began.get(first, 0.0), self._began.get(last, float("inf")))
        return [call for call in self._told.calls if span.holds(call)]

    def _judge(self) -> None:
        told, phases, problems = self._told, judging.spans(self._began), self.finding.problems
        problems += judging.unheard(told.calls, phases.values(), range(len(CREW)))
        problems += strange(told.calls)
        problems += judging.uncalm(told.calls, phases.values())
        problems += sorted(set(against_knowledge(self._judgeable())))
        problems += judging.too_late(told.calls + told.under_way, told.lates, self._bound())
        problems += judging.too_late_when_well(told.calls, told.lates, phases.values())
        longest = self.scene.place.longest_open
        if longest is not None and MENDED in phases:
            problems += judging.stuck(self._during(MENDED, SICK_AGAIN), told.lates, self._well, longest)
        problems += judging.strange_logs(told.logs, self.fault, fresh=self.fresh)

    def _bound(self) -> float:
        bound: float = self.scene.place.bound if self.fault.bound is None else self.fault.bound
        return bound

    def _judgeable(self) -> list[Call]:
        """Return the calls whose deciders' knowledge nothing but calls could change.

        A store that loses or regains a circuit, while it breaks or is mended, makes worthless what one worker
        has told of it; then only its users' own decisions are judged, and the time before and after.
        """
        calls = self._told.calls
        together = calls if self.fault.sound else self._during(CALM, BROKEN) + self._during(SICK_AGAIN, "")
        return [call for call in calls if call.alone] + [call for call in together if not call.alone]

    def _measure(self) -> None:
        finding, told = self.finding, self._told
        calm, broken = self._during(CALM, BROKEN), self._during(BROKEN, SICK_AGAIN)
        finding.usual = 1000 * statistics.median([call.delay for call in calm] or [0.0])
        delays = sorted(call.delay for call in broken) or [0.0]
        finding.median, finding.worst = 1000 * statistics.median(delays), 1000 * delays[-1]
        finding.p99 = 1000 * delays[min(len(delays) - 1, round(0.99 * len(delays)))]
        finding.alone = sum(call.alone for call in broken) / max(1, len(broken))
        finding.machine = 1000 * max((lag([late], late.start, late.end) for late in told.lates), default=0.0)
        if MENDED in self._began:
            seconds = (self._began[MENDED] - self._began[BROKEN]) * len({call.worker for call in broken})
            late = [call for call in self._during(BROKEN, MENDED) if call.delay > LATE]
            finding.late = len(late) / seconds if seconds else 0.0
