"""How many retries a process may make in all: retries of an overloaded backend are what keeps it overloaded."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from pybreaker_ext import settings
from pybreaker_ext.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

#: The window moves on by this part of it.
_SLICES: Final = 10


class RetryBudget:
    """Lets retries be at most a share of the calls over a window. One for this process; for many policies and threads.

    A call counts when its first attempt has ended, unless the circuit has rejected it. A forked
    child begins anew.

    Args:
        share: Retries per call, 0 or more: 0.1 allows one retry for each ten calls.
        window: Seconds, above 0. What is older counts no more; it moves on by tenths.
        minimum: Retries that a window may have however few calls it has; 0 or more.
        clock: Returns seconds that never go back. Tests pass their own.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        share: float = 0.1,
        *,
        window: float = 10.0,
        minimum: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._share = settings.number("share", share, "a finite number, 0 or more", lambda x: 0 <= x < math.inf)
        self._slice = settings.positive_seconds("window", window) / _SLICES
        self._minimum = settings.whole_number("minimum", minimum, 0)
        self._clock = settings.needed_function("clock", clock)
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Begin anew: the lock may be held by a thread of the parent, and the counts are the parent's."""
        # Re-entrant: a signal handler may make a call while this thread counts one.
        self._lock = threading.RLock()
        #: [number of the slice, calls, retries], the oldest first.
        self._slices: deque[list[int]] = deque()

    def add_call(self) -> None:
        """Count one call."""
        with self._lock:
            self._current()[1] += 1

    def take(self) -> bool:
        """Count one retry and return True, if one more is allowed."""
        with self._lock:
            current = self._current()
            calls, retries = (sum(counts[kind] for counts in self._slices) for kind in (1, 2))
            # What floats lose: 100 * 0.29 is a bit less than 29.
            if retries + 1 > max(self._minimum, calls * self._share + 1e-9):
                return False
            current[2] += 1
            return True

    def _current(self) -> list[int]:
        """Return the slice of now, and forget those that are over."""
        now = int(self._clock() / self._slice)
        while self._slices and self._slices[0][0] <= now - _SLICES:
            self._slices.popleft()
        if not self._slices or self._slices[-1][0] < now:
            self._slices.append([now, 0, 0])
        return self._slices[-1]
