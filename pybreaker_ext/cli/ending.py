"""How a command ends: exit codes, and the error that is one line."""

from __future__ import annotations

from typing import Final

#: The command has done what it says.
GOOD: Final = 0

#: There is no such circuit, or somebody said no.
NOTHING_DONE: Final = 1

#: The command line is wrong, or an extra is missing. What argparse and click give, too.
USAGE: Final = 2

#: The store can't be asked.
UNREACHABLE: Final = 3

#: What `check` gives when nobody knows.
UNKNOWN: Final = 3

#: What shells give for a program that was stopped by Ctrl-C, and by a closed pipe.
INTERRUPTED: Final = 130
CLOSED_PIPE: Final = 141


class Refused(Exception):  # noqa: N818  it tells somebody no
    """The command can't do what it was asked; its text says why, in one line. `code` is the exit code."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.code = code
