"""Which circuits a command means, and whether somebody really wants that."""

from __future__ import annotations

import sys
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

import click

from pybreaker_ext.cli.ending import NOTHING_DONE, USAGE, Refused
from pybreaker_ext.cli.words import quoted

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pybreaker_ext.storage.places import Place

#: Names that a question lists.
_LISTED: Final = 10


def wanted(places: Iterable[Place], patterns: Sequence[str]) -> list[Place]:
    """Return the places of these names or globs; all for none."""
    if not patterns:
        return list(places)
    return [place for place in places if place.name in patterns or any(fnmatchcase(place.name, p) for p in patterns)]


def ask_before_several(action: str, places: Sequence[Place]) -> None:
    """Ask before more than one circuit is set; refuse when nobody can be asked, or says no."""
    if len(places) == 1:
        return
    names = [quoted(place.name) for place in places[:_LISTED]]
    more = f" and {len(places) - _LISTED} more" if len(places) > _LISTED else ""
    if not sys.stdin.isatty():
        message = f"this would {action} {len(places)} circuits ({', '.join(names)}{more}); say --yes if it should"
        raise Refused(message, USAGE)
    click.echo(f"{', '.join(names)}{more}", err=True)
    if not click.confirm(f"{action.capitalize()} these {len(places)} circuits?", err=True):
        message = "nothing was changed"
        raise Refused(message, NOTHING_DONE)
