"""The command line: which tests atheris feeds, and for how long.

atheris watches which lines an input reaches, and changes inputs so that they reach others. It turns bytes into
what Hypothesis draws, so a harness is a test of `properties`. It ends the process it runs in; each has its own.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

HERE: Final = Path(__file__).resolve().parent

#: What libFuzzer says in the end.
_TRIED: Final = re.compile(r"number_of_executed_units: *([0-9]+)")

#: Bytes of an input at most, and seconds that one may take.
LONGEST: Final = 4_096
PATIENCE: Final = 30


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/fuzz",
        description="Feed what comes from outside with what atheris thinks of. Ends with status 1 at the first input "
        "that gives anything but a documented error, and says what it is.",
    )
    parser.add_argument("tests", nargs="*", metavar="TEST", help="all by default")
    parser.add_argument("--seconds", type=int, default=60, metavar="N", help="for each test, 60 by default")
    parser.add_argument("--list", action="store_true", help="print the tests' names, and stop")
    parser.add_argument("--one", metavar="TEST", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def feed(name: str, seconds: int) -> None:
    """Run one test until the time is over, in this process, which then ends."""
    import atheris  # an extra

    with atheris.instrument_imports(include=["pybreaker_ext", "fuzz"]):
        from fuzz import properties  # must be watched
    test: Any = properties.TESTS[name]

    def one_input(content: bytes) -> None:
        test.hypothesis.fuzz_one_input(content)

    limits = (f"-max_total_time={seconds}", f"-max_len={LONGEST}", f"-timeout={PATIENCE}")
    kept = f"-artifact_prefix={tempfile.gettempdir()}/pybreaker-ext-fuzz-"  # which the message names
    atheris.Setup([sys.argv[0], *limits, kept, "-len_control=10", "-print_final_stats=1"], one_input)
    atheris.Fuzz()


def missing() -> str | None:
    """Return what is not installed."""
    try:
        import atheris  # noqa: F401  whether it is there
    except ImportError:
        return 'atheris is not installed. Run: pip install -e ".[dev,fuzz]"'
    return None


def main(words: Sequence[str] | None = None) -> int:
    """Feed tests; return the exit status."""
    options = arguments(words)
    problem = missing()
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    if options.one:
        feed(options.one, options.seconds)
    from fuzz import properties

    unknown = set(options.tests) - properties.TESTS.keys()
    if options.list or unknown:
        sys.stdout.write("".join(f"{name}\n" for name in properties.TESTS))
        return 2 if unknown else 0
    began = time.monotonic()
    tried: dict[str, int] = {}
    names = options.tests or list(properties.TESTS)
    for number, name in enumerate(names, 1):
        sys.stderr.write(f"[{number}/{len(names)}] {name} (after {time.monotonic() - began:.0f} s)\n")
        command = [sys.executable, str(HERE), "--one", name, "--seconds", str(options.seconds)]
        ended = subprocess.run(command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if ended.returncode:
            sys.stderr.write(f"{ended.stderr[-8_000:]}\n{name} has failed\n")
            return 1
        tried[name] = int((_TRIED.search(ended.stderr) or [0, 0])[1])
    for name, number in tried.items():
        sys.stdout.write(f"{number:>9,} inputs: {name}\n")
    sys.stdout.write("nothing but documented errors\n")
    return 0
