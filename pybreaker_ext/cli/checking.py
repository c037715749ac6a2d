"""`check`: for Nagios and its kin. One line, and an exit code of theirs: 0 OK, 1 WARNING, 2 CRITICAL, 3 UNKNOWN."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

import click

from pybreaker_ext.cli.as_json import circuit_as_json, print_json
from pybreaker_ext.cli.ending import UNKNOWN, Refused
from pybreaker_ext.cli.options import json_option, names_argument, store_option
from pybreaker_ext.cli.rows import next_probe
from pybreaker_ext.cli.summaries import SUMMARIES
from pybreaker_ext.cli.words import duration, printable
from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pybreaker_ext.cli.store import Store
    from pybreaker_ext.stored import StoredCircuit

#: What a state is to those who watch, the worst last.
_CODES: Final = {CLOSED: 0, HALF_OPEN: 1, OPEN: 2}
_NAMES: Final = ("OK", "WARNING", "CRITICAL", "UNKNOWN")

#: Circuits that the line tells of.
_TOLD: Final = 5

EPILOG: Final = """\b
Exit codes:
  0  OK        all are closed
  1  WARNING   one is half-open, or is due: its open time is over
  2  CRITICAL  one is open
  3  UNKNOWN   no such circuit, no answer of the store, or a wrong command"""


@click.command("check", help=SUMMARIES["check"], epilog=EPILOG)
@names_argument
@store_option
@json_option
def check_command(names: tuple[str, ...], store: Store, *, as_json: bool) -> int:
    """Tell how circuits are."""
    try:
        circuits = store.read(store.places(names))
    except Refused as error:
        tell_unknown(str(error))
        return UNKNOWN
    code = max(map(_code, circuits), default=UNKNOWN)
    if as_json:
        seen = [circuit_as_json(circuit) for circuit in circuits]
        print_json({"status": _NAMES[code], "code": code, "circuits": seen})
    else:
        click.echo(f"CIRCUITS {_NAMES[code]} - {_for_nagios(_story(circuits, code))} | {_figures(circuits)}")
    return code


def _code(circuit: StoredCircuit) -> int:
    """Return what a circuit is to those who watch; one that waits for nothing but a call keeps nobody out."""
    return _CODES[HALF_OPEN] if circuit.state == OPEN and next_probe(circuit) == "due" else _CODES[circuit.state]


def tell_unknown(reason: str) -> None:
    """Print the line that tells that nobody knows."""
    click.echo(f"CIRCUITS UNKNOWN - {_for_nagios(reason)}")


def _for_nagios(text: str) -> str:
    """Return a text without what would begin the figures."""
    return text.replace("|", "¦")


def _story(circuits: Sequence[StoredCircuit], code: int) -> str:
    told = [_told(circuit) for circuit in circuits if _code(circuit) == code]
    if code == 0 and len(circuits) > 1:
        return f"all {len(circuits)} closed"
    more = f" and {len(told) - _TOLD} more" if len(told) > _TOLD else ""
    return ", ".join(told[:_TOLD]) + more


def _told(circuit: StoredCircuit) -> str:
    name = printable(circuit.name) or "(no namespace)"
    since = "" if circuit.since is None else f" for {duration(circuit.now - circuit.since)}"
    details = ", ".join(part for part in (printable(circuit.reason), _probe(circuit)) if part)
    return f"{name} {circuit.state}{since}" + (f" ({details})" if details else "")


def _probe(circuit: StoredCircuit) -> str:
    return f"probe: {next_probe(circuit)}" if circuit.state == OPEN else ""


def _figures(circuits: Sequence[StoredCircuit]) -> str:
    counts = Counter(str(circuit.state) for circuit in circuits)
    return " ".join(f"{state.replace('-', '_')}={counts[state]}" for state in _CODES)
