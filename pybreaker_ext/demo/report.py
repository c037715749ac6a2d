"""What the demo prints: the heading, the timeline and the summary."""

from __future__ import annotations

import os
import textwrap
from collections import Counter
from importlib.metadata import version
from typing import TYPE_CHECKING, Final, TextIO

from pybreaker_ext.demo.plan import BACKOFF, FAIL_MAX, OURS, PLAIN, PROBES, RESET_TIMEOUT, SUCCESS_THRESHOLD
from pybreaker_ext.demo.verdict import problems
from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN

if TYPE_CHECKING:
    from pybreaker_ext.demo.plan import Plan, Tally
    from pybreaker_ext.demo.verdict import Result

#: Everything fits a terminal of 80 columns.
WIDTH: Final = 78

INTRODUCTION: Final = (
    "{workers} one backend through one shared circuit. The backend falls sick and heals: "
    "watch the circuit open, so that only single probes reach the sick backend, and close again "
    "soon after it is well."
)

COMPARISON: Final = (
    "{workers} one backend, which falls sick and heals: first through pybreaker's breakers, "
    "then through one shared circuit of pybreaker_ext. The outage is the same, and so are the "
    "settings and the moments at which users want their calls."
)

#: What is said before a run: whose breakers it has, and with which settings.
TITLES: Final = {PLAIN: "pybreaker {version}", OURS: "pybreaker_ext"}

LEGEND: Final = (
    "Each line tells of half a second: calls that reached the backend, errors that users saw from "
    "it, rejections (the breaker refused at once, the backend saw nothing), and probes (calls that "
    "find out whether the backend is well)."
)

#: The timeline's columns, and how each is aligned.
COLUMNS: Final = {
    "time": ">7",
    "backend": "<7",
    "circuit": "<25",
    "calls": ">5",
    "errors": ">6",
    "rejections": ">10",
    "probes": ">6",
}

#: The longest path that the circuit's column has room for.
LONGEST_PATH: Final = len("open > half-open > closed")

#: Outages that the heading lists.
MANY: Final = 3

COLOURS: Final = {
    "healthy": "32",
    "sick": "31",
    CLOSED: "32",
    OPEN: "31",
    HALF_OPEN: "33",
    "OK": "1;32",
    "FAILED": "1;31",
}


