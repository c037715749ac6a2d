"""Keeps a forked child from sharing with its parent what can't be shared: locks, connections, names."""

from __future__ import annotations

import os
import threading
import weakref
from typing import Protocol, runtime_checkable


class Forkable(Protocol):
    """An object that holds something that a child must not inherit."""

    def renew_after_fork(self) -> None:
        """Replace it. Runs in the child before any other code; must not block or use I/O."""


@runtime_checkable
class ForkAware(Protocol):
    """A forkable that the parent has to make ready, too."""

    def before_fork(self) -> None:
        """Bring it into a state that may be copied."""

    def after_fork(self) -> None:
        """Go on, in the parent."""


class _Forkables:
    """All forkable objects, and those that a fork under way has found."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        #: By `id`, because users' subclasses may be equal or not hashable.
        self._known: weakref.WeakValueDictionary[int, Forkable] = weakref.WeakValueDictionary()
        self._found: list[Forkable] = []

    def add(self, forkable: Forkable) -> None:
        with self._lock:
            self._known[id(forkable)] = forkable

    def before(self) -> None:
        """Keep the lock until the fork is over, so that both hooks see the same objects."""
        self._lock.acquire()
        self._found = self._all()
        for forkable in self._found:
            if isinstance(forkable, ForkAware):
                forkable.before_fork()

    def in_parent(self) -> None:
        found, self._found = self._found, []
        for forkable in found:
            if isinstance(forkable, ForkAware):
                forkable.after_fork()
        self._lock.release()

    def in_child(self) -> None:
        found, self._found = self._found, []
        self._lock = threading.RLock()
        for forkable in found:
            forkable.renew_after_fork()

    def _all(self) -> list[Forkable]:
        while True:
            try:
                return list(self._known.values())
            except RuntimeError:  # a finalizer in this very thread has made one
                continue


_forkables = _Forkables()


def renew_after_fork(forkable: Forkable) -> None:
    """Have `forkable.renew_after_fork()` called in every child that this process forks."""
    _forkables.add(forkable)


if hasattr(os, "register_at_fork"):  # not on Windows, which doesn't fork
    os.register_at_fork(
        before=_forkables.before, after_in_parent=_forkables.in_parent, after_in_child=_forkables.in_child
    )
