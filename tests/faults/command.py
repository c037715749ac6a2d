"""The command line: which faults shall happen, for how long, and where the report goes."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING

import servers
from benchmarks.progress import Progress

from faults import patience, report
from faults.fault import Finding
from faults.soak import run_soak
from faults.table import FAULTS
from faults.trial import try_out

if TYPE_CHECKING:
    from collections.abc import Sequence

    from faults.fault import Fault


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/faults",
        description="Break everything around breakers that are in use, and tell what their callers saw of it.",
        epilog="Starts servers and workers of its own; Ctrl-C stops them all. First each fault happens once, in a "
        "place of its own; then, in the soak, one after the other in the same places. A column of the table: half "
        "of all calls while it was broken took no more than that beyond their function, 99 % of them, the slowest; "
        "how many calls of a process were late by more than 50 ms each second; the share of calls that a process "
        "decided without the store; how long after the mending the circuit was closed for all.",
    )
    parser.add_argument("--quick", action="store_true", help="only the faults that the tests try, too, and no soak")
    parser.add_argument("--only", metavar="PATTERN", help="only faults whose names match this regular expression")
    parser.add_argument("--list", action="store_true", help="print the names of the faults, and stop")
    parser.add_argument("--minutes", type=minutes, default=10.0, metavar="N", help="of the soak; 0: none (10)")
    parser.add_argument("--jobs", type=jobs, default=3, metavar="N", help="faults at once, each in its place (3)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="chooses the faults of the soak (1)")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE; '-': print them, and no table")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the report, or replace it in a page")
    return parser.parse_args(words)


def minutes(text: str) -> float:
    number = float(text)
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return number


def jobs(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def run_all(faults: Sequence[Fault], number: int) -> list[Finding]:
    """Let each fault happen once."""
    progress = Progress(len(faults))
    with ThreadPoolExecutor(number) as pool:
        try:
            futures = {pool.submit(_tried, fault): fault for fault in faults}
            for future in as_completed(futures):
                problems = future.result().problems
                progress.step(f"{futures[future].title}{': ' if problems else ''}{'; '.join(problems)}")
        except BaseException:
            patience.interrupted.set()
            pool.shutdown(cancel_futures=True)
            raise
    progress.end()
    return [future.result() for future in futures]


def _tried(fault: Fault) -> Finding:
    try:
        return try_out(fault)
    except Exception as error:  # noqa: BLE001  the other faults happen all the same
        return Finding(fault.title, problems=[f"{type(error).__name__}: {error}"])


def run(chosen: Sequence[Fault], options: argparse.Namespace) -> report.Report:
    made = report.Report(machine=report.machine())
    made.findings = run_all(chosen, options.jobs)
    if options.minutes and not options.quick:
        progress = Progress(1)
        made.soak = run_soak(chosen, options.minutes, options.seed, progress.show)
        progress.end()
    return made


def write(made: report.Report, options: argparse.Namespace) -> None:
    if options.json == "-":
        sys.stdout.write(json.dumps(made.to_data(), indent=1) + "\n")
    else:
        sys.stdout.write(report.as_text(made))
    if options.json and options.json != "-":
        Path(options.json).write_text(json.dumps(made.to_data(), indent=1) + "\n", "utf-8")
    if options.markdown:
        report.write_markdown(made, options.markdown)


def main(words: Sequence[str] | None = None) -> int:
    """Run; return the exit status: 1 if there was a problem."""
    options = arguments(words)
    chosen = [
        fault for fault in FAULTS if re.search(options.only or "", fault.title) and (fault.quick or not options.quick)
    ]
    if options.list:
        sys.stdout.writelines(f"{fault.title}\n" for fault in chosen)
        return 0
    problem = "no fault matches" if not chosen else "" if servers.redis_server_program() else "no redis-server on PATH"
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        made = run(chosen, options)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted; servers and workers are stopped\n")
        return 130
    write(made, options)
    return 1 if made.problems else 0