class Screen:
    """Writes to a terminal, a file or a pipe; in colour only where that is welcome."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._coloured = out.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"

    def line(self, text: str = "") -> None:
        """Write one line, at once."""
        print(text, file=self._out, flush=True)

    def paragraph(self, text: str, indent: int = 0) -> None:
        """Write a text in lines of the right length; all but the first are indented."""
        lines = textwrap.wrap(
            text, WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False, break_long_words=False
        )
        for line in lines:
            self.line(line)

    def paint(self, text: str, word: str) -> str:
        """Return `text` in the colour of `word`."""
        colour = COLOURS.get(word)
        return f"\033[{colour}m{text}\033[0m" if colour and self._coloured else text


def introduction(screen: Screen, workers: int, *, compare: bool) -> None:
    """Say what one is about to see."""
    processes = "One worker process calls" if workers == 1 else f"{workers} worker processes call"
    screen.paragraph((COMPARISON if compare else INTRODUCTION).format(workers=processes))
    screen.line()
    screen.paragraph(LEGEND)
    screen.line()


def heading(screen: Screen, plan: Plan, seconds: float, workers: int, place: str) -> None:
    """Say with which settings one is about to see it."""
    entries = {
        "library": TITLES[plan.library].format(version=version("pybreaker")),
        "backend": f"{plan.backend}, sick from {_outages(plan)}",
        "circuit": _circuit(plan, place),
        "breaker": _settings(plan),
        "run": f"{seconds:g} seconds, about {workers / plan.pause:.0f} calls a second, seed {plan.seed}",
    }
    for name, text in entries.items():
        screen.paragraph(f"  {name:<8} {text}", indent=11)
    screen.line()


def _circuit(plan: Plan, place: str) -> str:
    if plan.library == PLAIN and plan.url.startswith("sqlite:"):
        return "one in each worker's memory, as pybreaker shares none in a file; --url redis://... lets it share one"
    return f"{plan.name} in {place}"


def _settings(plan: Plan) -> str:
    common = f"fail_max={FAIL_MAX}, reset_timeout={RESET_TIMEOUT}, success_threshold={SUCCESS_THRESHOLD}"
    if plan.compared:
        return common
    return (
        f"{common}, half_open_max_calls={PROBES}, backoff=Backoff({BACKOFF.multiplier:g}, "
        f"maximum={BACKOFF.maximum:g}, jitter={BACKOFF.jitter:g})"
    )


def _outages(plan: Plan) -> str:
    texts = [f"{begin:.1f} to {end:.1f} s" for begin, end in plan.outages]
    if len(texts) > MANY:
        texts[MANY - 1 :] = [f"{len(texts) - MANY + 1} times more"]
    return f"{', '.join(texts[:-1])} and {texts[-1]}" if len(texts) > 1 else texts[0]


class Timeline:
    """Prints lines that each tell of the time since the one before."""

    def __init__(self, screen: Screen, plan: Plan) -> None:
        self._screen = screen
        self._plan = plan
        self._told = (0, 0, 0, 0)
        self._newest = 0
        self._state: str = CLOSED

    def head(self) -> None:
        """Print the columns' names."""
        self._screen.line("  ".join(f"{name:{align}}" for name, align in COLUMNS.items()))

    def row(self, elapsed: float, calls: int, tally: Tally) -> None:
        """Print the line that ends at `elapsed`."""
        now = (calls, tally.errors, tally.rejections, len(tally.probes))
        news = [str(count - told) if count > told else "." for count, told in zip(now, self._told, strict=True)]
        self._told = now
        backend = "healthy" if self._plan.outage(elapsed) is None else "sick"
        path = self._path(tally) if self._plan.library == OURS else self._standing(tally)
        texts = (f"{elapsed:.1f} s", backend, path, *news)
        words = ("", backend, self._state, "", "", "", "")
        cells = (
            self._screen.paint(f"{text:{align}}", word)
            for text, align, word in zip(texts, COLUMNS.values(), words, strict=True)
        )
        self._screen.line("  ".join(cells))

    def _standing(self, tally: Tally) -> str:
        """Return in which state how many workers are."""
        counts = Counter(tally.standing.values())
        self._state = next((state for state in (OPEN, HALF_OPEN) if counts[state]), CLOSED)
        text = ", ".join(f"{counts[state]} {state}" for state in (OPEN, HALF_OPEN, CLOSED) if counts[state])
        return text if len(text) <= LONGEST_PATH else text.replace(HALF_OPEN, "half").replace(",", "")

    def _path(self, tally: Tally) -> str:
        """Return the states that the circuit went through since the last line, the present one last."""
        path = [self._state]
        for generation, state, _ in tally.states:
            if generation > self._newest:
                self._newest = generation
                if state != path[-1]:
                    path.append(state)
        self._state = path[-1]
        text = " > ".join(path)
        return text if len(text) <= LONGEST_PATH else f"{path[0]} > .. > {path[-1]}"


def summary(screen: Screen, result: Result) -> bool:
    """Print what the run has shown, and return whether that is what it should."""
    tally = result.tally
    reached = sum(result.sick_calls.values())
    periods = ", ".join(map(str, tally.periods())) or "none"
    figures = {
        "calls that reached the sick backend": str(reached),
        "without a breaker it would have been": str(tally.sick_attempts),
        "probes in each half-open period": periods,
        "most probes at the same time": f"{tally.most_probes_at_once()} (allowed: {PROBES})",
        "from healed to closed": ", ".join(
            _time_to_close(result, outage) for outage in range(len(result.plan.outages))
        ),
        "errors users saw": str(tally.errors),
        "rejections": str(tally.rejections),
        "circuit at the end": result.state or "unknown",
    }
    screen.line()
    for name, figure in figures.items():
        screen.paragraph(f"  {name:<37} {figure}", indent=40)
    screen.line()
    return verdict(screen, result)


def _time_to_close(result: Result, outage: int) -> str:
    if not result.opened(outage):
        return "it never opened"
    seconds = result.time_to_close(outage)
    return "not in this run" if seconds is None else f"{seconds:.1f} s"


def verdict(screen: Screen, result: Result) -> bool:
    """Print what was wrong with a run, or that nothing was, and return which."""
    found = list(problems(result))
    for problem in found:
        screen.paragraph(f"{screen.paint('FAILED', 'FAILED')}: {problem}", indent=8)
    if not found:
        screen.line(f"{screen.paint('OK', 'OK')}: {_praise(result)}")
    return not found


def _praise(result: Result) -> str:
    if result.state != CLOSED:
        return "one probe at a time; the run ended before the circuit could close."
    if not any(map(result.opened, range(len(result.plan.outages)))):
        return "but the outage was too short for enough errors to open the circuit."
    return "one probe at a time, and closed once the backend was well."
