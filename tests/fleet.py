"""A fleet of real worker processes for the tests.

The workers live as long as the test module and are told, over a pipe each, to run functions of
`fleet_tasks.py`; a barrier makes them begin at the same moment. A worker that a test kills is
replaced before the next task.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import multiprocessing
import os
import signal
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection

#: Not fork: the workers must be as unrelated as those of a real deployment.
CONTEXT = multiprocessing.get_context("forkserver")
#: Seconds. Generous: a stuck fleet shall fail, a slow machine shall not.
DEADLINE = 60


@dataclass(frozen=True)
class Circuit:
    """Which circuit, in which store; each worker makes its own breaker of it."""

    kind: str
    where: str
    name: str
    #: Arguments of `CircuitBreaker`.
    settings: tuple[tuple[str, Any], ...] = ()
    #: Whether calls are made in an event loop.
    in_loop: bool = False

    def call(self, function: Callable[[], Any], breaker: Any = None) -> Any:
        """Make one call through a breaker of this circuit, in the circuit's colour."""
        breaker = breaker or self.breaker()
        if not self.in_loop:
            return breaker.call(function)
        return asyncio.run(breaker.call_async(function))

    def storage(self) -> Any:
        import redis  # in the workers only

        import pybreaker_ext

        if self.kind == "sqlite":
            return pybreaker_ext.CircuitSQLiteStorage(self.where, self.name)
        return pybreaker_ext.CircuitRedisStorage("closed", redis.Redis.from_url(self.where), self.name)

    def breaker(self, **more: Any) -> Any:
        import pybreaker_ext

        settings = {**dict(self.settings), **more}
        return pybreaker_ext.CircuitBreaker(state_storage=self.storage(), name=self.name, **settings)


class Worker:
    def __init__(self, shared: Shared | None) -> None:
        self.pipe, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_work, args=(theirs, shared), daemon=True)
        self.process.start()
        theirs.close()

    def send(self, function: Callable[..., Any], *args: Any, together: int = 0) -> None:
        self.pipe.send((function, args, together))

    def answer(self) -> Any:
        if not self.pipe.poll(DEADLINE):
            process = self.process.pid
            assert process is not None
            state = _state(process)
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGUSR1)  # it writes its stacks
            raise TimeoutError(f"worker {process} does not answer; its process is in state {state}")
        good, value = self.pipe.recv()
        if not good:
            raise AssertionError(f"worker {self.process.pid} failed:\n{value}")
        return value

    def kill(self) -> None:
        self.process.kill()
        self.process.join()

    def stop(self) -> None:
        self.pipe.close()
        self.process.join(5)
        if self.process.is_alive():
            self.kill()


class Shared:
    """What all workers see."""

    def __init__(self) -> None:
        self.waiting = CONTEXT.Value("i", 0)
        self.round = CONTEXT.Value("i", 0)
        #: For the tasks' own counts.
        self.counts = CONTEXT.Array("i", 8)

    def wait_for(self, parties: int) -> None:
        """Begin together; multiprocessing's Barrier breaks for good when a worker is killed."""
        with self.waiting.get_lock():
            turn = self.round.value
            self.waiting.value += 1
            if self.waiting.value == parties:
                self.waiting.value = 0
                self.round.value += 1
        until(lambda: self.round.value != turn)

    def add(self, index: int, number: int = 1) -> int:
        with self.counts.get_lock():
            self.counts[index] += number
            return self.counts[index]


class Fleet:
    def __init__(self, size: int) -> None:
        self.shared = Shared()
        self.workers = [Worker(self.shared) for _ in range(size)]

    def ready(self) -> None:
        """Replace dead workers and forget counts."""
        for index, worker in enumerate(self.workers):
            if not worker.process.is_alive():
                worker.stop()
                self.workers[index] = Worker(self.shared)
        for index in range(len(self.shared.counts)):
            self.shared.counts[index] = 0

    def at_once(self, function: Callable[..., Any], *args: Any, size: int | None = None) -> list[Any]:
        """Run `function` in `size` workers (all by default) at the same moment; return their results."""
        self.ready()
        workers = self.workers[:size]
        for worker in workers:
            worker.send(function, *args, together=len(workers))
        return [worker.answer() for worker in workers]

    def one(self, function: Callable[..., Any], *args: Any, worker: int = 0) -> Any:
        self.workers[worker].send(function, *args)
        return self.workers[worker].answer()

    def stop(self) -> None:
        for worker in self.workers:
            worker.stop()


@contextlib.contextmanager
def fleet_of(size: int) -> Iterator[Fleet]:
    CONTEXT.set_forkserver_preload(["pybreaker_ext", "redis", "pybreaker"])
    fleet = Fleet(size)
    try:
        yield fleet
    finally:
        fleet.stop()


def until(condition: Callable[[], Any], deadline: float = DEADLINE, pause: float = 0.001) -> Any:
    """Wait for a condition; raise when it doesn't come. Seconds, and seconds between two looks."""
    import time  # kept apart: one task turns this process's clock

    end = time.perf_counter() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.perf_counter() > end:
            raise TimeoutError("the condition did not come true")
        time.sleep(pause)


_shared: Shared | None = None


def shared() -> Shared:
    """In a worker: what all workers see."""
    assert _shared is not None
    return _shared


def _state(process: int) -> str:
    """Return the letter by which the kernel tells what a process does: S sleeps, T is stopped."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "gone"


def _work(pipe: Connection, shared_with_all: Shared | None) -> None:
    global _shared  # noqa: PLW0603  one per worker process
    _shared = shared_with_all
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(signal.SIGUSR1)
    parent = os.getppid()
    while True:
        while not pipe.poll(1):
            if os.getppid() != parent:
                return
        try:
            function, args, together = pipe.recv()
        except EOFError:
            return
        try:
            if together and shared_with_all:
                shared_with_all.wait_for(together)
            pipe.send((True, function(*args)))
        except BaseException:  # noqa: BLE001  the test shall see it
            pipe.send((False, traceback.format_exc()))
