"""The cases of single calls, and who takes part in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from benchmarks import contestants as ours
from benchmarks import peers
from benchmarks.contestants import FAILURE, KINDS, PROBE, REJECTION, SUCCESS, Contestant, Wanted
from benchmarks.results import Calls
from benchmarks.timing import Timer, in_turns

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.effort import Effort
    from benchmarks.stage import Stage

#: Those whose figures are divided by each other stand together, so that their turns follow each other.
EVERYBODY: Final = (
    ours.BARE,
    ours.OURS_IN_MEMORY,
    ours.PYBREAKER,
    ours.OURS_ON_REDIS,
    peers.CIRCUITBREAKER,
    ours.OURS_ON_SQLITE,
    peers.AIOBREAKER,
    peers.PURGATORY,
    peers.INTERLOCK,
    peers.INTERLOCK_ON_REDIS,
    ours.ONE_GET,
    ours.OURS_STRICT,
    ours.PYBREAKER_ON_REDIS,
    ours.OURS_ON_SQLITE_STRICT,
    peers.PURGATORY_ON_REDIS,
)


@dataclass(frozen=True)
class Case:
    wanted: Wanted

    @property
    def name(self) -> str:
        colour = "asyncio" if self.wanted.in_loop else "plain"
        number = self.wanted.listeners
        told = "" if number == 0 else f", {number} listener{'s' if number > 1 else ''}"
        return f"{self.wanted.kind}, {colour}{told}"

    def run(self, stage: Stage, effort: Effort) -> list[Calls]:
        """Let everybody who can take turns; in-process ones first, round trips after them."""
        able = [contestant for contestant in EVERYBODY if contestant.can(self.wanted)]
        quick = self._group([one for one in able if not one.round_trip], stage, effort.rounds, effort.turn)
        slow = self._group([one for one in able if one.round_trip], stage, effort.trip_rounds, effort.trip_turn)
        return quick + slow

    def _group(self, group: Iterable[Contestant], stage: Stage, rounds: int, turn: float) -> list[Calls]:
        subjects = [(one, one.make(self.wanted, stage)) for one in group]
        timers = {f"{one.library} {one.store}": Timer(subject, self.wanted, stage.runner) for one, subject in subjects}
        try:
            self._check(timers)
            samples = in_turns(timers, rounds, round(turn * 1e9))
            self._check(timers)
        finally:
            stage.clear()
        taken = zip(subjects, samples.values(), strict=True)
        return [Calls(self.name, one.library, one.store, values) for (one, _), values in taken]

    def _check(self, timers: dict[str, Timer]) -> None:
        """Everybody does what the case is about, before and after the timing."""
        for name, timer in timers.items():
            error = timer.once()
            if not right(self.wanted.kind, error, bare=name.startswith("bare")):
                raise RuntimeError(f"{name} doesn't do a {self.name}: {error!r}")


def right(kind: str, error: BaseException | None, *, bare: bool) -> bool:
    """Tell whether a call of that kind may end like that."""
    failed = type(error).__name__ == "FailureError"
    if kind == FAILURE:
        return failed
    if kind == REJECTION and not bare:
        return error is not None and not failed
    return error is None


CASES: Final = (
    *(Case(Wanted(kind, in_loop)) for in_loop in (False, True) for kind in KINDS),
    *(Case(Wanted(SUCCESS, in_loop, listeners)) for in_loop in (False, True) for listeners in (1, 3)),
)
assert {SUCCESS, FAILURE, REJECTION, PROBE} == set(KINDS)
