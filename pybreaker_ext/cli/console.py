"""Where tables go: a terminal in its own colours, or a file or a pipe without any."""

from __future__ import annotations

from typing import Final, NoReturn

from rich.console import Console
from rich.text import Text

from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN

#: Columns of what is no terminal: nothing is cut.
ENDLESS: Final = 10_000

#: Green is the terminal's own. What has a ground has both from the part of the palette that no theme changes:
#: the white of light themes is grey.
STYLES: Final = {CLOSED: "green", OPEN: "bold color(231) on color(160)", HALF_OPEN: "color(16) on color(220)"}


class _Console(Console):
    """Tells a closed pipe as any other program does."""

    def on_broken_pipe(self) -> NoReturn:
        raise BrokenPipeError


def console() -> Console:
    """Return the console of the standard output. Texts are shown as they are: nothing in them is markup."""
    made = _Console(markup=False, highlight=False, emoji=False, soft_wrap=False)
    if not made.is_terminal:
        made.width = ENDLESS
    return made


def badge(state: str) -> Text:
    """Return a state in its colour."""
    return Text().append(f" {state} ", STYLES[state])
