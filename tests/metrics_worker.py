"""A worker of a fleet with metrics: `metrics_worker.py URL [OTHER_URL]` obeys the words on its standard input."""

from __future__ import annotations

import contextlib
import os
import sys

import pybreaker_ext
from pybreaker_ext import CircuitBreakerRegistry
from pybreaker_ext.listeners import PrometheusListener

registry = CircuitBreakerRegistry(sys.argv[-1], fail_max=1, max_staleness=0.0, listeners=[PrometheusListener()])
breaker = registry.get("claude")


def call(function: object) -> str:
    try:
        breaker.call(function)
    except pybreaker_ext.CircuitBreakerError as error:
        return "failed" if error.__cause__ else "rejected"
    return "succeeded"


def fork() -> str:
    """Have two children make a call each."""
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                call(int)
            os._exit(0)
        children.append(child)
    return "done" if all(os.waitpid(child, 0)[1] == 0 for child in children) else "a child has failed"


ORDERS = {
    "succeed": lambda: call(int),
    "fail": lambda: call(lambda: 1 / 0),
    "close": breaker.close,
    "fork": fork,
}

for order in sys.stdin:
    print(ORDERS[order.strip()](), flush=True)  # noqa: T201  the test reads it
