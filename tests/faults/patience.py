"""Waiting for what must come, until somebody presses Ctrl-C."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds after which what must come hasn't. Long: the machine may be busy.
PATIENCE: Final = 45.0

#: Set when all that runs shall end.
interrupted: Final = threading.Event()


class InterruptedRoundError(Exception):
    """Somebody pressed Ctrl-C."""


class NeverError(Exception):
    """What had to come didn't."""


def wait_until(what: str, holds: Callable[[], object], pause: float = 0.02) -> None:
    """Wait until it holds.

    Raises:
        NeverError: It doesn't, for a long time.
        InterruptedRoundError: All shall end.
    """
    deadline = time.monotonic() + PATIENCE
    while not holds():
        if time.monotonic() > deadline:
            raise NeverError(f"in {PATIENCE:.0f} s it was never true that {what}")
        sleep(pause)


def sleep(seconds: float) -> None:
    """Let the traffic go on for so long.

    Raises:
        InterruptedRoundError: All shall end.
    """
    if interrupted.wait(seconds):
        raise InterruptedRoundError
