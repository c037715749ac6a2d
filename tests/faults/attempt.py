"""One call on its way: what the backend did, and what the caller got."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import TYPE_CHECKING, Final

import pybreaker_ext
from faults import board, calls
from faults.calls import Call
from faults.notes import BEGAN, ENDED, RAN

if TYPE_CHECKING:
    from collections.abc import Callable

#: Seconds that the backend takes.
BACKEND_TIME: Final = 0.001
#: Seconds that it takes when nobody shall see its end.
LINGERING: Final = 3600.0


class BackendError(Exception):
    pass


class Attempt:
    """One call.

    Args:
        shared: Tells whether the backend is sick.
        worker: Who calls.
        epoch: Returns who decides now (see `storage/outage.py`).
        note: Is told at once what happens, so that it is known of a process that is killed in its call.
    """

    def __init__(self, shared: board.Board, worker: int, epoch: Callable[[], int], note: Callable[..., object]) -> None:
        self._board = shared
        self._worker = worker
        self._epoch = epoch
        self._note = note
        self._result = object()
        self._error: BackendError | None = None
        self._ran = self._left = 0.0
        self._before = epoch()
        note(BEGAN, time.monotonic(), self._before)
        self._began = time.monotonic()

    def backend(self) -> object:
        time.sleep(self._begin())
        return self._answer()

    async def backend_async(self) -> object:
        await asyncio.sleep(self._begin())
        return self._answer()

    def _begin(self) -> float:
        """Return the seconds that the backend takes."""
        self._ran = time.monotonic()
        self._note(RAN, self._ran, self._epoch())
        order = self._board.take_order(self._worker)
        if order == board.EXIT:
            os._exit(1)
        elif order == board.STOP:
            os.kill(os.getpid(), signal.SIGSTOP)
        return LINGERING if order == board.LINGER else BACKEND_TIME

    def _answer(self) -> object:
        self._left = time.monotonic()
        if self._board.sick:
            self._error = BackendError()
            raise self._error
        return self._result

    def returned(self, found: object) -> str:
        return calls.OK if found is self._result and self._left else calls.LOST

    def raised(self, error: BaseException) -> str:
        if isinstance(error, pybreaker_ext.CircuitBreakerError):
            if not self._ran:
                return calls.REJECTED
            return calls.TRIPPED if self._error and error.__cause__ is self._error else calls.LOST
        return calls.FAILED if error is self._error else f"{type(error).__name__}: {error}"

    def end(self, verdict: str, error: BaseException | None) -> None:
        """Note all of it."""
        ended = time.monotonic()
        inside = self._left - self._ran if self._ran else 0.0
        open_for = 0.0
        if verdict == calls.REJECTED and getattr(error, "state", "") == "open":
            open_for = getattr(error, "retry_after", 0.0)
        delay = ended - self._began - inside
        epochs = (self._before, self._epoch())
        self._note(ENDED, *Call(self._worker, self._began, self._ran, ended, delay, verdict, open_for, epochs))
