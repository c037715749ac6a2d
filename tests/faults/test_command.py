"""`python tests/faults` runs, tells what it found, and leaves nothing behind when it is interrupted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from fleet import until

from faults import command, report
from faults.fault import Finding
from faults.soak import Soak, summed
from faults.table import FAULTS
from faults.worker import Vitals

ROOT = Path(__file__).parent.parent.parent

#: Threads, tasks, files, children and megabytes of one worker, at three moments.
USED = [(4, 2, 10, 0, 50), (5, 3, 11, 0, 51), (4, 2, 10, 0, 51)]


def a_report() -> report.Report:
    findings = [
        Finding(
            "SQLite: deleted",
            sound=False,
            calls=10,
            median=0.12,
            p99=3.4,
            worst=56.7,
            late=0.25,
            alone=0.5,
            healed=1.04,
        ),
        Finding("Redis: killed", problems=["a caller got an error"]),
        Finding("TLS: none", sound=False, skipped="no TLS"),
    ]
    soak = Soak(90.0, 1234, {"SQLite": 3}, ["a worker grew"], 4567, {"SQLite": 8.9})
    soak.used["SQLite"] = [summed([Vitals(*numbers, megabytes * 10**6)] * 4) for *numbers, megabytes in USED]
    return report.Report(findings, soak, {"cores": "2"})


def processes_of(session: int) -> list[str]:
    """Return the command lines of a session's processes that live."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            state, _, _, its_session = (process / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its_session) == session and state != "Z":
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


def test_the_names_of_all_faults_differ_and_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--list"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert listed == [fault.title for fault in FAULTS]
    assert len(listed) == len(set(listed))


def test_a_pattern_that_matches_nothing_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["--only", "no such thing"]) == 2
    assert capsys.readouterr().err == "no fault matches\n"


@pytest.mark.parametrize("words", [["--minutes", "-1"], ["--minutes", "nan"], ["--jobs", "0"]])
def test_numbers_out_of_range_are_errors(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(words)


@pytest.mark.usefixtures("_redis_program")
def test_a_fault_and_a_short_soak(tmp_path: Path) -> None:
    file = tmp_path / "report.json"
    words = ["--only", "SQLite: deleted with its log", "--minutes", "0.01", "--json", str(file)]
    run = subprocess.run(
        [sys.executable, "tests/faults", *words], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert (run.returncode, run.stdout.count(" ok\n")) == (0, 1), run.stdout + run.stderr
    found = json.loads(file.read_text())
    assert [finding["problems"] for finding in found["findings"]] == [[]]
    assert found["findings"][0]["calls"] > 100
    assert (found["soak"]["problems"], found["soak"]["faults"]) == ([], {"SQLite": 1})


@pytest.mark.usefixtures("_redis_program")
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.slow)])
def test_an_interrupted_run_leaves_nothing_behind(tmp_path: Path, number: int) -> None:
    words = ["--only", "Redis: (stopped|FLUSHALL)", "--minutes", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(
        [sys.executable, "tests/faults", *words],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        until(lambda: sum("redis-server" in one for one in processes_of(process.pid)) == 2, pause=0.05)
        process.send_signal(number)
        told, complaints = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "")
    assert "interrupted" in complaints
    until(lambda: not processes_of(process.pid), pause=0.05)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("pybreaker-ext")]


def test_the_report_as_text() -> None:
    text = report.as_text(a_report())
    assert "SQLite: deleted  0.1 ms  3.4 ms  57 ms    0.2/s  50%    1.0 s       ok\n" in text
    assert "skipped: no TLS" in text
    assert "1,234 calls, 3 faults" in text
    assert "may lose what it has told, or find it again: SQLite: deleted.\n" in text
    assert (
        "SQLite: 4 workers used, at the start, in the middle and at the end, 200.0, 204.0, 204.0 MB; "
        "16, 20, 16 threads; 8, 12, 8 tasks; 40, 44, 40 files; 0, 0, 0 children.\n"
    ) in text
    assert text.endswith("Redis: killed: a caller got an error\na worker grew\n")


def test_the_report_in_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{report.BEGIN}\nwas there\n{report.END}\n\nafter\n")
    report.write_markdown(a_report(), page)
    text = page.read_text()
    assert (text.startswith("before\n\n"), text.endswith("\n\nafter\n"), "was there" in text) == (True, True, False)
    assert "| SQLite: deleted | 0.1 ms |" in text
