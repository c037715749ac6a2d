"""Renews, in a forked child, what must not be shared with the parent: locks, connections, names."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """An object that holds something that a child must not inherit."""

    def renew_after_fork(self) -> None:
        """Replace it. Runs in the child before any other code; must not block or use I/O."""


_forkables: weakref.WeakSet[Forkable] = weakref.WeakSet()


def renew_after_fork(forkable: Forkable) -> None:
    """Have `forkable.renew_after_fork()` called in every child that this process forks."""
    _forkables.add(forkable)


def _in_child() -> None:
    for forkable in list(_forkables):
        forkable.renew_after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which doesn't fork
    os.register_at_fork(after_in_child=_in_child)
