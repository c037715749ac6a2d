"""`python -m pybreaker_ext demo`: worker processes, one shared circuit, a backend that falls sick.

This file runs the show. `plan.py` is what all processes agree upon, `store.py` where the
circuit is kept, `backend.py` the server, `worker.py` what a worker process does,
`fleet.py` starts and ends the workers, `report.py` prints and `verdict.py` judges. With `--compare`,
the same outage is shown twice: `plain.py` is pybreaker's side, `comparison.py` sets both side by side,
and `picture.py` draws them.
Whether the run is finished or interrupted, no file, key or process is left behind.
"""

from __future__ import annotations

import contextlib
import io
import json
import signal
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self, TextIO

from pybreaker_ext.demo.backend import Backend
from pybreaker_ext.demo.comparison import comparison, figures
from pybreaker_ext.demo.fleet import Fleet
from pybreaker_ext.demo.picture import drawing
from pybreaker_ext.demo.plan import OURS, PLAIN, RATE, SHORTEST_PAUSE, Plan, outages
from pybreaker_ext.demo.report import Screen, Timeline, heading, introduction, summary
from pybreaker_ext.demo.store import BAD, GOOD, INTERRUPTED, DemoError, circuit, place
from pybreaker_ext.demo.verdict import Result

if TYPE_CHECKING:
    from pathlib import Path
    from types import FrameType, TracebackType

#: Seconds between two lines of the timeline.
LINE_INTERVAL: Final = 0.5

#: Seconds after which an interrupt is noticed, at most.
TICK: Final = 0.1

#: Seconds after which somebody who waits for the workers wants to know why.
PATIENCE_WITHOUT_NEWS: Final = 2.0

#: Seconds that all workers together have to get ready.
STARTING_TIME: Final = 120.0


@dataclass(frozen=True)
class Options:
    """What the command line says; `url` is None for a temporary SQLite file.

    Attributes:
        workers: Worker processes.
        seconds: How long they call.
        seed: What outages and pauses are made from.
        url: Where the circuit is kept.
        compare: Whether the same is shown with pybreaker's own breakers first.
        plot: Where a picture of the timelines goes, or None.
        as_json: Whether only the figures are wanted.
    """

    workers: int = 4
    seconds: float = 15.0
    seed: int = 1
    url: str | None = None
    compare: bool = False
    plot: Path | None = None
    as_json: bool = False


def run(options: Options, out: TextIO) -> int:
    """Run the demo and return the exit code.

    Raises:
        DemoError: The store can't be used, a worker did not start, or no picture can be drawn.
    """
    draw = drawing(options.plot) if options.plot else None
    libraries = (PLAIN, OURS) if options.compare else (OURS,)
    with Interrupts() as interrupts, place(options.url) as (url, where):
        screen = Screen(io.StringIO() if options.as_json else out)
        results = []
        for number, library in enumerate(libraries):
            if number:
                screen.line()
            results.append(_one_run(options, library, (url, where), screen, interrupts))
            if interrupts.asked:
                with contextlib.suppress(OSError):  # the terminal may be gone
                    screen.line("Stopped.")
                return INTERRUPTED
    good = (comparison if options.compare else summary)(screen, *results)
    if options.as_json:
        print(json.dumps([figures(result) for result in results], indent=2), file=out)
    if draw:
        draw(results)
        screen.line(f"The picture is in {options.plot}.")
    return GOOD if good else BAD


def _one_run(options: Options, library: str, where: tuple[str, str], screen: Screen, interrupts: Interrupts) -> Result:
    url, place_in_words = where
    with (
        circuit(url, library) as (name, state),
        Backend(options.seed) as backend,
        Fleet() as fleet,
    ):
        plan = _plan(options, library, url, name, backend.url)
        if library == PLAIN or not options.compare:
            introduction(screen, options.workers, compare=options.compare)
        heading(screen, plan, options.seconds, options.workers, place_in_words)
        show = _Show(plan, options, screen, backend, fleet, interrupts)
        show.get_ready()
        show.run()
        return show.result(state())


class Interrupts:
    """Notes Ctrl-C and its like instead of being torn out of the middle of something.

    Attributes:
        asked: Whether somebody wants the demo to end.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Begin to note."""
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup's wish stands
                self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the signals as they were."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


class _Show:
    """The run itself."""

    def __init__(
        self, plan: Plan, options: Options, screen: Screen, backend: Backend, fleet: Fleet, interrupts: Interrupts
    ) -> None:
        self._plan = plan
        self._options = options
        self._screen = screen
        self._timeline = Timeline(screen, plan)
        self._backend = backend
        self._fleet = fleet
        self._interrupts = interrupts
        self._start = self._end = 0.0

    def get_ready(self) -> None:
        """Start the workers, and wait until all are ready, so that none is late for the start."""
        begin = time.monotonic()
        for _ in range(self._options.workers):
            if self._interrupts.asked:
                return
            self._fleet.launch(self._plan)
        patient = True
        while not (self._fleet.ready or self._interrupts.asked):
            self._fleet.listen(TICK)
            waited = time.monotonic() - begin
            if patient and waited > PATIENCE_WITHOUT_NEWS:
                self._screen.line("The workers are starting ...\n")
                patient = False
            if not self._interrupts.asked and (self._fleet.lost or waited > STARTING_TIME):
                message = "a worker process did not start"
                raise DemoError(message, BAD)

    def run(self) -> None:
        """Let the workers work for the time of the run, and print the timeline."""
        if self._interrupts.asked:
            return
        self._start = time.monotonic()
        self._backend.follow(self._plan, self._start)
        self._fleet.go(self._start)
        self._timeline.head()
        self._watch()
        self._end = time.monotonic()
        if not self._interrupts.asked:
            self._fleet.stop()
            self._row(self._end - self._start)

    def result(self, state: str | None) -> Result:
        """Return what is known at the end, the circuit's state among it."""
        return Result(
            plan=self._plan,
            start=self._start,
            end=self._end,
            tally=self._fleet.tally,
            sick_calls=self._backend.sick_calls,
            state=state,
            workers=self._options.workers,
            lost=self._fleet.lost,
        )

    def _watch(self) -> None:
        elapsed, next_line = 0.0, LINE_INTERVAL
        while elapsed < self._options.seconds and self._fleet.running and not self._interrupts.asked:
            self._fleet.listen(min(TICK, next_line - elapsed, self._options.seconds - elapsed))
            elapsed = time.monotonic() - self._start
            if next_line <= elapsed < self._options.seconds:
                self._row(elapsed)
                next_line = (elapsed // LINE_INTERVAL + 1) * LINE_INTERVAL

    def _row(self, elapsed: float) -> None:
        self._timeline.row(elapsed, self._backend.calls, self._fleet.tally)


def _plan(options: Options, library: str, url: str, name: str, backend: str) -> Plan:
    pause = max(options.workers / RATE, SHORTEST_PAUSE)
    return Plan(
        url, name, backend, options.seed, pause, outages(options.seconds, options.seed), library, options.compare
    )
