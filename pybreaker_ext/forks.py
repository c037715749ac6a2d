"""Keeps a forked child from sharing with its parent what can't be shared: locks, connections, names."""

from __future__ import annotations

import os
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


#: By `id`, because users' subclasses may be equal or not hashable.
_forkables: weakref.WeakValueDictionary[int, Forkable] = weakref.WeakValueDictionary()


def renew_after_fork(forkable: Forkable) -> None:
    """Have `forkable.renew_after_fork()` called in every child that this process forks."""
    _forkables[id(forkable)] = forkable


def _before() -> None:
    for forkable in list(_forkables.values()):
        if isinstance(forkable, ForkAware):
            forkable.before_fork()


def _in_parent() -> None:
    for forkable in list(_forkables.values()):
        if isinstance(forkable, ForkAware):
            forkable.after_fork()


def _in_child() -> None:
    for forkable in list(_forkables.values()):
        forkable.renew_after_fork()


if hasattr(os, "register_at_fork"):  # not on Windows, which doesn't fork
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
