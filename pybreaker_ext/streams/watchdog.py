"""Ends the waits of threads that have lasted too long. One thread for all of them, while there are any."""

from __future__ import annotations

import contextlib
import math
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from pybreaker_ext.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable


class Watch:
    """One thread's waits, one after the other.

    Args:
        dog: Who looks after it.
        cut: Ends a wait; called from another thread.
    """

    def __init__(self, dog: Watchdog, cut: Callable[[], None]) -> None:
        self._dog = dog
        self.cut = cut
        self.until = math.inf
        self.is_over = False

    def begin(self, limit: float) -> None:
        """Begin a wait of at most `limit` seconds."""
        self._dog.watch(self, time.monotonic() + limit)

    def end(self) -> bool:
        """End the wait, and tell whether it had lasted too long."""
        self._dog.rest(self)
        return self.is_over

    def leave(self) -> None:
        """Look no longer."""
        self._dog.forget(self)


class Watchdog:
    """The thread that looks at the clock."""

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Forget the parent's threads."""
        self._changed = threading.Condition(threading.RLock())
        self._watches: set[Watch] = set()
        self._thread: threading.Thread | None = None
        #: When the thread looks at the clock next, if nobody wakes it.
        self._next_look = math.inf

    def watch(self, watch: Watch, until: float) -> None:
        """Note until when a wait may last that has begun."""
        if sys.is_finalizing():  # the thread may have been stopped with the lock in its hands
            return
        with self._changed:
            watch.until = until
            self._watches.add(watch)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="pybreaker_ext streams", daemon=True)
                thread.start()  # which may fail; it waits for the lock first
                self._thread = thread
            elif until < self._next_look:  # mostly a wait that begins later ends later
                self._changed.notify()

    def rest(self, watch: Watch) -> None:
        """Note that a wait has ended. The thread finds out when it would have lasted too long."""
        if sys.is_finalizing():
            return
        with self._changed:
            watch.until = math.inf

    def forget(self, watch: Watch) -> None:
        """Look no longer after a watch."""
        if sys.is_finalizing():
            return
        with self._changed:
            self._watches.discard(watch)
            if not self._watches:
                self._changed.notify()

    def _run(self) -> None:
        changed, watches = self._changed, self._watches  # copied where they are looked at: a finalizer may forget one
        with changed:
            while watches:
                now = time.monotonic()
                for watch in [watch for watch in list(watches) if watch.until <= now]:
                    watch.until, watch.is_over = math.inf, True
                    with contextlib.suppress(Exception):  # the connection is gone already
                        watch.cut()
                self._next_look = min((watch.until for watch in list(watches)), default=math.inf)
                changed.wait(min(self._next_look - now, threading.TIMEOUT_MAX))
            self._thread = None


watchdog: Final = Watchdog()
