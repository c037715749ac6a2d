"""`history`: a circuit's past, drawn as a strip of its states over time and told change by change."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click
from rich.table import Table
from rich.text import Text

from pybreaker_ext.cli.as_json import change_as_json, print_json
from pybreaker_ext.cli.console import badge, console
from pybreaker_ext.cli.ending import NOTHING_DONE, Refused
from pybreaker_ext.cli.options import json_option, name_argument, store_option
from pybreaker_ext.cli.summaries import SUMMARIES
from pybreaker_ext.cli.words import duration, moment, printable, quoted
from pybreaker_ext.machine import CLOSED, HALF_OPEN, MANUAL, OPEN
from pybreaker_ext.snapshot import transition_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from pybreaker_ext.cli.store import Store
    from pybreaker_ext.snapshot import Transition

#: How a state is drawn: heights tell them apart where there are no colours.
#: The last one is drawn where several share a column.
_BLOCKS: Final = {CLOSED: ("▂", "green"), OPEN: ("█", "red"), HALF_OPEN: ("▅", "yellow")}

#: Columns of the strip at most, and where there is no terminal.
_WIDEST: Final = 120
_USUAL: Final = 80


@click.command("history", help=SUMMARIES["history"])
@name_argument
@store_option
@click.option(
    "--limit",
    type=click.IntRange(1, 1_000_000),
    default=20,
    show_default=True,
    metavar="N",
    help="Changes that are told at most.",
)
@json_option
def history_command(name: str, store: Store, limit: int, *, as_json: bool) -> None:
    """Draw a circuit's past."""
    places = store.places((name,))
    if len(places) > 1:
        message = f"{quoted(name)} means {len(places)} circuits, and history draws one"
        raise Refused(message, NOTHING_DONE)
    with store.asked() as listing:
        changes = [transition_of(change) for change in listing.history(places[0], limit)]
    if as_json:
        print_json([change_as_json(change) for change in changes])
    elif changes:
        (circuit,) = store.read(places)
        _draw(console(), places[0].name, changes, circuit.now)
    else:
        click.echo(f"{quoted(places[0].name)} has no history in {store.where}.")


def _draw(screen: Console, name: str, changes: Sequence[Transition], now: float) -> None:
    width = min(screen.width if screen.is_terminal else _USUAL, _WIDEST)
    number = "1 change" if len(changes) == 1 else f"the last {len(changes)} changes"
    screen.print(Text(printable(name) or "(no namespace)", "bold").append(f": {number}", "default"))
    screen.print()
    screen.print(strip(changes, now, width))
    screen.print(axis(changes[0].at, now, width))
    screen.print()
    screen.print(_table(changes, now))


def strip(changes: Sequence[Transition], now: float, width: int) -> Text:
    """Return the states between the first change and now, one of them for each column."""
    begin, text = changes[0].at, Text(no_wrap=True)
    span = max(now - begin, 0.001)
    for column in range(width):
        left, right = (begin + span * (column + step) / width for step in (0, 1))
        block, style = _BLOCKS[_telling(changes, left, right)]
        text.append(block, style)
    return text


def _telling(changes: Sequence[Transition], left: float, right: float) -> str:
    """Return the state that tells most of the time between two instants: that a probe was out, or that it was open."""
    before = [change.new_state for change in changes if change.at <= left][-1:] or [changes[0].new_state]
    within = [change.new_state for change in changes if left < change.at < right]
    return str(max((*before, *within), key=list(_BLOCKS).index))


def axis(begin: float, end: float, width: int) -> Text:
    """Return what stands below the strip: when it begins, and how long it is."""
    first, last = moment(begin), "now"
    length = f"{duration(end - begin)}"
    return Text(f"{first}{length:^{max(0, width - len(first) - len(last))}}{last}", "dim", no_wrap=True)


def _table(changes: Sequence[Transition], now: float) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("when", no_wrap=True)
    table.add_column("from", no_wrap=True)
    table.add_column(" to", no_wrap=True)
    table.add_column("lasted", no_wrap=True, justify="right")
    table.add_column("reason", no_wrap=True)
    table.add_column("by", no_wrap=True, overflow="ellipsis")
    ends = [*(change.at for change in changes[1:]), now]
    for change, end in zip(changes, ends, strict=True):
        table.add_row(
            Text(moment(change.at)),
            Text(change.old_state, "dim"),
            badge(change.new_state),
            Text(duration(end - change.at)),
            Text(_why(change)),
            Text(printable(change.worker) or "another program"),
        )
    return table


def _why(change: Transition) -> str:
    if change.reason == MANUAL:
        return "by hand"
    if (change.old_state, change.new_state) == (OPEN, HALF_OPEN):
        return "time over"
    if (change.old_state, change.new_state) == (HALF_OPEN, CLOSED):
        return "probes"
    return printable(change.reason)
