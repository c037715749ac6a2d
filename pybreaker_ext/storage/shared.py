"""Objects that all who use the same thing share, for as long as anybody uses it."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Generic, TypeVar

from pybreaker_ext.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

K = TypeVar("K", bound="Hashable")
V = TypeVar("V")


class SharedObjects(Generic[K, V]):
    """Gives everybody who asks with the same key the same object."""

    def __init__(self) -> None:
        self._objects: weakref.WeakValueDictionary[K, V] = weakref.WeakValueDictionary()
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()

    def get(self, key: K, make: Callable[[K], V]) -> V:
        """Return the object of `key`; make it if nobody has one."""
        with self._lock:
            found = self._objects.get(key)
            if found is None:
                found = self._objects[key] = make(key)
            return found
