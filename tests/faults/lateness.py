"""By how much the machine itself is late: a thread in each worker that only sleeps, and notes what it missed.

It wakes late when there is no processor for it, or another thread holds the interpreter, or the process is stopped;
and Linux tells for how long each thread could run and had to wait. Neither grows because a store makes a call wait,
or because something blocks an event loop. So this is what of a call's delay is the machine's, and no more than that.
"""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterable

#: Seconds that the thread sleeps.
NAP: Final = 0.02
#: Seconds before and after a call in which the machine's lateness is taken for the call's.
AROUND: Final = 0.1
THREADS: Final = "/proc/self/task"


class Late(NamedTuple):
    """The machine was late. Instants as in `Call`."""

    worker: int
    start: float
    end: float
    #: How long of that.
    seconds: float


def watch(stopping: threading.Event, note: Callable[[float, float, float], object]) -> None:
    """Sleep again and again, and note each time what was missed: from when to when, and how many seconds."""
    end, waited = time.monotonic(), waited_for_processors()
    while not stopping.is_set():
        start, before = end, waited
        time.sleep(NAP)  # by how much this is late is what is measured
        end, waited = time.monotonic(), waited_for_processors()
        note(start, end, max(0.0, end - start - NAP) + max(0.0, waited - before))


def waited_for_processors() -> float:
    """Return for how many seconds threads of this process could have run, and had to wait; 0.0 if nobody counts.

    The time of a thread that has ended is gone; that one isn't made up for.
    """
    total = 0
    with contextlib.suppress(OSError):
        for thread in os.listdir(THREADS):  # noqa: PTH208  often
            with contextlib.suppress(OSError), open(f"{THREADS}/{thread}/schedstat", "rb") as file:  # noqa: PTH123  as often
                total += int(file.read().split()[1])
    return total / 1e9


def lag(lates: Iterable[Late], start: float, end: float) -> float:
    """Return for how many seconds of such a span, and of what is around it, the machine was late."""
    seen = ((min(one.end, end + AROUND) - max(one.start, start - AROUND), one.seconds) for one in lates)
    return sum(max(0.0, min(overlap, seconds)) for overlap, seconds in seen)
