"""`demo`: reads its command line with what Python brings along, so that it works without any extra."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pybreaker_ext import demo
from pybreaker_ext.cli.words import printable
from pybreaker_ext.demo.store import DemoError
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MOST_WORKERS: Final = 64
SHORTEST: Final = 5
LONGEST: Final = 3600

DESCRIPTION: Final = """\
Real worker processes call a real HTTP server through one shared circuit. The
server falls sick (it refuses, hangs up, or is slow) and heals again; the
timeline shows what the circuit does about it and what it spares the server.
"""

EPILOG: Final = """\
exit codes:
  0    the run showed what it should
  1    it did not; the last lines say what
  2    an option is wrong, or the store can't be used
  130  stopped by Ctrl-C

examples:
  {program} demo
  {program} demo --workers 16 --seconds 30 --seed 7
  {program} demo --url redis://localhost:6379/0
  {program} demo --compare --workers 12 --plot demo.svg
"""


class Option(NamedTuple):
    """One option; without `read` it is a switch."""

    flag: str
    help: str
    metavar: str | None = None
    read: Callable[[str], Any] | None = None
    default: Any = False

    @property
    def field(self) -> str:
        """Which of the demo's options it is."""
        return {"--json": "as_json"}.get(self.flag, self.flag.lstrip("-"))


def _whole_number(text: str, least: int, most: int) -> int:
    message = f"must be a whole number from {least} to {most}, not {text!r}"
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(message)
    return number


def _workers(text: str) -> int:
    return _whole_number(text, 1, MOST_WORKERS)


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        message = f"must be a whole number, not {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def _seconds(text: str) -> float:
    message = f"must be a number of seconds from {SHORTEST} to {LONGEST}, not {text!r}"
    try:
        number = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if not SHORTEST <= number <= LONGEST:  # which NaN isn't, either
        raise argparse.ArgumentTypeError(message)
    return number


def _url(text: str) -> str:
    try:
        storage = from_url(text, "demo")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if isinstance(storage, CircuitMemoryStorage):
        message = "memory:// is one process's own memory, which worker processes can't share; use redis:// or sqlite://"
        raise argparse.ArgumentTypeError(message)
    return text


_DEFAULTS: Final = demo.Options()

OPTIONS: Final = (
    Option(
        "--workers",
        f"worker processes, 1 to {MOST_WORKERS} (default: %(default)s)",
        "N",
        _workers,
        _DEFAULTS.workers,
    ),
    Option(
        "--seconds",
        f"how long the workers call, {SHORTEST} to {LONGEST} seconds (default: {_DEFAULTS.seconds:g})",
        "S",
        _seconds,
        _DEFAULTS.seconds,
    ),
    Option(
        "--seed",
        "any whole number; another one gives other outages and other pauses between calls (default: %(default)s)",
        "N",
        _seed,
        _DEFAULTS.seed,
    ),
    Option(
        "--url",
        "where the circuit is kept: redis://host:6379/0, rediss://..., unix:///socket, "
        "or sqlite:///file.db, which stays (default: an SQLite file in a temporary directory)",
        "URL",
        _url,
        None,
    ),
    Option("--compare", "show the same outage with pybreaker's own breakers first, then both side by side"),
    Option(
        "--plot",
        'draw the timelines into a file, FILE.svg or FILE.png; needs: pip install "pybreaker-ext[plot]"',
        "FILE",
        Path,
        None,
    ),
    Option("--json", "print nothing but the figures, as JSON, for scripts"),
)


def run(arguments: Sequence[str], program: str) -> int:
    """Run the demo that the command line tells, and return the exit code.

    Raises:
        SystemExit: An argument is wrong, or help was asked for.
    """
    given = _parser(program).parse_args(arguments)
    try:
        return demo.run(demo.Options(**vars(given)), sys.stdout)
    except DemoError as error:
        sys.stderr.write(f"{program} demo: error: {printable(str(error))}\n")
        return error.code


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"{program} demo",
        description=DESCRIPTION,
        epilog=EPILOG.format(program=program),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    for option in OPTIONS:
        if option.read is None:
            parser.add_argument(option.flag, action="store_true", dest=option.field, help=option.help)
        else:
            parser.add_argument(
                option.flag,
                dest=option.field,
                type=option.read,
                default=option.default,
                metavar=option.metavar,
                help=option.help,
            )
    return parser
