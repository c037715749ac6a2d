"""`bench`: what a call through a closed circuit costs, in a few seconds and on this machine.

All take turns, a few milliseconds each, so that whatever else the machine does happens to all of them.
The benchmarks in the source's `tests/benchmarks` measure more, and other libraries, too.
"""

from __future__ import annotations

import contextlib
import secrets
import statistics
import tempfile
from timeit import Timer
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

import click
import pybreaker
from rich.table import Table

from pybreaker_ext.breaker import CircuitBreaker
from pybreaker_ext.cli.as_json import print_json
from pybreaker_ext.cli.console import console
from pybreaker_ext.cli.ending import UNREACHABLE, Refused
from pybreaker_ext.cli.options import json_option
from pybreaker_ext.cli.summaries import SUMMARIES
from pybreaker_ext.cli.words import printable
from pybreaker_ext.demo.store import remove
from pybreaker_ext.storage.redis import CircuitRedisStorage
from pybreaker_ext.storage.redis_urls import in_words, without_password
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

#: Turns of each, and seconds of one.
ROUNDS: Final = 25
TURN: Final = 0.004

BARE: Final = "the bare function"


def _work() -> None:
    """Do nothing, so that nothing but the breaker is measured."""


def _redis(ctx: click.Context, param: click.Parameter, url: str | None) -> str | None:
    if url is None:
        return None
    try:
        storage = from_url(url, "bench")
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from error
    if not isinstance(storage, CircuitRedisStorage):
        message = "must be a Redis: memory and a temporary SQLite file are measured in any case"
        raise click.BadParameter(message, ctx, param)
    return url


@click.command("bench", help=SUMMARIES["bench"])
@click.option("--url", metavar="URL", callback=_redis, help="Measure with this Redis, too; no key is left behind.")
@json_option
def bench_command(url: str | None, *, as_json: bool) -> None:
    """Measure, and print a table."""
    with contextlib.ExitStack() as stack:
        costs = measured(stack.enter_context(_contestants(url)))
    if as_json:
        print_json([{"what": what, "seconds": seconds} for what, seconds in costs.items()])
        return
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for name in ("a call through", "µs", "µs added"):
        table.add_column(name, justify="left" if name.startswith("a") else "right")
    for what, seconds in costs.items():
        added = "" if what == BARE else f"{(seconds - costs[BARE]) * 1e6:.2f}"
        table.add_row(what, f"{seconds * 1e6:.2f}", added)
    console().print(table)


def measured(contestants: Mapping[str, Callable[[], Any]]) -> dict[str, float]:
    """Return the seconds of a call of each: the median of turns."""
    timers = {what: Timer(call) for what, call in contestants.items()}
    calls = {what: _calls_of_a_turn(timer) for what, timer in timers.items()}
    turns = [{what: timer.timeit(calls[what]) / calls[what] for what, timer in timers.items()} for _ in range(ROUNDS)]
    return {what: statistics.median(turn[what] for turn in turns) for what in timers}


def _calls_of_a_turn(timer: Timer) -> int:
    calls = 1
    while timer.timeit(calls) < TURN:
        calls *= 2
    return calls


@contextlib.contextmanager
def _contestants(url: str | None) -> Iterator[dict[str, Callable[[], Any]]]:
    name = f"bench-{secrets.token_hex(4)}"
    with tempfile.TemporaryDirectory(prefix="pybreaker-ext-bench-") as directory:
        found: dict[str, Callable[[], Any]] = {
            BARE: _work,
            "pybreaker, in memory": pybreaker.CircuitBreaker()(_work),
            "pybreaker_ext, in memory": CircuitBreaker()(_work),
            "pybreaker_ext, in SQLite": _ours(from_url(f"sqlite:///{quote(directory)}/bench.db", name)),
        }
        if url is None:
            yield found
            return
        storage: Any = from_url(url, name)
        _check(storage, url)
        try:
            yield {
                **found,
                "pybreaker_ext, in Redis": _ours(storage),
                "pybreaker_ext, in Redis, strict": _ours(storage, 0.0),
            }
        finally:
            remove(url, storage)


def _ours(storage: Any, max_staleness: float = 0.1) -> Callable[[], Any]:
    return CircuitBreaker(state_storage=storage, max_staleness=max_staleness)(_work)


def _check(storage: Any, url: str) -> None:
    """Refuse to measure stand-ins instead of a Redis."""
    breaker = CircuitBreaker(state_storage=storage)
    breaker.call(_work)  # a server that takes no writes still can be read
    if not breaker.snapshot().shared:
        message = printable(f"can't use {without_password(url)}: {in_words(storage.outage.error)}")
        raise Refused(message, UNREACHABLE)
