"""What a `StructlogListener` adds to a closed success when its logger logs from info level on.

Run as `python tests/benchmarks/structlog_listener.py`. It needs no server: a breaker decides a
closed success without its store, wherever that is.

Two decorated functions, with the listener and without, take turns in many short rounds, and the best
round of each counts. The ratio has nothing subtracted. The exit code is 1 when it is above its bar.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
from typing import TYPE_CHECKING

import structlog

from pybreaker_ext import CircuitBreaker
from pybreaker_ext.listeners import StructlogListener

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

#: Times a closed success without the listener, at most.
BAR = 1.5
CALLS = 5_000


def breaker_with(*listeners: object) -> CircuitBreaker:
    return CircuitBreaker(listeners=listeners)


def empty() -> None:
    """Do nothing: all the time is the breaker's."""


def seconds(function: Callable[[], None]) -> float:
    begun = time.perf_counter()
    for _ in range(CALLS):
        function()
    return time.perf_counter() - begun


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200, help="rounds of each (default: %(default)s)")
    rounds = parser.parse_args(arguments).rounds
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
    functions = [breaker.protect(empty) for breaker in (breaker_with(), breaker_with(StructlogListener()))]
    taken = [[seconds(function) for function in functions] for _ in range(rounds)]
    without, with_it = (min(times) / CALLS * 1e9 for times in zip(*taken, strict=True))
    ratio = with_it / without
    print(f"closed success: {without:.0f} ns, with StructlogListener at info level: {with_it:.0f} ns")
    print(f"ratio {ratio:.2f}, at most {BAR}: {'ok' if ratio <= BAR else 'TOO SLOW'}")
    return 0 if ratio <= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
