"""What happens to the clock by which a store keeps open times and leases; `clocks.py` imitates it."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

from faults import board
from faults.clocks import AHEAD
from faults.fault import Effect, Fault, Scene
from faults.patience import wait_until
from faults.places import REDIS_CLOCK, SQLITE_CLOCK
from faults.worker_faults import LOOPING, THREADED, open_circuit

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR: Final = 3_600


def turn(seconds: int) -> Callable[[Scene], None]:
    """Return what puts the clock so far ahead of the right time."""

    def set_it(scene: Scene) -> None:
        text = str(seconds * 1_000_000)
        if scene.place.storage == "turned_redis":
            with scene.place.admin() as admin:
                admin.set(AHEAD, text)
        else:
            new = scene.place.path.with_name("new")
            new.write_text(text)
            new.replace(scene.place.path.with_name(AHEAD))

    return set_it


def lose_probe_in_the_future(scene: Scene) -> None:
    """A probe's process dies while the clock is an hour ahead; the lease ends in an hour."""
    turn(HOUR)(scene)
    open_circuit(scene)
    for number in (THREADED, LOOPING):
        scene.traffic.board.order(number, board.EXIT)
    is_dead = scene.traffic.is_dead
    wait_until("a probe ends its process", lambda: is_dead(THREADED) or is_dead(LOOPING))
    turn(0)(scene)
    for number in (THREADED, LOOPING):
        scene.traffic.board.order(number, 0)
        if is_dead(number):
            scene.traffic.kill(number)
            scene.traffic.start(number)


once: Any = functools.partial(Fault, effect=Effect.SHARED, lasting=False)


def faults_of(kind: str, *, quick: bool) -> tuple[Fault, ...]:
    return (
        once("an hour ahead, and back", kind=kind, breaks=turn(HOUR), mends=turn(0), quick=quick),
        once("an hour back, and ahead again", kind=kind, breaks=turn(-HOUR), mends=turn(0), quick=not quick),
        once("back by an hour while a dead probe has a lease", kind=kind, breaks=lose_probe_in_the_future, quick=quick),
    )


FAULTS = (*faults_of(REDIS_CLOCK, quick=True), *faults_of(SQLITE_CLOCK, quick=False))
