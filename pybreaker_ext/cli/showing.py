"""`list` and `show`."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import click
from rich.table import Table
from rich.text import Text

from pybreaker_ext.cli.as_json import circuit_as_json, print_json
from pybreaker_ext.cli.console import badge, console
from pybreaker_ext.cli.options import json_option, names_argument, some_names_argument, store_option
from pybreaker_ext.cli.rows import next_probe, table_of
from pybreaker_ext.cli.summaries import SUMMARIES
from pybreaker_ext.cli.words import duration, moment, printable
from pybreaker_ext.machine import FAILURES, HOLD, MANUAL, OPEN

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybreaker_ext.cli.store import Store
    from pybreaker_ext.snapshot import Transition
    from pybreaker_ext.stored import StoredCircuit

#: Reasons in words.
REASONS: Final = {FAILURES: "failures", HOLD: "the backend asked for it", MANUAL: "set by hand", "": ""}


@click.command("list", help=SUMMARIES["list"])
@some_names_argument
@store_option
@json_option
def list_command(names: tuple[str, ...], store: Store, *, as_json: bool) -> None:
    """Print circuits, one in a line."""
    circuits = store.read(store.places(names))
    if as_json:
        print_json([circuit_as_json(circuit) for circuit in circuits])
    elif circuits:
        screen = console()
        screen.print(table_of(circuits, screen.width))
    else:
        click.echo(f"There are no circuits in {store.where}.")


@click.command("show", help=SUMMARIES["show"])
@names_argument
@store_option
@json_option
def show_command(names: tuple[str, ...], store: Store, *, as_json: bool) -> None:
    """Print all that the store knows of circuits."""
    circuits = store.read(store.places(names))
    if as_json:
        print_json([circuit_as_json(circuit) for circuit in circuits])
        return
    screen = console()
    for number, circuit in enumerate(circuits):
        if number:
            screen.print()
        screen.print(_sheet(circuit))


def _sheet(circuit: StoredCircuit) -> Table:
    sheet = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    sheet.add_column(no_wrap=True)
    sheet.add_column(overflow="fold")
    for name, value in _lines(circuit):
        sheet.add_row(Text(name, "bold"), value)
    return sheet


def _lines(circuit: StoredCircuit) -> Iterator[tuple[str, Text]]:
    yield "circuit", Text(printable(circuit.name) if circuit.name else "(no namespace)", "bold")
    if circuit.namespace not in (circuit.name, None):
        yield "namespace", Text(printable(str(circuit.namespace)))
    yield "state", badge(circuit.state)
    if circuit.since is not None:
        yield "since", Text(f"{moment(circuit.since)}, for {duration(circuit.now - circuit.since)}")
    if circuit.reason:
        yield "reason", Text(REASONS[circuit.reason])
    if next_probe(circuit):
        yield "next probe", Text(_probe(circuit))
    yield "failures", Text(f"{circuit.fail_counter} in a row")
    yield "probes", Text(f"{circuit.probes} out, {circuit.success_counter} successful")
    yield "trips", Text(f"{circuit.trips} in a row")
    if circuit.opened_at is not None:
        yield "last opened", Text(f"{moment(circuit.opened_at)}, {duration(circuit.now - circuit.opened_at)} ago")
    if circuit.foreign:
        yield "written by", Text("another program, and none of our workers has acted on it yet")
    elif circuit.last_change is not None:
        yield "last change", Text(_change(circuit.last_change, circuit.now))


def _probe(circuit: StoredCircuit) -> str:
    until = circuit.open_until
    if circuit.state == OPEN and until is None:
        return "when its workers' reset_timeout is over, which the store doesn't know"
    if until == math.inf:
        return "none, until somebody closes it"
    told = next_probe(circuit)
    return f"{told}, at {moment(until)}" if until is not None and until > circuit.now else told


def _change(change: Transition, now: float) -> str:
    worker = printable(change.worker) or "another program"
    return f"{change.old_state} to {change.new_state}, {duration(now - change.at)} ago, by {worker}"
