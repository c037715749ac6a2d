"""How long calls take, for listeners, whose hooks are told of a call's begin and end but of no duration.

Begun calls are kept in a context variable, so each thread and each asyncio task has its own, and a
task begins with those of the task that made it. The newest begun call of a key is the one that
ends. Ends may be missing (a generator that is dropped in another thread); so of each context only
the newest are kept.
"""

from __future__ import annotations

import time
from contextvars import ContextVar
from typing import Any, Final

#: Begun calls that one context remembers: calls nested deeper than this have no duration.
LIMIT: Final = 32

#: Keys and instants. The key is None when the call has ended: garbage collection may end calls while
#: a context variable is being set, and Python 3.11 crashes when one is set meanwhile.
_begun: ContextVar[tuple[list[Any], ...]] = ContextVar("pybreaker_ext_begun", default=())


def begin(key: object) -> None:
    """Note that a call of `key` begins now. Keys are compared by identity."""
    calls = _begun.get()
    if calls and (calls[-1][0] is None or len(calls) == LIMIT):
        calls = tuple([call for call in calls if call[0] is not None][1 - LIMIT :])
    _begun.set((*calls, [key, time.perf_counter()]))


def end(key: object) -> float | None:
    """Return the seconds since the newest call of `key` began here; None when none has begun."""
    now = time.perf_counter()
    for call in reversed(_begun.get()):
        if call[0] is key:
            call[0] = None
            seconds: float = now - call[1]
            return seconds
    return None
