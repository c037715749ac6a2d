"""Circuits as the rows of a table, which fits 80 columns."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from pybreaker_ext.cli.console import badge
from pybreaker_ext.cli.words import duration, printable
from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import JustifyMethod

    from pybreaker_ext.stored import StoredCircuit


#: Columns that are as wide as what may stand in them: their names, and how they are aligned.
_FIXED: Final[Mapping[str, tuple[int, JustifyMethod]]] = {
    " state": (11, "left"),
    "since": (6, "right"),
    "probe": (8, "left"),
    "trips": (5, "right"),
    "count": (8, "left"),
}

#: What the last column gets at least, and the names, where there is no room for both.
_SHORTEST_CHANGE: Final = 16
_SHORTEST_NAME: Final = 12


def table_of(circuits: Sequence[StoredCircuit], width: int) -> Table:
    """Return a table that is at most `width` columns wide."""
    rows = [_cells(circuit) for circuit in circuits]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    room = width - sum(columns + 1 for columns, _ in _FIXED.values()) - 1
    longest = max((row[0].cell_len for row in rows), default=0)
    names = max(_SHORTEST_NAME, min(longest, room - _SHORTEST_CHANGE))
    table.add_column("circuit", no_wrap=True, width=names, overflow="ellipsis")
    for name, (columns, justify) in _FIXED.items():
        table.add_column(name, no_wrap=True, width=columns, justify=justify, overflow="ellipsis")
    table.add_column("last change", no_wrap=True, max_width=max(1, room - names), overflow="ellipsis")
    for row in rows:
        table.add_row(*row)
    return table


def _cells(circuit: StoredCircuit) -> tuple[Text, ...]:
    return (
        Text(printable(circuit.name)) if circuit.name else Text("(no namespace)", "italic"),
        badge(circuit.state),
        Text("" if circuit.since is None else duration(circuit.now - circuit.since)),
        Text(next_probe(circuit)),
        Text(str(circuit.trips) if circuit.trips else ""),
        Text(_count(circuit)),
        Text(last_change(circuit)),
    )


def next_probe(circuit: StoredCircuit) -> str:
    """Return when a circuit is probed next (`due`: by the next call), or how many probes are out."""
    if circuit.state == HALF_OPEN:
        return f"{circuit.probes} out" if circuit.probes else "due"
    if circuit.state != OPEN:
        return ""
    if circuit.open_until is None:
        return "unknown"
    if circuit.open_until == math.inf:
        return "by hand"
    left = circuit.open_until - circuit.now
    return f"in {duration(math.ceil(left))}" if left > 0 else "due"


def _count(circuit: StoredCircuit) -> str:
    if circuit.state == HALF_OPEN:
        return f"{circuit.success_counter} ok"
    return f"{circuit.fail_counter} failed" if circuit.fail_counter else ""


def last_change(circuit: StoredCircuit) -> str:
    """Return why and by whom a circuit has come into its state."""
    if circuit.foreign and circuit.state != CLOSED:
        return "another program"
    worker = circuit.last_change.worker if circuit.last_change else ""
    return printable(", ".join(part for part in (circuit.reason, worker) if part))
