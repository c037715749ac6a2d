"""The other side of the comparison: pybreaker's own breaker, with the storage that it has for the place.

In Redis all workers share its circuit. For a file it has no storage, so each worker has a circuit in its
own memory then, as most programs with pybreaker do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pybreaker

from pybreaker_ext.demo.plan import FAIL_MAX, RESET_TIMEOUT, SUCCESS_THRESHOLD, Tally
from pybreaker_ext.machine import HALF_OPEN
from pybreaker_ext.storage.clients import whole_client
from pybreaker_ext.storage.redis_urls import redis_client

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.demo.plan import Plan


class Plain(pybreaker.CircuitBreakerListener):
    """A worker's pybreaker. Its settings are the demo's, but for those that pybreaker doesn't have."""

    def __init__(self, plan: Plan, number: int) -> None:
        self.tally = Tally()
        self._number = number
        self._told: str | None = None
        self._period = 0
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=FAIL_MAX,
            reset_timeout=RESET_TIMEOUT,
            success_threshold=SUCCESS_THRESHOLD,
            listeners=[self],
            state_storage=storage_for(plan.url, plan.name),
            throw_new_error_on_trip=False,
        )

    def before_call(self, cb: Any, func: Any, *args: Any, **kwargs: Any) -> None:
        """Note whether the call that is about to run is a probe."""
        del func, args, kwargs
        self._period = int(cb.current_state == HALF_OPEN)

    def take_tally(self) -> Tally:
        """Return what was counted since this was last called, and how the worker sees its circuit."""
        taken, self.tally = self.tally, Tally()
        state = str(self._breaker.current_state)
        if state != self._told:
            self._told = taken.standing[self._number] = state
        return taken

    def take_period(self) -> int:
        """Return 1 if the present call is a probe, else 0: pybreaker doesn't number its half-open periods."""
        period, self._period = self._period, 0
        return period

    def call(self, func: Callable[[], None]) -> None:
        """Call through the breaker."""
        self._breaker.call(func)

    def warm_up(self) -> None:
        """Connect to the store."""
        self._breaker.current_state  # noqa: B018  which asks the store


def tagged(name: str) -> str:
    """Return the namespace of a circuit's name: a hash tag, because pybreaker gives its keys none."""
    return f"{{{name}}}"


def storage_for(url: str, name: str) -> pybreaker.CircuitBreakerStorage:
    """Return pybreaker's storage for a circuit: in Redis, or else in this process's memory."""
    if url.startswith("sqlite:"):
        return pybreaker.CircuitMemoryStorage(pybreaker.STATE_CLOSED)
    client = whole_client(redis_client(url))
    return pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, client, namespace=tagged(name))
