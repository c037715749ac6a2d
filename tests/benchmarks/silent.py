"""What one call pays when some of a cluster's nodes, or of the sentinels and their servers, say nothing.

Run as `python tests/benchmarks/silent.py`. It starts a cluster of three primaries with a replica each,
and three sentinels of two servers, and stops some of the processes (SIGSTOP): they still take
connections and never answer. Nobody is replaced meanwhile.

Measured is the whole call of an empty function by the one caller that tries the store. The breaker is
strict, so every call would ask. Half of the rounds begin with a process that has never called, half
with one that has; each has that call, and the ones one, two and three seconds later. First in each
table stands how late the machine itself is with a pause of a time-out.

What the worst call takes is also the machine's. So the time-outs that a call has waited through are
added up, too. The exit code is 1 when that sum is above one time-out, or a median above its bar.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parent.parent))

import servers
from waits import total, waits_in_vain

from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pybreaker_ext import CircuitBreaker

    Place = servers.Cluster | servers.Sentinels

#: Seconds that the median call takes at most.
BAR = 0.3
#: Milliseconds after which a server is taken for dead: longer than a measurement.
DEAD_AFTER = 60_000
#: Calls that try, in each round.
TRIES = 4
#: Seconds.
TIMEOUT = 0.25


class Silence(NamedTuple):
    """Some servers, as the table calls them."""

    what: str
    servers: Sequence[servers.RedisServer]


class Call(NamedTuple):
    """How long it took, and the time-outs that it has waited through."""

    seconds: float
    timeouts: float


class Row(NamedTuple):
    what: str
    colour: str
    median: float
    worst: float
    #: The worst sum of a call.
    timeouts: float


async def nothing_async() -> int:
    return 0


def in_threads(breaker: CircuitBreaker, _: asyncio.Runner) -> float:
    begun = time.perf_counter()
    breaker.call(int)
    return time.perf_counter() - begun


def in_asyncio(breaker: CircuitBreaker, runner: asyncio.Runner) -> float:
    async def call() -> float:
        begun = time.perf_counter()
        await breaker.call_async(nothing_async)
        return time.perf_counter() - begun

    return runner.run(call())


def pause_in_threads() -> float:
    begun = time.perf_counter()
    time.sleep(TIMEOUT)
    return time.perf_counter() - begun


def pause_in_asyncio() -> float:
    async def pause() -> float:
        begun = time.perf_counter()
        await asyncio.sleep(TIMEOUT)
        return time.perf_counter() - begun

    return asyncio.run(pause())


PAUSES = {"threads": pause_in_threads, "asyncio": pause_in_asyncio}
COLOURS = {"threads": in_threads, "asyncio": in_asyncio}


def of_a_cluster(cluster: servers.Cluster, name: str) -> list[Silence]:
    primary, replica = cluster.holders_of(f"{{{name}}}:pybreaker:state")
    others = [node for node in cluster.nodes[:3] if node is not primary]
    replicas = [node for node in cluster.nodes[3:] if node is not replica]
    return [
        Silence("nobody", []),
        Silence("the circuit's primary", [primary]),
        Silence("another primary", others[:1]),
        Silence("a replica", replicas[:1]),
        Silence("the circuit's primary, another", [primary, others[0]]),
        Silence("the circuit's primary and replica", [primary, replica]),
        Silence("all three primaries", [primary, *others]),
        Silence("the circuit's primary, all replicas", [primary, replica, *replicas]),
        Silence("all but one", [primary, replica, *replicas, others[0]]),
        Silence("all six nodes", cluster.nodes),
    ]


def of_sentinels(sentinels: servers.Sentinels, _name: str) -> list[Silence]:
    first, second, third = sentinels.sentinels
    primary = sentinels.primary
    return [
        Silence("nobody", []),
        Silence("the primary", [primary]),
        Silence("one sentinel", [second]),
        Silence("two sentinels", [first, second]),
        Silence("the primary, one sentinel", [primary, third]),
        Silence("the primary, two sentinels", [primary, first, third]),
        Silence("all three sentinels", [first, second, third]),
        Silence("everybody", [first, second, third, *sentinels.servers]),
    ]


def one_round(url: str, silence: Silence, colour: str, *, cold: bool) -> list[Call]:
    """Return the calls that tried."""
    with CircuitBreakerRegistry(url, max_staleness=0.0) as registry, asyncio.Runner() as runner:
        breaker = registry.get("claude")
        if not cold:
            COLOURS[colour](breaker, runner)
        for server in silence.servers:
            server.pause()
        try:
            return [tried(breaker, COLOURS[colour], runner) for _ in range(TRIES)]
        finally:
            for server in silence.servers:
                server.resume()
            for server in silence.servers:
                servers.first_answer([server], lambda client: client.ping())


def tried(breaker: CircuitBreaker, call: Callable[[CircuitBreaker, asyncio.Runner], float], runner: Any) -> Call:
    """Return a call that tries the store: if it is away, a second has gone by."""
    outage: Any = breaker._state_storage._link.outage  # type: ignore[attr-defined]
    outage._next_try = 0.0
    with waits_in_vain() as waits:
        return Call(call(breaker, runner), total(waits))


def measured(place: Place, silences: Sequence[Silence], rounds: int) -> list[Row]:
    rows = []
    for colour, pause in PAUSES.items():
        rows.append(row(f"(a pause of {TIMEOUT} s)", colour, [Call(pause(), 0.0) for _ in range(TRIES * rounds)]))
    for silence in silences:
        for colour in COLOURS:
            calls = []
            for number in range(rounds):
                calls += one_round(place.url, silence, colour, cold=number % 2 == 0)
            rows.append(row(silence.what, colour, calls))
    return rows


def row(what: str, colour: str, calls: Sequence[Call]) -> Row:
    seconds, timeouts = zip(*calls, strict=True)
    return Row(what, colour, statistics.median(seconds), max(seconds), max(timeouts))


def as_table(title: str, rows: Sequence[Row]) -> str:
    by_silence: dict[str, dict[str, Row]] = {}
    for each in rows:
        by_silence.setdefault(each.what, {})[each.colour] = each
    heads = "".join(f" {colour}: median | worst | time-outs |" for colour in COLOURS)
    return "\n".join(
        [
            f"| {title} |{heads}",
            "|---|---|---|---|---|---|---|",
            *(f"| {what} |{''.join(cells(found[c]) for c in COLOURS)}" for what, found in by_silence.items()),
        ]
    )


def cells(found: Row) -> str:
    return "".join(f" {number:.3f} |" for number in (found.median, found.worst, found.timeouts))


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20, help=f"rounds of {TRIES} calls each (default: %(default)s)")
    rounds = parser.parse_args(arguments).rounds
    logging.disable()  # a line for each time that the store goes and comes
    with servers.running_cluster(3, replicas=1, dead_after=DEAD_AFTER) as cluster:
        of_cluster = measured(cluster, of_a_cluster(cluster, "claude"), rounds)
    with servers.running_sentinels(dead_after=DEAD_AFTER) as sentinels:
        of_all_sentinels = measured(sentinels, of_sentinels(sentinels, "claude"), rounds)
    print("Seconds of the one call that tries.\n")
    print(as_table("silent nodes of a cluster of six", of_cluster), "\n")
    print(as_table("silent of three sentinels, a primary and a replica", of_all_sentinels), "\n")
    rows = (*of_cluster, *of_all_sentinels)
    good = max(each.timeouts for each in rows) < TIMEOUT + 0.001 and max(each.median for each in rows) < BAR
    print(f"worst of all {max(each.worst for each in rows):.3f} s")
    print(f"time-outs of {TIMEOUT} s together, medians of {BAR} s: {'ok' if good else 'TOO SLOW'}")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
