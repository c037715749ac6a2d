"""The story of each fault: calm, the store breaks, the backend too, all is mended, once more, calm."""

from __future__ import annotations

import re
import statistics
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

from faults.calls import OK, against_knowledge, strange
from faults.fault import Effect, Finding
from faults.patience import NeverError, sleep, wait_until

if TYPE_CHECKING:
    from faults.calls import Call
    from faults.fault import Fault, Scene
    from faults.worker import Vitals

#: Seconds that each phase lasts at least.
PHASE: Final = 0.3
#: Seconds that a busy machine may add to any call.
SLACK: Final = 5.0
#: Seconds from which a call counts as late.
LATE: Final = 0.05
MORE_THREADS: Final = 1
#: Commands that are under way in tasks of their own.
MORE_TASKS: Final = 2

AWAY_LINE: Final = re.compile("store is away")
BACK_LINE: Final = re.compile("store is back")


class Story:
    """One round as it goes.

    Args:
        scene: Where, with traffic that runs.
        fault: What happens.
        slack: Seconds that the machine may add to any call.
        phase: Seconds that each phase lasts at least.
    """

    def __init__(self, scene: Scene, fault: Fault, slack: float = SLACK, phase: float = PHASE) -> None:
        self.scene = scene
        self.fault = fault
        self.finding = Finding(fault.title)
        #: Whether the workers had not lived through other rounds: what is logged once was not logged then.
        self.fresh = True
        self._slack = slack
        self._phase = phase
        self._began: dict[str, float] = {}
        self._calls: list[Call] = []
        self._heard: Counter[tuple[int, str]] = Counter()

    def tell(self) -> Finding:
        try:
            self._happen()
        except NeverError as error:
            self.finding.problems.append(f"{error} (in the phase {list(self._began)[-1]!r}: {self._looks()})")
        self._gather()
        self._judge()
        return self.finding

    def _happen(self) -> None:
        traffic = self.scene.traffic
        self._mark("calm")
        traffic.closes()
        self._go_on()
        before = traffic.vitals()
        self._mark("broken")
        self.fault.breaks(self.scene)
        self._go_on()
        self._mark("sick")
        traffic.board.sick = True
        self._again()
        traffic.rejections()
        self._go_on()
        self._take_effect()
        self._mark("mended")
        self._again()
        traffic.board.sick = False
        self.fault.mends(self.scene)
        traffic.closes()
        self.finding.healed = time.monotonic() - self._began["mended"]
        self._mark("sick again")
        traffic.board.sick = True
        traffic.rejections()
        traffic.board.sick = False
        traffic.closes()
        wait_until("a newcomer sees the same closed circuit as all workers", traffic.is_one_circuit)
        self._mark("calm again")
        self._go_on()
        self._mark("end")
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
        traffic, found = self.scene.traffic, {}
        more_files = self.scene.place.more_files

        def gone() -> bool:
            found.update(traffic.vitals())
            return not any(
                more(before[number], after, more_files) for number, after in found.items() if number in before
            )

        try:
            wait_until("nothing leaks", gone, pause=0.2)
        except NeverError:
            for number, after in found.items():
                if number in before and more(before[number], after, more_files):
                    self.finding.problems.append(f"worker {number} had {before[number]}, and now {after}")

    def _gather(self) -> None:
        self._calls, heard = self.scene.traffic.collect()
        for number, lines in heard.items():
            self._heard.update((number, line) for line in lines)
        self.finding.calls = len(self._calls)

    def _during(self, first: str, last: str) -> list[Call]:
        start, end = self._began.get(first, 0.0), self._began.get(last, float("inf"))
        return [call for call in self._calls if start <= call.began and call.ended < end]

    def _judge(self) -> None:
        problems = self.finding.problems
        problems += strange(self._calls)
        for phase, after in (("calm", "broken"), ("calm again", "end")):
            found = {call.verdict for call in self._during(phase, after)} if phase in self._began else {OK}
            if found - {OK}:
                problems.append(f"in the phase {phase!r} calls were {', '.join(sorted(found - {OK}))}")
        problems += sorted(set(against_knowledge(self._judgeable())))
        self._judge_times()
        self._judge_log()

    def _judgeable(self) -> list[Call]:
        """Return the calls whose deciders' knowledge nothing but calls could change."""
        together = self._calls if self.fault.sound else self._during("calm", "broken") + self._during("sick again", "")
        return [call for call in self._calls if call.alone] + [call for call in together if not call.alone]

    def _judge_times(self) -> None:
        finding = self.finding
        calm, broken = self._during("calm", "broken"), self._during("broken", "sick again")
        finding.usual = 1000 * statistics.median([call.delay for call in calm] or [0.0])
        delays = sorted(call.delay for call in broken) or [0.0]
        finding.median, finding.worst = 1000 * statistics.median(delays), 1000 * delays[-1]
        finding.p99 = 1000 * delays[min(len(delays) - 1, round(0.99 * len(delays)))]
        finding.alone = sum(call.alone for call in broken) / max(1, len(broken))
        if "mended" in self._began:
            spans = (self._began["mended"] - self._began["broken"]) * len({call.worker for call in broken})
            late = [call for call in self._during("broken", "mended") if call.delay > LATE]
            finding.late = len(late) / spans if spans else 0.0
        bound = self.fault.bound if self.fault.bound is not None else self.scene.place.bound
        slowest = max((call.delay for call in self._calls), default=0.0)
        if slowest > bound + self._slack:
            finding.problems.append(f"a call was {slowest:.1f} s late, and {bound} s is allowed")

    def _judge_log(self) -> None:
        told: dict[int, list[str]] = {}
        for (number, line), count in self._heard.items():
            told.setdefault(number, []).extend([line] * count)
        for number, lines in told.items():
            away, back = (sum(bool(one.search(line)) for line in lines) for one in (AWAY_LINE, BACK_LINE))
            usual = (0, 1) if self.fresh else (-1, 0, 1)
            if away - back not in usual:
                self.finding.problems.append(f"worker {number} logged {away} times that the store is away, {back} back")
            says = [line for line in lines if self.fault.says and re.search(self.fault.says, line)]
            allowed = [AWAY_LINE, BACK_LINE, *([re.compile(self.fault.allows)] if self.fault.allows else [])]
            others = [line for line in lines if line not in says and not any(one.search(line) for one in allowed)]
            self.finding.problems += [f"worker {number} logged: {line}" for line in sorted(set(others))]
            if len(says) != len(set(says)):
                self.finding.problems.append(f"worker {number} logged more than once: {says[0]}")
        if self.fault.says and self.fresh and not any(re.search(self.fault.says, line) for _, line in self._heard):
            self.finding.problems.append(
                f"nobody logged {self.fault.says!r}, but {sorted({li for _, li in self._heard})}"
            )
        if self.fault.effect is Effect.AWAY and not any(AWAY_LINE.search(line) for _, line in self._heard):
            self.finding.problems.append("nobody logged that the store is away")


def more(before: Vitals, after: Vitals, more_files: int) -> bool:
    """Tell whether a process uses more than it may."""
    return (
        after.threads > before.threads + MORE_THREADS
        or after.tasks > before.tasks + MORE_TASKS
        or after.files > before.files + more_files
        or after.children > before.children
    )
