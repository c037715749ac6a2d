"""How long calls take, for listeners, whose hooks are told of a call's begin and end but of no duration.

Begun calls are kept in a context variable, so each thread and each asyncio task has its own, and a
task begins with those of the task that made it. The newest begun call of a key is the one that
ends. Ends may be missing (a generator that is dropped in another thread); so of each context only
the newest are kept.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Final

#: Begun calls that one context remembers: calls nested deeper than this have no duration.
LIMIT: Final = 32

_begun: ContextVar[tuple[tuple[object, float], ...]] = ContextVar("pybreaker_ext_begun", default=())


def begin(key: object) -> None:
    """Note that a call of `key` begins now. Keys are compared by identity."""
    _begun.set((*_begun.get()[1 - LIMIT :], (key, time.perf_counter())))


def end(key: object) -> float | None:
    """Return the seconds since the newest call of `key` began here; None when none has begun."""
    now = time.perf_counter()
    begun = _begun.get()
    for index in range(len(begun) - 1, -1, -1):
        known, started = begun[index]
        if known is key:
            _begun.set(begun[:index] + begun[index + 1 :])
            return now - started
    return None
