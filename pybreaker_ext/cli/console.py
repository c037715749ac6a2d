"""Where tables go: a terminal in its own colours, or a file or a pipe without any."""

from __future__ import annotations

from typing import Final, NoReturn

from rich.console import Console
from rich.text import Text

from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN

#: Columns of what is no terminal: nothing is cut.
ENDLESS: Final = 10_000

#: The sixteen colours are the terminal's own; those with a ground of their own read well on light and on dark.
STYLES: Final = {CLOSED: "green", OPEN: "bold bright_white on red", HALF_OPEN: "black on yellow"}


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
