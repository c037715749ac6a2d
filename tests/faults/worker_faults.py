"""What happens to worker processes. The store is well all the time, so what one of them knows holds for all."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from faults import board, children, worker
from faults.fault import Effect, Fault, Scene
from faults.patience import NeverError, sleep, wait_until
from faults.places import REDIS, SQLITE
from faults.worker import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: Seconds: longer than the lease of a probe.
LEASE = 1.5 * SETTINGS["probe_timeout"]
#: Seconds that interpreters which start may take from calls, on a small machine.
STARTING = 2.0
#: Seconds for which a listener blocks.
BLOCKED = 1.0
#: The worker that things happen to: of threads, without a view of its own. Another one is of asyncio.
THREADED, LOOPING = 0, 1


def kill_and_replace(scene: Scene) -> None:
    for number in (THREADED, LOOPING):
        scene.traffic.kill(number)
        scene.traffic.start(number)


def kill_all_and_replace(scene: Scene) -> None:
    """No process is left that knows anything; of SQLite's file, its log is left behind."""
    for number in list(scene.traffic.present):
        scene.traffic.kill(number)
    if scene.place.url.startswith("sqlite") and not log_of(scene.place.path):
        raise NeverError("there was a log that nobody had written into its file")
    scene.traffic.start_all()


def log_of(path: Path) -> int:
    """Return the bytes in the write-ahead log of an SQLite file."""
    log = path.with_name(path.name + "-wal")
    return log.stat().st_size if log.exists() else 0


def stop_for_a_lease(scene: Scene) -> None:
    for number in (THREADED, LOOPING):
        scene.traffic.pause(number)
    sleep(LEASE)
    for number in (THREADED, LOOPING):
        scene.traffic.resume(number)


def open_circuit(scene: Scene) -> None:
    scene.traffic.board.sick = True
    scene.traffic.rejections()


def mend_backend(scene: Scene) -> None:
    scene.traffic.board.sick = False


def close_circuit(scene: Scene) -> None:
    mend_backend(scene)
    scene.traffic.closes()


def exit_in_probe(scene: Scene) -> None:
    """The circuit is open, so the next function that runs is a probe's; its process ends in it."""
    open_circuit(scene)
    for number in (THREADED, LOOPING):
        scene.traffic.board.order(number, board.EXIT)
        wait_until("a probe ends its process", functools.partial(scene.traffic.is_dead, number))
        scene.traffic.kill(number)
    scene.traffic.rejections()
    for number in (THREADED, LOOPING):
        scene.traffic.start(number)


def stop_in_probe(scene: Scene) -> None:
    """A probe's process stops for longer than its lease; then it goes on, and reports."""
    open_circuit(scene)
    for number in (THREADED, LOOPING):
        scene.traffic.board.order(number, board.STOP)
        wait_until("a probe stops its process", functools.partial(scene.traffic.is_stopped, number))
        scene.traffic.absent.add(number)
        sleep(LEASE)
        scene.traffic.resume(number)


def have_children(scene: Scene) -> None:
    """Two workers, who know an open circuit, have children at the same time."""
    open_circuit(scene)
    let_both(scene, children.have_children, board.REJECTIONS)


def have_leaving_children(scene: Scene) -> None:
    """Calls end with their interpreter in a closed circuit, and probes in one that is open."""
    let_both(scene, children.have_leaving_child, board.CALLS)
    open_circuit(scene)
    let_both(scene, children.have_leaving_child, board.REJECTIONS)


def let_both(scene: Scene, function: Callable[..., None], *args: Any) -> None:
    asked = [scene.traffic.processes[number] for number in (THREADED, LOOPING)]
    for process in asked:
        process.send(function, *args)
    for process in asked:
        process.answer()


def block_listener(scene: Scene) -> None:
    for number in (THREADED, LOOPING):
        scene.traffic.ask(number, worker.listen, BLOCKED)


def unblock_listener(scene: Scene) -> None:
    for number in (THREADED, LOOPING):
        scene.traffic.ask(number, worker.listen_no_more)


once: Any = functools.partial(Fault, effect=Effect.SHARED, sound=True, lasting=True)


def faults_of(kind: str, *, quick: bool) -> tuple[Fault, ...]:
    return (
        once("two workers are killed, and replaced", kind=kind, breaks=kill_and_replace, again=True, quick=quick),
        once(
            "all workers are killed, and replaced", kind=kind, breaks=kill_all_and_replace, again=True, quick=not quick
        ),
        once(
            "two workers are stopped for longer than a lease",
            kind=kind,
            breaks=stop_for_a_lease,
            bound=LEASE,
            quick=not quick,
        ),
        once("os._exit in a probe", kind=kind, breaks=exit_in_probe, quick=quick),
        once(
            "a probe's process stops for longer than its lease",
            kind=kind,
            breaks=stop_in_probe,
            bound=LEASE,
            quick=quick,
        ),
        once(
            "two workers have children by fork, forkserver and spawn",
            kind=kind,
            breaks=have_children,
            bound=STARTING,
            allows="multi-threaded, use of fork",  # Python 3.12 and later warn of it
            quick=quick,
        ),
        once(
            "two workers' children leave the interpreter while they call",
            kind=kind,
            breaks=have_leaving_children,
            bound=STARTING,
            quick=not quick,
        ),
        once(
            "a listener of two workers blocks for a second",
            kind=kind,
            breaks=block_listener,
            mends=unblock_listener,
            bound=20 * BLOCKED,
            quick=not quick,
        ),
    )


FAULTS = (*faults_of(REDIS, quick=True), *faults_of(SQLITE, quick=False))
