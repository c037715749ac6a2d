"""A program with one breaker, made when it is imported, as many are: children inherit it, or make it again.

Run by itself it ends in the way that its first argument names, while calls are in flight.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
import time
from typing import Any

import pybreaker_ext

#: So that spawned children know, too.
URL = os.environ["FAULTS_URL"]
registry = pybreaker_ext.CircuitBreakerRegistry(URL, fail_max=1, reset_timeout=30)
breaker = registry.get(os.environ["FAULTS_NAME"])
METHODS = ("fork", "forkserver", "spawn")


async def nothing() -> None:
    pass


def see() -> list[str]:
    """Return what a call gets, in both colours, and whether the store said so."""
    found = []
    for call in (lambda: breaker.call(int), lambda: asyncio.run(breaker.call_async(nothing))):
        try:
            call()
        except pybreaker_ext.CircuitBreakerError:
            found.append("rejected")
        else:
            found.append("admitted")
    return [*found, "shared" if breaker.snapshot().shared else "alone"]


def tell(pipe: Any) -> None:
    pipe.send(see())


def in_child(method: str) -> list[str]:
    """Return what a child process sees that was made by `fork`, `forkserver` or `spawn`."""
    context: Any = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    child = context.Process(target=tell, args=(theirs,))
    child.start()
    found: list[str] = ours.recv() if ours.poll(60) else ["no answer"]
    child.join(30)
    return [*found, str(child.exitcode)]


def in_children() -> list[list[str]]:
    """Open the circuit, and return what a child of each kind sees."""
    breaker.open()
    return [in_child(method) for method in METHODS]


async def in_children_async() -> list[list[str]]:
    """As the same, in an event loop, which a forked child inherits while it runs."""
    await breaker.open_async()
    return [in_child(method) for method in METHODS]


def steadily() -> None:
    while True:
        breaker.call(time.sleep, 0.001)


async def steadily_async() -> None:
    while True:
        await breaker.call_async(asyncio.sleep, 0.001)


def probe_of(seconds: float) -> None:
    """Be the probe, for so long."""
    breaker.half_open()
    breaker.call(time.sleep, seconds)


async def probe_of_async(seconds: float) -> None:
    """Be the probe, for so long."""
    await breaker.half_open_async()
    await breaker.call_async(asyncio.sleep, seconds)


def in_threads(target: Any, *, daemon: bool) -> None:
    for _ in range(8):
        threading.Thread(target=target, daemon=daemon).start()
    time.sleep(0.3)


def end_with_daemon_threads() -> None:
    in_threads(steadily, daemon=True)


def end_with_loops_in_daemon_threads() -> None:
    in_threads(lambda: asyncio.run(steadily_async()), daemon=True)


def end_before_threads() -> None:
    """The interpreter waits for these; each ends after calls that come while it is shutting down."""

    def last_calls() -> None:
        for _ in range(50):
            breaker.call(time.sleep, 0.01)

    in_threads(last_calls, daemon=False)


def end_before_loops_in_threads() -> None:
    """As the same without loops."""

    async def main() -> None:
        for _ in range(50):
            await breaker.call_async(asyncio.sleep, 0.01)

    in_threads(lambda: asyncio.run(main()), daemon=False)


def end_in_loop() -> None:
    """`asyncio.run` cancels what is under way."""

    async def main() -> None:
        tasks = [asyncio.create_task(steadily_async()) for _ in range(8)]
        await asyncio.sleep(0.3)
        assert not any(task.done() for task in tasks)

    asyncio.run(main())


def begin_to_probe(target: Any) -> None:
    threading.Thread(target=target, daemon=True).start()
    while breaker.snapshot().probes != 1:
        time.sleep(0.01)  # the other thread begins when it does


def end_in_probe() -> None:
    """A daemon thread's probe is out, and never reports."""
    begin_to_probe(lambda: probe_of(60))


def end_in_probe_of_loop() -> None:
    """A probe is out in an event loop that a daemon thread runs."""
    begin_to_probe(lambda: asyncio.run(probe_of_async(60)))


def end_by_exit() -> None:
    begin_to_probe(lambda: probe_of(60))
    os._exit(0)


def end_by_exit_beside_loop() -> None:
    begin_to_probe(lambda: asyncio.run(probe_of_async(60)))
    os._exit(0)


if __name__ == "__main__":
    globals()[sys.argv[1]]()
