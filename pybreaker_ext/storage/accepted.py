"""What a breaker may be given as its storage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pybreaker

from pybreaker_ext.errors import told
from pybreaker_ext.storage.adapter import adapted
from pybreaker_ext.storage.classic import ReadableStorage
from pybreaker_ext.storage.redis_urls import without_password

if TYPE_CHECKING:
    from pybreaker_ext.storage import Storage


def accepted(given: Any) -> Storage:
    """Return `given` as a storage that has our one verb.

    Raises:
        TypeError: It is no storage, neither ours nor pybreaker's.
    """
    theirs = isinstance(given, pybreaker.CircuitBreakerStorage) or hasattr(type(given), "increment_counter")
    if isinstance(given, ReadableStorage) or (not theirs and callable(getattr(type(given), "apply", None))):
        storage: Storage = given
        return storage
    if theirs:
        return adapted(given)
    what = repr(without_password(given)) if isinstance(given, str) else told(given)
    message = f"state_storage must be a pybreaker.CircuitBreakerStorage or None, not {what}{_hint(given)}"
    raise TypeError(message)


def _hint(given: Any) -> str:
    """Return what somebody may have meant by something that is no storage."""
    if isinstance(given, type):
        return f"; did you mean {given.__name__}(...)?"
    if isinstance(given, str):
        return "; get_circuit_breaker(url, name) makes a breaker by URL"
    if hasattr(given, "execute_command"):
        return '; CircuitRedisStorage("closed", client, namespace="...") is one'
    return ""
