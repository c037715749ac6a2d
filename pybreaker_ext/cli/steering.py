"""`open`, `half-open`, `close` and `reset`: circuits set by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import click

from pybreaker_ext.cli.as_json import circuit_as_json, print_json
from pybreaker_ext.cli.choosing import ask_before_several
from pybreaker_ext.cli.ending import UNREACHABLE, Refused
from pybreaker_ext.cli.options import duration_given, json_option, names_argument, store_option
from pybreaker_ext.cli.store import operator
from pybreaker_ext.cli.summaries import SUMMARIES
from pybreaker_ext.cli.words import duration, printable, quoted
from pybreaker_ext.machine import OPEN, Event, Policy
from pybreaker_ext.settings import milliseconds
from pybreaker_ext.snapshot import in_seconds
from pybreaker_ext.storage.redis_urls import in_words

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.cli.store import Store
    from pybreaker_ext.machine import Decision
    from pybreaker_ext.storage.places import Place

_yes_option = click.option("--yes", "-y", is_flag=True, help="Don't ask before several circuits are set.")


def _steering(name: str) -> Callable[[Any], click.Command]:
    """Return what makes a function the command `name`, with the options of all four."""

    def command(function: Any) -> click.Command:
        for option in (json_option, _yes_option, store_option, names_argument):
            function = option(function)
        return click.command(name, help=SUMMARIES[name])(function)

    return command


@_steering("open")
@click.option(
    "--for",
    "seconds",
    callback=duration_given,
    default="forever",
    show_default=True,
    metavar="DURATION",
    help="How long: 90s, 10m, 1h30m, or forever, which is until somebody closes it.",
)
def open_command(names: tuple[str, ...], store: Store, seconds: float, *, yes: bool, as_json: bool) -> None:
    """Open circuits."""
    _set(store, names, Event("open", duration=milliseconds(seconds)), yes=yes, as_json=as_json)


@_steering("half-open")
def half_open_command(names: tuple[str, ...], store: Store, *, yes: bool, as_json: bool) -> None:
    """Half-open circuits."""
    _set(store, names, Event("half_open"), yes=yes, as_json=as_json)


@_steering("close")
def close_command(names: tuple[str, ...], store: Store, *, yes: bool, as_json: bool) -> None:
    """Close circuits."""
    _set(store, names, Event("close"), yes=yes, as_json=as_json)


@_steering("reset")
def reset_command(names: tuple[str, ...], store: Store, *, yes: bool, as_json: bool) -> None:
    """Reset circuits."""
    _set(store, names, Event("reset"), yes=yes, as_json=as_json)


def _set(store: Store, names: tuple[str, ...], event: Event, *, yes: bool, as_json: bool) -> None:
    places = store.places(names)
    if not yes:
        ask_before_several(event.kind.replace("_", "-"), places)
    worker = operator()
    for place in places:
        decision = _applied(store, place, event, worker)
        if not as_json:
            click.echo(f"{quoted(place.name)}: {_news(decision)}")
    if as_json:
        print_json([circuit_as_json(circuit) for circuit in store.read(places)])


def _applied(store: Store, place: Place, event: Event, worker: str) -> Decision:
    with store.asked() as listing:
        try:
            storage: Any = listing.storage_at(place, worker)
        except ValueError as error:
            message = f"can't set {quoted(place.name)}: {error}"
            raise Refused(message, UNREACHABLE) from error
    decision: Decision = storage.apply(event, Policy())
    if decision.epoch % 2:  # a stand-in has decided, and nobody else will ever know
        told = in_words(storage.outage.error) if storage.outage.error else "it is busy"
        message = f"can't set {quoted(place.name)} in {store.where}: {printable(told)}"
        raise Refused(message, UNREACHABLE)
    return decision


def _news(decision: Decision) -> str:
    state = decision.after.state
    if state != OPEN:
        return f"{state}, was {decision.old_state}"
    left = in_seconds(decision.retry_after)
    until = "until somebody closes it" if left == math.inf else f"for {duration(left)}"
    return f"{state} {until}, was {decision.old_state}"
