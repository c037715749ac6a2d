"""How many commands a process sends to Redis while all is well."""

from __future__ import annotations

import asyncio
import threading
import time
from dataclasses import dataclass
from itertools import repeat
from typing import TYPE_CHECKING, Any, Final

from benchmarks import contestants as ours
from benchmarks import functions, results
from benchmarks.contestants import DEFAULT

if TYPE_CHECKING:
    from benchmarks.effort import Effort
    from benchmarks.stage import Stage

#: Calls between two looks at the clock.
BATCH: Final = 100
#: With these names scripts are run. What scripts do inside is no command that anybody sends.
SCRIPTS: Final = ("eval", "evalsha", "fcall", "eval_ro", "evalsha_ro", "fcall_ro")
#: Commands about the connection, not about the circuit, and our own looking.
APART: Final = ("hello", "auth", "select", "client", "info", "script", "command", "ping", "config")


async def answer() -> int:
    """A backend for tasks: lets other tasks run in between."""
    await asyncio.sleep(0)
    return 1


def sent(stage: Stage) -> int:
    """Return how many commands the server was sent so far.

    INFO counts the commands within scripts too, and doesn't tell them apart. A contestant sends
    either scripts or plain commands about its circuit, so scripts are counted if there are any.
    """
    stats: Any = stage.client.info("commandstats")
    calls = {name.removeprefix("cmdstat_").partition("|")[0]: 0 for name in stats}
    for name, values in stats.items():
        calls[name.removeprefix("cmdstat_").partition("|")[0]] += values["calls"]
    scripts = sum(calls.get(name, 0) for name in SCRIPTS)
    return scripts or sum(number for name, number in calls.items() if name not in APART)


def by_threads(breaker: Any, threads: int, calls: int, limit: float) -> int:
    """Call until it is enough, or too late; return how often."""
    call = breaker(functions.succeed)
    done: list[int] = []
    end = time.perf_counter() + limit

    def work() -> None:
        made = 0
        while made < calls // threads and time.perf_counter() < end:
            for _ in repeat(None, BATCH):
                call()
            made += BATCH
        done.append(made)

    workers = [threading.Thread(target=work, daemon=True) for _ in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done)


async def by_tasks(breaker: Any, tasks: int, calls: int, limit: float) -> int:
    call = breaker(answer)
    end = time.perf_counter() + limit

    async def work() -> int:
        made = 0
        while made < calls // tasks and time.perf_counter() < end:
            await call()
            made += 1
        return made

    return sum(await asyncio.gather(*(work() for _ in range(tasks))))


@dataclass(frozen=True)
class CommandsCase:
    """One breaker, shared by threads or by tasks of one process."""

    threads: int = 0
    tasks: int = 0

    @property
    def name(self) -> str:
        if self.tasks:
            return f"Redis commands, {self.tasks} tasks"
        return f"Redis commands, {self.threads} thread{'s' if self.threads > 1 else ''}"

    def run(self, stage: Stage, effort: Effort) -> list[results.Commands]:
        default = ours.our_breaker("Redis", DEFAULT, stage)
        measured = [self._count("Redis, default", "pybreaker_ext", default, stage, effort)]
        if self.threads == 1:
            strict = ours.our_breaker("Redis", 0.0, stage)
            measured.append(self._count("Redis, strict", "pybreaker_ext", strict, stage, effort))
            other = ours.pybreaker_breaker("Redis", stage)
            measured.append(self._count("Redis", "pybreaker", other, stage, effort))
        return measured

    def _count(self, store: str, library: str, breaker: Any, stage: Stage, effort: Effort) -> results.Commands:
        # Enough to see that strict modes need the same number for every call.
        limit = effort.many_calls_limit if "default" in store else effort.many_calls_limit / 5
        stage.client.config_resetstat()
        start = time.perf_counter()
        if self.tasks:
            calls = stage.runner.run(by_tasks(breaker, self.tasks, effort.many_calls, limit))
        else:
            calls = by_threads(breaker, self.threads, effort.many_calls, limit)
        seconds = time.perf_counter() - start
        return results.Commands(self.name, library, store, calls, seconds, sent(stage))


COMMANDS: Final = (CommandsCase(threads=1), CommandsCase(threads=50), CommandsCase(tasks=200))
