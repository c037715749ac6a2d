"""A worker process for the tests of the command line: `circuit_worker.py URL NAME WORKER`.

Calls a backend that fails, again and again, until its standard input ends. Prints each outcome's
first letter: f for a failure, r for a rejection.
"""

from __future__ import annotations

import os
import select
import sys

from pybreaker_ext import CircuitBreakerError, CircuitBreakerRegistry


def fail() -> None:
    raise ConnectionError


def main() -> None:
    url, name, worker = sys.argv[1:]
    with CircuitBreakerRegistry(url, worker=worker, throw_new_error_on_trip=False, reset_timeout=590) as registry:
        breaker = registry.get(name, fail_max=6)
        while not select.select([sys.stdin], [], [], 0.02)[0]:
            try:
                breaker.call(fail)
            except CircuitBreakerError:
                os.write(1, b"r")
            except ConnectionError:
                os.write(1, b"f")


if __name__ == "__main__":
    main()
