"""Worker processes on one Redis circuit: calls per second, how long calls take, failures that got lost."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import fleet

from benchmarks import fleet_tasks, lost, results
from benchmarks.contestants import DEFAULT
from benchmarks.fleet_tasks import STEP, Circuit, Tally

if TYPE_CHECKING:
    from benchmarks.effort import Effort
    from benchmarks.stage import Stage

SIZES: Final = (1, 4, 16)
SHARES: Final = (0.0, 0.1, 1.0)
#: Library, store, `max_staleness`.
CONTESTANTS: Final = (
    ("pybreaker_ext", "Redis, default", DEFAULT),
    ("pybreaker", "Redis", None),
    ("pybreaker_ext", "Redis, strict", 0.0),
)


def quantile(latencies: Counter[int], share: float) -> float:
    """Return the nanoseconds that this share of the calls did not exceed."""
    wanted = latencies.total() * share
    seen = 0
    for step in sorted(latencies):
        seen += latencies[step]
        if seen >= wanted:
            return (step + 0.5) * STEP
    raise ValueError("no latencies")


@dataclass(frozen=True)
class ProcessesCase:
    size: int
    failing: float

    @property
    def name(self) -> str:
        plural = "es" if self.size > 1 else ""
        return f"{self.size} process{plural}, {self.failing:.0%} failing".replace("%", " %")

    def run(self, stage: Stage, effort: Effort) -> list[results.Fleet]:
        """Let the contestants take turns with the same workers."""
        with fleet.fleet_of(self.size) as workers:
            if workers.one(fleet_tasks.package) != fleet_tasks.package():
                raise RuntimeError("the workers have another pybreaker_ext; run this from the clone's own directory")
            turns = [_Turns(self, circuit, stage, workers) for circuit in CONTESTANTS]
            try:
                for _ in range(effort.fleet_rounds):
                    for turn in turns:
                        turn.take(effort.fleet_turn)
                return [turn.result(effort.traced_calls) for turn in turns]
            except BaseException:
                for worker in workers.workers:
                    worker.kill()  # broken off: nobody reads their answers any more
                raise


class _Turns:
    """What one contestant does in one case."""

    def __init__(
        self,
        case: ProcessesCase,
        contestant: tuple[str, str, float | None],
        stage: Stage,
        workers: fleet.Fleet,
    ) -> None:
        self._case = case
        self._library, self._store, self._staleness = contestant
        self._stage = stage
        self._workers = workers
        self._rates: list[float] = []
        self._p50: list[float] = []
        self._p99: list[float] = []
        self._failures = 0
        self._lost = 0

    def take(self, seconds: float) -> None:
        circuit = self._circuit()
        seeds = list(range(self._case.size))
        tallies: list[Tally] = self._workers.at_once(
            fleet_tasks.for_a_while, circuit, self._case.failing, seeds, seconds
        )
        self._rates.append(sum(tally.calls / tally.seconds for tally in tallies))
        latencies: Counter[int] = sum((tally.latencies for tally in tallies), Counter())
        self._p50.append(quantile(latencies, 0.5))
        self._p99.append(quantile(latencies, 0.99))
        if self._case.failing == 1:
            counted = int(self._stage.client.get(self._counter(circuit)) or 0)
            self._count(tallies, counted)

    def result(self, traced_calls: int) -> results.Fleet:
        case = self._case
        if 0 < case.failing < 1:
            self._trace(traced_calls)
        failures, gone = (self._failures, self._lost) if case.failing else (None, None)
        return results.Fleet(
            *(case.name, self._library, self._store, case.size, case.failing),
            *(self._rates, self._p50, self._p99, failures, gone),
        )

    def _trace(self, calls: int) -> None:
        circuit = self._circuit()
        seeds = list(range(100, 100 + self._case.size))
        tallies, commands = lost.traced(
            self._stage.client,
            lambda: self._workers.at_once(fleet_tasks.so_often, circuit, self._case.failing, seeds, calls),
        )
        self._count(tallies, lost.raised(commands, self._counter(circuit)))

    def _count(self, tallies: list[Tally], counted: int) -> None:
        failures = sum(tally.failures for tally in tallies)
        self._failures += failures
        self._lost += failures - counted

    def _circuit(self) -> Circuit:
        return Circuit(self._stage.server.url, self._stage.name(), self._staleness)

    @staticmethod
    def _counter(circuit: Circuit) -> str:
        return f"{circuit.namespace}:pybreaker:fail_counter"


PROCESSES: Final = tuple(ProcessesCase(size, failing) for size in SIZES for failing in SHARES)
