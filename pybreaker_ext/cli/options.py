"""What several commands take: the store, names, durations, and JSON for scripts."""

from __future__ import annotations

import contextlib
import math
import os
import re
from typing import TYPE_CHECKING, Any, Final

import click
from click.shell_completion import CompletionItem

from pybreaker_ext.cli.store import Store
from pybreaker_ext.durations import in_seconds
from pybreaker_ext.environment import URL
from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.storage.listing import listing_of

if TYPE_CHECKING:
    from collections.abc import Callable

#: Pages of keys that are read to complete a name.
PAGES: Final = 10

NO_URL: Final = (
    f"Say where the circuits are: --url redis://localhost:6379/0, --url sqlite:///circuits.db, or set {URL}."
)


def duration_given(ctx: click.Context, param: click.Parameter, value: str) -> float:
    """Return the seconds of a duration as people write it; refuse anything else."""
    if value == "forever":
        return math.inf
    seconds = in_seconds(f"{value}s" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else value)
    if not isinstance(seconds, float):
        message = f"must be a duration such as 90s, 10m or 1h30m, not {value!r}"
        raise click.BadParameter(message, ctx, param)
    return seconds


def _store(ctx: click.Context, param: click.Parameter, url: str | None) -> Store | str | None:
    if ctx.resilient_parsing:  # for the completion of names
        return url
    if not url:
        raise click.UsageError(NO_URL, ctx)
    try:
        return Store(url)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error


def _known_names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Return names in the store; nothing when it can't be asked: nobody wants an error, or to wait, while typing."""
    with contextlib.suppress(ValueError, StoreUnavailableError):
        places = listing_of(ctx.params.get("store") or os.environ.get(URL, "")).search(PAGES)
        names = sorted({place.name for place in places})
        return [CompletionItem(name) for name in names if name.isprintable() and name.startswith(incomplete)]
    return []


def _arguments(number: int) -> Callable[[Any], Any]:
    return click.argument(
        "names" if number < 0 else "name",
        nargs=number,
        required=True,
        metavar="NAME..." if number < 0 else "NAME",
        shell_complete=_known_names,
    )


names_argument = _arguments(-1)
name_argument = _arguments(1)
some_names_argument = click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=_known_names)

store_option = click.option(
    "--url",
    "store",
    metavar="URL",
    envvar=URL,
    show_envvar=True,
    callback=_store,
    help="Where the circuits are: redis://host:6379/0, redis+cluster://, redis+sentinel://, or sqlite:///file.db.",
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for scripts.")
