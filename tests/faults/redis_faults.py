"""What happens to one Redis server."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING


from faults.fault import Effect, Fault, Scene
from faults.places import REDIS

if TYPE_CHECKING:
    from collections.abc import Callable


def command(*words: str | int) -> Callable[[Scene], None]:
    """Return what sends the server a command."""

    def send(scene: Scene) -> None:
        with scene.place.admin() as admin:
            admin.execute_command(*words)

    return send


def kill(scene: Scene) -> None:
    scene.place.server.kill()


def start(scene: Scene) -> None:
    scene.place.server.start()


def pause(scene: Scene) -> None:
    scene.place.server.pause()


def resume(scene: Scene) -> None:
    scene.place.server.resume()


once = functools.partial(Fault, kind=REDIS)

FAULTS = (
    once("killed with SIGKILL, restarted empty", breaks=kill, mends=start),
    once("stopped with SIGSTOP", breaks=pause, mends=resume),
    once("FLUSHALL", breaks=command("FLUSHALL"), effect=Effect.SHARED, again=True),
)
