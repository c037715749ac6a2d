"""A clock that stands still until a test advances it."""

from __future__ import annotations

from pybreaker_ext import settings

#: In January 2027, so that instants look like instants.
BEGINNING = 1_800_000_000.0


class Clock:
    """Returns seconds, and goes on only by `advance`. For `CircuitMemoryStorage(clock=...)`, too."""

    def __init__(self) -> None:
        self._now = BEGINNING

    def __call__(self) -> float:
        """Return the present moment, in seconds."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds, 0 or more.

        Raises:
            TypeError: `seconds` is no number.
            ValueError: `seconds` is negative, infinite or not a number.
        """
        # In microseconds, which is what circuits count: sums of fractions must not fall short of a deadline.
        self._now = round(self._now * 1e6 + settings.seconds("seconds", seconds) * 1e6) / 1e6
