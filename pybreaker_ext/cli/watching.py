"""`watch`: a live table. What a refresh costs the store doesn't grow with the number of circuits that are well.

A refresh reads at most so many pages of keys, glances at the circuits that are known, and reads those
that it has room for: those first that somebody may have to care for.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import click
from rich.console import Group
from rich.live import Live
from rich.text import Text

from pybreaker_ext.cli.as_json import circuit_as_json, print_json
from pybreaker_ext.cli.choosing import wanted
from pybreaker_ext.cli.console import STYLES, console
from pybreaker_ext.cli.ending import Refused
from pybreaker_ext.cli.options import json_option, some_names_argument, store_option
from pybreaker_ext.cli.rows import table_of
from pybreaker_ext.cli.summaries import SUMMARIES
from pybreaker_ext.cli.words import printable
from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN
from pybreaker_ext.stored import circuit_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console, RenderableType

    from pybreaker_ext.cli.store import Store
    from pybreaker_ext.storage.places import Glance, Place

#: Pages of keys that are read for a refresh: 10,000 keys, on which circuits may be.
PAGES: Final = 10

#: Seconds between two refreshes.
SHORTEST: Final = 0.2
LONGEST: Final = 3600

#: Lines of a screen that are not circuits: two above, the table's head, and two below.
FRAME: Final = 5

_ORDER: Final = {OPEN: 0, HALF_OPEN: 1, CLOSED: 2}


class Look:
    """What one refresh has seen.

    Attributes:
        at: When, as the wall clock here tells it.
        counts: How many circuits are in each state.
        circuits: Those that there is room for.
        complete: Whether the whole store has been searched.
    """

    def __init__(self, store: Store, patterns: Sequence[str], room: int | None) -> None:
        with store.asked() as listing:
            places = wanted(listing.search(PAGES), patterns)
            glances = listing.glance(places)
            chosen = sorted(glances, key=lambda place: _urgency(place, glances[place]))[:room]
            seen = listing.read(chosen)
            self.complete = listing.complete
        self.at = time.strftime("%H:%M:%S")
        self.counts = Counter(glance.state for glance in glances.values())
        self.circuits = [circuit_of(place, seen[place]) for place in chosen if place in seen]


def _urgency(place: Place, glance: Glance) -> tuple[int, bool, Place]:
    return _ORDER[glance.state], glance.state == CLOSED and not glance.fail_counter, place


def _interval(ctx: click.Context, param: click.Parameter, seconds: float) -> float:
    if not SHORTEST <= seconds <= LONGEST:  # NaN, which passes click's own check
        message = f"must be a number of seconds from {SHORTEST} to {LONGEST}"
        raise click.BadParameter(message, ctx, param)
    return seconds


@click.command("watch", help=SUMMARIES["watch"])
@some_names_argument
@store_option
@click.option(
    "--interval",
    type=click.FloatRange(SHORTEST, LONGEST),
    default=1.0,
    callback=_interval,
    show_default=True,
    metavar="SECONDS",
    help="Time between two refreshes, 0.2 to 3600 seconds.",
)
@click.option("--count", type=click.IntRange(1), metavar="N", help="End after so many refreshes; without, by Ctrl-C.")
@json_option
def watch_command(names: tuple[str, ...], store: Store, interval: float, count: int | None, *, as_json: bool) -> None:
    """Refresh until somebody has seen enough."""
    screen, ticks = console(), _ticks(interval, count)
    with contextlib.suppress(KeyboardInterrupt):
        if screen.is_terminal and not screen.is_dumb_terminal and not as_json:
            _watch_screen(screen, store, names, ticks)
            return
        for _ in ticks:
            look = Look(store, names, None)
            if as_json:
                print_json([circuit_as_json(circuit) for circuit in look.circuits], in_one_line=True)
            else:
                screen.print(_head(store, look), table_of(look.circuits, screen.width), "", sep="\n")


def _ticks(interval: float, count: int | None) -> Iterator[None]:
    """Yield at once, and again whenever the interval is over."""
    due = time.monotonic()
    for number in itertools.count(1):
        yield
        if number == count:
            return
        due = max(due + interval, time.monotonic())
        time.sleep(max(0.0, due - time.monotonic()))


def _watch_screen(screen: Console, store: Store, names: Sequence[str], ticks: Iterator[None]) -> None:
    def look() -> Look:
        return Look(store, names, max(1, screen.height - FRAME))

    for ending in (signal.SIGTERM, signal.SIGHUP):  # so that the terminal is left as it was, also then
        signal.signal(ending, lambda number, _: sys.exit(128 + number))
    seen, trouble = look(), ""  # a store that can't be asked from the start ends the command
    with Live(console=screen, screen=True, auto_refresh=False) as live:
        _hand_over_when_stopped(live)
        for count, _ in enumerate(ticks):
            try:
                seen, trouble = look() if count else seen, ""
            except Refused as error:
                trouble = str(error.__cause__)
            live.update(_frame(store, seen, trouble, screen.width), refresh=True)


def _hand_over_when_stopped(live: Live) -> None:
    """Give the shell its screen back for as long as Ctrl-Z has stopped the command."""
    screen = live.console

    def stop(number: int, _: object) -> None:
        screen.set_alt_screen(enable=False)
        screen.show_cursor(show=True)
        signal.signal(number, signal.SIG_DFL)
        signal.raise_signal(number)  # goes on behind this when there is a SIGCONT
        signal.signal(number, stop)
        screen.set_alt_screen(enable=True)
        screen.show_cursor(show=False)
        live.refresh()

    signal.signal(signal.SIGTSTP, stop)


def _frame(store: Store, look: Look, trouble: str, width: int) -> RenderableType:
    body = table_of(look.circuits, width) if look.circuits else Text("No circuits yet.", "italic")
    return Group(_head(store, look), Text(), body, Text(), _foot(look, trouble))


def _head(store: Store, look: Look) -> Text:
    parts = [(f"{look.counts[state]:,} {state}", STYLES[state] if look.counts[state] else "") for state in _ORDER]
    line = Text(" ", no_wrap=True, overflow="ellipsis").join(Text(f" {text} ", style) for text, style in parts)
    return line.append(f"  {look.at}  {store.where}")


def _foot(look: Look, trouble: str) -> Text:
    if trouble:
        return Text(f"Trying again: {printable(trouble)}", "bold red", no_wrap=True, overflow="ellipsis")
    more = sum(look.counts.values()) - len(look.circuits)
    texts = (
        f"{more:,} more" if more else "",
        "" if look.complete else "still looking for circuits",
        "Ctrl-C ends this",
    )
    return Text(", ".join(text for text in texts if text), "dim")
