"""The command line: `pybreaker-ext`, which is the same as `python -m pybreaker_ext`.

The demo needs nothing but the package. All other commands are made with click and rich, which the
extra `cli` brings; without it, this module says so.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Final

from pybreaker_ext.cli import demo_command
from pybreaker_ext.cli.ending import CLOSED_PIPE, GOOD, INTERRUPTED, UNKNOWN, USAGE, Refused
from pybreaker_ext.cli.summaries import SUMMARIES, WITHOUT_EXTRA

if TYPE_CHECKING:
    from collections.abc import Sequence

#: As the console script is called.
PROGRAM: Final = "pybreaker-ext"

#: What the extra brings.
EXTRA: Final = frozenset({"click", "rich"})

INSTALL: Final = 'pip install "pybreaker-ext[cli]"'


def main(arguments: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Do what the command line says, and return the exit code.

    Raises:
        SystemExit: An argument of the demo is wrong, or its help was asked for.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What is wrong with a store is told once, by the command; the log would be a second line.
    logging.getLogger("pybreaker_ext").addHandler(logging.NullHandler())
    try:
        code = _run(given, program)
        sys.stdout.flush()
    except Refused as error:
        sys.stderr.write(f"{program}: {error}\n")
        return error.code
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:
        return INTERRUPTED
    return code


def _run(given: Sequence[str], program: str) -> int:
    if given[:1] == ["demo"]:
        return demo_command.run(given[1:], program)
    try:
        from pybreaker_ext.cli.app import run  # noqa: PLC0415  click and rich are an extra
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in EXTRA:
            raise
        return _without_extra(given, program)
    return run(given, program)


def _without_extra(given: Sequence[str], program: str) -> int:
    """Say what there is, and what has to be installed for the rest."""
    if given[:1] == ["check"]:
        sys.stdout.write(f"CIRCUITS UNKNOWN - {program} check needs click and rich, which come with: {INSTALL}\n")
        return UNKNOWN
    if given and given[0] in SUMMARIES:
        message = f"{given[0]} needs click and rich, which come with: {INSTALL}"
        raise Refused(message, USAGE)
    if given and given[0] not in ("-h", "--help"):
        message = f"there is no command {given[0]!r}; {program} --help lists them"
        raise Refused(message, USAGE)
    rows = (f"  {name:<10} {'' if name in WITHOUT_EXTRA else '* '}{summary}" for name, summary in SUMMARIES.items())
    text = "\n".join((f"usage: {program} COMMAND ...", "", "commands:", *rows, "", f"* needs: {INSTALL}", ""))
    (sys.stdout if given else sys.stderr).write(text)
    return GOOD if given else USAGE
