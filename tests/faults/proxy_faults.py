"""What happens on the way to a Redis server."""

from __future__ import annotations

import functools
import itertools
import random
from typing import TYPE_CHECKING, Any

from faults.fault import Effect, Fault, Scene
from faults.places import PROXIED

if TYPE_CHECKING:
    from collections.abc import Callable


def each_tenth(of_it: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Return what lets through nine answers, and of the tenth what `of_it` returns."""
    number = itertools.count(1)
    return lambda answer: of_it(answer) if next(number) % 10 == 0 else answer


def lose(_answer: bytes) -> bytes:
    return b""


def cut(answer: bytes) -> bytes:
    return answer[: len(answer) // 2]


def answers(of_it: Callable[[bytes], bytes]) -> Callable[[Scene], None]:
    def set_it(scene: Scene) -> None:
        scene.place.proxy.passes = each_tenth(of_it)

    return set_it


def late(delay: float | Callable[[], float]) -> Callable[[Scene], None]:
    def set_it(scene: Scene) -> None:
        scene.place.proxy.delay = delay

    return set_it


def well(scene: Scene) -> None:
    scene.place.proxy.passes, scene.place.proxy.delay = bytes, 0.0


once: Any = functools.partial(Fault, kind=PROXIED, mends=well)

FAULTS = (
    once("answers are late by 150 ms", breaks=late(0.15), effect=Effect.SHARED, sound=True, quick=False),
    once(
        "answers are late by 0 to 500 ms",
        breaks=late(functools.partial(random.uniform, 0, 0.5)),
        effect=Effect.EITHER,
        sound=True,
    ),
    once("each tenth answer is lost after its command was executed", breaks=answers(lose), effect=Effect.EITHER),
    once("each tenth answer is cut in its middle", breaks=answers(cut), effect=Effect.EITHER, quick=False),
)
