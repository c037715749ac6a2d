"""What a registry of 10,000 breakers costs: memory for each, and the time of `registry.get(name)`.

Run as `python tests/benchmarks/registry.py`. It needs no server: making breakers does no I/O, and
nobody listens on port 1.

Memory is what tracemalloc counts from before the registry is made until all breakers are: names,
storages, and what they share are in it.

Time is the best of many rounds, in which three loops over all names take turns: one that does
nothing, one that calls `dict.get`, and one that calls `registry.get`. What the empty loop takes is
subtracted from both others, so that the ratio compares the calls alone; left in, it would lower
the ratio. Both get the same name objects in the same order, and find the same breakers.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

URLS = ("redis://127.0.0.1:1/0", "memory://")
BREAKERS = 10_000
#: Bytes per breaker, and times a `dict.get`, at most.
BYTES_BAR, RATIO_BAR = 4_096, 12


class Measured(NamedTuple):
    url: str
    bytes_per_breaker: float
    dict_get_ns: float
    registry_get_ns: float
    ratio: float


def measure(url: str, rounds: int) -> Measured:
    bytes_per_breaker = memory(url)
    with CircuitBreakerRegistry(url) as registry:
        breakers = {name: registry.get(name) for name in names()}
        empty, of_dict, of_registry = times(list(breakers), (None, breakers.get, registry.get), rounds)
    dict_get, registry_get = of_dict - empty, of_registry - empty
    return Measured(url, bytes_per_breaker, dict_get, registry_get, registry_get / dict_get)


def memory(url: str) -> float:
    """Return the bytes per breaker."""
    gc.collect()
    tracemalloc.start()
    try:
        with CircuitBreakerRegistry(url) as registry:
            for name in names():
                registry.get(name)
            gc.collect()
            return tracemalloc.get_traced_memory()[0] / len(registry)
    finally:
        tracemalloc.stop()


def times(all_names: Sequence[str], functions: Sequence[Callable[[str], Any] | None], rounds: int) -> list[float]:
    """Return the nanoseconds per name of each function, in its best round."""
    gc.collect()
    gc.disable()
    try:
        taken = [[loop(all_names, function) for function in functions] for _ in range(rounds)]
    finally:
        gc.enable()
    return [min(column) / len(all_names) for column in zip(*taken, strict=True)]


def loop(all_names: Sequence[str], function: Callable[[str], Any] | None) -> int:
    """Return the nanoseconds that a function takes for all names; the empty loop's for None."""
    began = time.perf_counter_ns()
    if function is None:
        for _name in all_names:
            pass
    else:
        for name in all_names:
            function(name)
    return time.perf_counter_ns() - began


def names() -> list[str]:
    return [f"tenant/{number}" for number in range(BREAKERS)]


def broken_bars(measured: Measured) -> list[str]:
    broken = []
    if measured.bytes_per_breaker > BYTES_BAR:
        broken.append(f"{measured.url}: {measured.bytes_per_breaker:.0f} bytes per breaker; the bar is {BYTES_BAR}")
    if measured.ratio > RATIO_BAR:
        broken.append(f"{measured.url}: get takes {measured.ratio:.2f} times a dict's get; the bar is {RATIO_BAR}")
    return broken


def machine() -> dict[str, str]:
    python = f"{platform.python_implementation()} {platform.python_version()}"
    return {"machine": f"{platform.system()} {platform.machine()}, {processor()}", "python": python}


def processor() -> str:
    try:
        with Path("/proc/cpuinfo").open() as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def as_text(results: Sequence[Measured]) -> str:
    rows = [
        *(f"{name}: {value}" for name, value in machine().items()),
        f"{BREAKERS:,} breakers of one registry; bars: {BYTES_BAR:,} bytes per breaker, {RATIO_BAR} times dict.get",
        "",
        f"{'url':24} {'bytes per breaker':>18} {'dict.get ns':>12} {'registry.get ns':>16} {'ratio':>6}",
        *(f"{row[0]:24} {row[1]:18,.0f} {row[2]:12.1f} {row[3]:16.1f} {row[4]:6.1f}" for row in results),
    ]
    return "\n".join(rows)


def as_json(results: Sequence[Measured]) -> str:
    bars = {"bytes_per_breaker": BYTES_BAR, "ratio": RATIO_BAR}
    return json.dumps({**machine(), "breakers": BREAKERS, "bars": bars, "results": [row._asdict() for row in results]})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0], epilog="Exit code 1: a bar is broken.")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    options = parser.parse_args()
    results = [measure(url, rounds=20 if options.quick else 200) for url in URLS]
    print(as_json(results) if options.json else as_text(results))
    broken = [line for row in results for line in broken_bars(row)]
    print("\n".join(broken), end="\n" * bool(broken), file=sys.stderr)
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
