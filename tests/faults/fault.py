"""What a fault is, and what was found when it happened."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

    from faults.traffic import Traffic


class Effect(Enum):
    """What a fault does to the store, as its users see it."""

    #: Each process must decide alone until it is mended.
    AWAY = "away"
    #: All keep deciding together.
    SHARED = "shared"
    #: One or the other, by chance or by turns.
    EITHER = "either"


@dataclass
class Scene:
    """Where a fault happens."""

    place: Any
    traffic: Traffic
    #: What `breaks` wants to be remembered for `mends`.
    notes: dict[str, Any] = field(default_factory=dict)


def nothing(_scene: Scene) -> None:
    """Do nothing."""


@dataclass(frozen=True)
class Fault:
    """One thing that breaks.

    Args:
        name: What happens.
        kind: The place where it does.
        breaks: Makes it happen. An `again` fault happens again and again.
        mends: Ends it.
        prepares: Is done before the traffic begins.
        effect: What that does to the store.
        again: Whether it is over in a moment, and so happens in each phase of the round: while the
            circuit is closed, while it is open, and while it is probed.
        quick: Whether the tests try it, too.
        lasting: Whether the place stays usable for other faults.
        says: What each worker's log must tell, once.
        allows: What may be logged besides, and isn't ours.
        sound: Whether the store loses nothing, so that what one worker knows of it holds for all.
        bound: Seconds by which it may delay a call; None: as the place.
        impossible: Returns why this machine can't do it, or nothing.
    """

    name: str
    kind: str
    breaks: Callable[[Scene], None]
    mends: Callable[[Scene], None] = nothing
    prepares: Callable[[Scene], None] = nothing
    effect: Effect = Effect.AWAY
    again: bool = False
    quick: bool = True
    lasting: bool = True
    says: str = ""
    allows: str = ""
    sound: bool = False
    bound: float | None = None
    impossible: Callable[[], str] = str

    @property
    def title(self) -> str:
        return f"{self.kind}: {self.name}"


@dataclass
class Finding:
    """What a round with a fault has shown. Times in milliseconds, of what a call takes beyond its function."""

    title: str
    problems: list[str] = field(default_factory=list)
    calls: int = 0
    #: Calls that began before the fault, and the delay of half of them.
    usual: float = 0.0
    median: float = 0.0
    p99: float = 0.0
    worst: float = 0.0
    #: Calls of each process in a second that were late by more than 50 ms.
    late: float = 0.0
    #: The share of calls, while it was broken, that a process decided alone.
    alone: float = 0.0
    #: Seconds from the mending until the circuit was closed and shared in all workers.
    healed: float = 0.0
    #: By how much a worker itself was late at most, because it had no processor or was stopped.
    machine: float = 0.0
    #: Whether decisions that workers made together were judged while it was broken, too: see `Fault`.
    sound: bool = True
    skipped: str = ""
