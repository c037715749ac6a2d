"""The same as JSON, for scripts."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from pybreaker_ext.snapshot import Transition
    from pybreaker_ext.stored import StoredCircuit


def print_json(value: Any, *, in_one_line: bool = False) -> None:
    """Print a value as JSON in ASCII, at once."""
    text = json.dumps(value, allow_nan=False, indent=None if in_one_line else 2)
    click.echo(text.replace("\x7f", "\\u007f"))  # the one control character that JSON may hold as it is


def circuit_as_json(circuit: StoredCircuit) -> dict[str, Any]:
    """Return a circuit as JSON has it."""
    until = circuit.open_until
    return {
        "name": circuit.name,
        "namespace": circuit.namespace,
        "state": circuit.state.value,
        "since": circuit.since,
        "fail_counter": circuit.fail_counter,
        "success_counter": circuit.success_counter,
        "trips": circuit.trips,
        "reason": circuit.reason,
        "opened_at": circuit.opened_at,
        "open_until": None if until == math.inf else until,
        "until_closed_by_hand": until == math.inf,
        "probes": circuit.probes,
        "last_change": change_as_json(circuit.last_change) if circuit.last_change else None,
        "foreign": circuit.foreign,
        "now": circuit.now,
    }


def change_as_json(change: Transition) -> dict[str, Any]:
    """Return a change of state as JSON has it."""
    return {
        "at": change.at,
        "from": change.old_state.value,
        "to": change.new_state.value,
        "reason": change.reason,
        "worker": change.worker,
    }
