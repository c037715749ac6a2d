"""The command line: `python -m pybreaker_ext`."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Final

from pybreaker_ext import demo
from pybreaker_ext.demo.store import INTERRUPTED, DemoError
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import Sequence

PROGRAM: Final = "python -m pybreaker_ext"

#: What shells give for a program that was stopped by a closed pipe.
CLOSED_PIPE: Final = 141

MOST_WORKERS: Final = 64
SHORTEST: Final = 5
LONGEST: Final = 3600

DEMO: Final = """\
Real worker processes call a real HTTP server through one shared circuit. The
server falls sick (it refuses, hangs up, or is slow) and heals again; the
timeline shows what the circuit does about it and what it spares the server.
"""

EXIT_CODES: Final = """\
exit codes:
  0    the run showed what it should
  1    it did not; the last lines say what
  2    an option is wrong, or the store can't be used
  130  stopped by Ctrl-C

examples:
  python -m pybreaker_ext demo
  python -m pybreaker_ext demo --workers 16 --seconds 30 --seed 7
  python -m pybreaker_ext demo --url redis://localhost:6379/0
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says, and return the exit code.

    Raises:
        SystemExit: An argument is wrong, or help was asked for.
    """
    parser = _parser()
    given = parser.parse_args(arguments)
    options = demo.Options(given.workers, given.seconds, given.seed, given.url)
    try:
        return demo.run(options, sys.stdout)
    except DemoError as error:
        sys.stderr.write(f"{PROGRAM} demo: error: {error}\n")
        return error.code
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    except KeyboardInterrupt:  # before the demo took over the signals
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Circuit breakers for fleets of workers.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    demo_parser = commands.add_parser(
        "demo",
        help="watch worker processes share one circuit while their backend falls sick and heals",
        description=DEMO,
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_demo_options(demo_parser)
    return parser


def _add_demo_options(parser: argparse.ArgumentParser) -> None:
    defaults = demo.Options()
    parser.add_argument(
        "--workers",
        type=_workers,
        default=defaults.workers,
        metavar="N",
        help=f"worker processes, 1 to {MOST_WORKERS} (default: %(default)s)",
    )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=defaults.seconds,
        metavar="S",
        help=f"how long the workers call, {SHORTEST} to {LONGEST} seconds (default: {defaults.seconds:g})",
    )
    parser.add_argument(
        "--seed",
        type=_seed,
        default=defaults.seed,
        metavar="N",
        help="any whole number; another one gives other outages and other pauses between calls (default: %(default)s)",
    )
    parser.add_argument(
        "--url",
        type=_url,
        metavar="URL",
        help="where the circuit is kept: redis://host:6379/0, rediss://..., unix:///socket, "
        "or sqlite:///file.db, which stays (default: an SQLite file in a temporary directory)",
    )


def _workers(text: str) -> int:
    return _whole_number(text, 1, MOST_WORKERS)


def _seed(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        message = f"must be a whole number, not {text!r}"
        raise argparse.ArgumentTypeError(message) from None


def _whole_number(text: str, least: int, most: int) -> int:
    message = f"must be a whole number from {least} to {most}, not {text!r}"
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(message) from None
    if not least <= number <= most:
        raise argparse.ArgumentTypeError(message)
    return number


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
