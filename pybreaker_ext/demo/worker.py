"""One worker process of the demo: calls the backend through the shared circuit, and reports.

It is started by `fleet.py`. On its standard input come two lines, first its number and the
plan, then the start, and nothing more until the end of the file, which says: stop. That end comes
also when the parent dies, however it dies. On its standard output goes one empty line when it is
ready, and then tallies as JSON.
"""

from __future__ import annotations

import contextlib
import gc
import http.client
import logging
import os
import random
import select
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Final

import pybreaker

from pybreaker_ext.demo.plain import Plain
from pybreaker_ext.demo.plan import BACKOFF, ERROR, PATIENCE, PLAIN, REJECTION, WELL, Plan, Tally, breaker_on
from pybreaker_ext.machine import ADMITTED, HALF_OPEN
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.machine import Decision, Event, Policy
    from pybreaker_ext.storage import Storage

STDIN: Final = 0
STDOUT: Final = 1

#: Seconds between two reports.
REPORT_INTERVAL: Final = 0.1


class WatchedStorage:
    """Looks at every decision of a storage on its way to the breaker.

    This is how a worker knows that a call is a probe: the very decision that admitted it says so.
    Asking for the state before or after the call would tell of another moment.
    """

    def __init__(self, storage: Storage) -> None:
        self.tally = Tally()
        self._storage = storage
        self._period = 0
        self._newest = 0

    def apply(self, event: Event, policy: Policy) -> Decision:
        """Apply the event, and note what became of it."""
        decision = self._storage.apply(event, policy)
        if decision.epoch % 2:
            self.tally.alone += 1
            return decision
        self._note(decision.old_generation, decision.old_state)
        self._note(decision.after.generation, decision.after.state)
        if event.kind == "ask" and decision.verdict == ADMITTED and decision.after.state == HALF_OPEN:
            self._period = decision.after.generation
        return decision

    def take_period(self) -> int:
        """Return the generation of the half-open period in which the present call is a probe; else 0."""
        period, self._period = self._period, 0
        return period

    def take_tally(self) -> Tally:
        """Return what was counted since this was last called."""
        tally, self.tally = self.tally, Tally()
        return tally

    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        """Do the same; the demo has no asyncio."""
        return self.apply(event, policy)

    def _note(self, generation: int, state: str) -> None:
        if generation > self._newest:
            self._newest = generation
            self.tally.states.append((generation, state, time.monotonic()))


class Ours:
    """The shared circuit, through our own breaker."""

    def __init__(self, plan: Plan, number: int) -> None:
        del number  # the circuit is one for all
        self._storage = WatchedStorage(from_url(plan.url, plan.name))
        self._breaker = breaker_on(self._storage, plan.name, None if plan.compared else BACKOFF)

    @property
    def tally(self) -> Tally:
        """What is being counted."""
        return self._storage.tally

    def take_tally(self) -> Tally:
        """Return what was counted since this was last called."""
        return self._storage.take_tally()

    def take_period(self) -> int:
        """Return the number of the half-open period in which the present call is a probe; else 0."""
        return self._storage.take_period()

    def call(self, func: Callable[[], None]) -> None:
        """Call through the breaker."""
        self._breaker.call(func)

    def warm_up(self) -> None:
        """Connect to the store."""
        self._breaker.snapshot()


class Worker:
    """Makes calls at times of its own, whatever became of the ones before."""

    def __init__(self, plan: Plan, number: int) -> None:
        self._plan = plan
        self._side: Ours | Plain = (Plain if plan.library == PLAIN else Ours)(plan, number)
        self._luck = random.Random(f"{plan.seed}/{number}")  # noqa: S311  chance here is no cryptography
        self._start = 0.0
        # Without the proxies of the environment, which can't reach this loopback port.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def warm_up(self) -> None:
        """Connect to the store."""
        self._side.warm_up()

    def work(self, start: float) -> None:
        """Call and report until the parent says stop."""
        self._start = start
        next_call = start + self._luck.uniform(0, self._plan.pause)
        next_report = start
        while not _stopped(min(next_call, next_report)):
            now = time.monotonic()
            if now >= next_report:
                self._report()
                next_report = now + REPORT_INTERVAL
            if now >= next_call:
                self._attempt(now - start)
                next_call = max(next_call + self._plan.pause * self._luck.uniform(0.5, 1.5), time.monotonic())
        self._report()

    def _attempt(self, elapsed: float) -> None:
        tally = self._side.tally
        tally.attempts += 1
        tally.sick_attempts += self._plan.outage(elapsed) is not None
        end = WELL
        try:
            self._side.call(self._fetch)
        except pybreaker.CircuitBreakerError:
            tally.rejections += 1
            end = REJECTION
        except (OSError, http.client.HTTPException):
            tally.errors += 1
            end = ERROR
        self._side.tally.note(self._plan, time.monotonic() - self._start, end)

    def _fetch(self) -> None:
        begin = time.monotonic()
        period = self._side.take_period()
        try:
            self._get()
        finally:
            if period:
                self._side.tally.probes.append((period, begin, time.monotonic()))

    def _get(self) -> None:
        try:
            with self._opener.open(self._plan.backend, timeout=PATIENCE) as answer:
                answer.read()
        except urllib.error.HTTPError as error:
            error.close()  # it is the answer, too
            raise

    def _report(self) -> None:
        tally = self._side.take_tally()
        if tally != Tally():
            _send(tally.to_json())


def _stopped(moment: float) -> bool:
    """Sleep until `moment`, or until the parent says stop; return which."""
    readable, _, _ = select.select([STDIN], [], [], max(0.0, moment - time.monotonic()))
    return bool(readable)


def _send(line: str) -> None:
    os.write(STDOUT, f"{line}\n".encode())


def main() -> None:
    """Be a worker."""
    # The tally says when the store was away; the log would say it in the midst of the timeline.
    logging.getLogger("pybreaker_ext").addHandler(logging.NullHandler())
    with os.fdopen(STDIN, "rb", buffering=0, closefd=False) as parent:
        first = parent.readline()
        if not first:
            return
        number, _, plan = first.partition(b" ")
        worker = Worker(Plan.from_json(plan), int(number))
        worker.warm_up()
        _send("")
        start = parent.readline()
    if start:
        worker.work(float(start))
    gc.freeze()  # or the last collection would take its time where many workers end at once


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):  # the parent died
        main()
