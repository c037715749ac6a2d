from __future__ import annotations

import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import pybreaker
import pytest
import servers

from pybreaker_ext import CircuitBreakerError, CircuitMemoryStorage, cli, demo
from pybreaker_ext.demo.comparison import comparison, figures
from pybreaker_ext.demo.fleet import Fleet
from pybreaker_ext.demo.picture import drawing
from pybreaker_ext.demo.plain import Plain
from pybreaker_ext.demo.plan import ERROR, FAIL_MAX, REJECTION, RESET_TIMEOUT, WELL, Plan, Tally, breaker_on, outages
from pybreaker_ext.demo.report import Screen, Timeline, summary
from pybreaker_ext.demo.verdict import Result, problems
from pybreaker_ext.demo.worker import WatchedStorage

COMMAND = [sys.executable, "-X", "dev", "-m", "pybreaker_ext", "demo"]

#: Seconds; far more than anything here takes, for machines that are busy.
DEADLINE = 60

TIMELINE = re.compile(r"^ *\d+\.\d s  (healthy|sick) ", re.MULTILINE)


@pytest.fixture
def environment(tmp_path):
    """Give the demo a directory of its own for temporary files."""
    return {**os.environ, "TMPDIR": str(tmp_path)}


@pytest.fixture(autouse=True)
def _interruptible():
    """Let the demo be stopped even if somebody started the tests with Ctrl-C switched off."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def completed(environment, *options):
    return subprocess.run(
        [*COMMAND, *options], env=environment, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@contextlib.contextmanager
def started(environment, *options):
    """Start the demo in a session of its own, and leave nothing of it behind."""
    process = subprocess.Popen(
        [*COMMAND, *options],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        for pid in processes_of(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


def processes_of(session):
    """Return the living processes of a session."""
    found = []
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it has just ended
            state, _, _, its_session = directory.joinpath("stat").read_text().rpartition(") ")[2].split()[:4]
            if int(its_session) == session and state not in "ZX":
                found.append(int(directory.name))
    return found


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def read_until_timeline(process):
    """Read the output up to the first line of the timeline."""
    seen = ""
    while not TIMELINE.search(seen):
        line = process.stdout.readline()
        assert line, seen + process.stderr.read()
        seen += line
    return seen


def summary_of(output):
    """Return the summary as a mapping."""
    return dict(re.findall(r"^  (\S(?:.*?\S)?) {2,}(\S.*)$", output.partition("probes\n")[2], re.MULTILINE))


def check_a_good_run(run):
    assert run.stderr == ""
    assert run.returncode == 0, run.stdout
    assert "\033" not in run.stdout
    assert max(map(len, run.stdout.splitlines())) <= 80
    shown = summary_of(run.stdout)
    reached, wanted = (
        int(shown["calls that reached the sick backend"]),
        int(shown["without a breaker it would have been"]),
    )
    # Each worker may have a call under way when the outage begins and when the circuit opens.
    assert FAIL_MAX <= reached < wanted / 2
    assert shown["most probes at the same time"] == "1 (allowed: 1)"
    assert shown["circuit at the end"] == "closed"
    assert int(shown["rejections"]) > 0
    assert re.fullmatch(r"\d+\.\d s", shown["from healed to closed"])
    assert int(shown["probes in each half-open period"].split(", ")[-1]) >= 2  # success_threshold
    assert "OK: one probe at a time" in run.stdout
    assert sums_of_the_timeline(run.stdout) == [
        int(shown["errors users saw"]),
        int(shown["rejections"]),
        sum(map(int, shown["probes in each half-open period"].split(", "))),
    ]


def sums_of_the_timeline(output):
    """Return the errors, rejections and probes of all lines: nothing may be lost, also not at the end."""
    rows = [re.split(r"  +", line.strip()) for line in output.splitlines() if TIMELINE.match(line)]
    assert len(rows) >= 8
    return [sum(int(row[column].replace(".", "0")) for row in rows) for column in (4, 5, 6)]


def test_a_run_on_sqlite_shows_what_it_should(environment, tmp_path):
    run = completed(environment, "--seconds", "6", "--workers", "3", "--seed", "1")
    check_a_good_run(run)
    assert list(tmp_path.iterdir()) == []


def test_a_run_on_redis_leaves_no_key(environment, tmp_path, redis_server):
    url = f"{redis_server.url}?socket_timeout=5&socket_connect_timeout=5"  # a busy machine isn't an outage
    check_a_good_run(completed(environment, "--seconds", "6", "--workers", "3", "--url", url))
    with redis_server.client() as client:
        assert client.dbsize() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_ends_everything(environment, tmp_path, number):
    """As a terminal does it: the signal goes to all processes."""
    with started(environment, "--seconds", "600") as process:
        read_until_timeline(process)
        assert len(processes_of(process.pid)) == 5
        assert len(list(tmp_path.iterdir())) == 1
        os.killpg(process.pid, number)
        output, errors = process.communicate(timeout=DEADLINE)
        assert process.returncode == 130
        assert errors == ""
        assert output.endswith("Stopped.\n")
        assert processes_of(process.pid) == []
        assert list(tmp_path.iterdir()) == []


def test_an_interrupt_while_the_workers_start_ends_everything(environment, tmp_path):
    """Their imports must not be torn apart, with a traceback each."""
    with started(environment, "--workers", "16") as process:
        wait_until(lambda: len(processes_of(process.pid)) > 4)
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=DEADLINE)
        assert (process.returncode, errors) == (130, "")
        assert processes_of(process.pid) == []
        assert list(tmp_path.iterdir()) == []


def test_an_interrupt_removes_the_keys_in_redis(environment, redis_server):
    with (
        started(environment, "--seconds", "600", "--url", redis_server.url) as process,
        redis_server.client() as client,
    ):
        read_until_timeline(process)
        wait_until(client.dbsize)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=DEADLINE)
        assert process.returncode == 130
        assert client.dbsize() == 0


def test_workers_end_when_their_parent_is_killed(environment):
    with started(environment, "--seconds", "600") as process:
        read_until_timeline(process)
        process.kill()
        wait_until(lambda: processes_of(process.pid) == [])
        assert process.stderr.read() == ""


def test_a_closed_pipe_ends_everything(environment, tmp_path):
    """As with `| head`."""
    with started(environment, "--seconds", "600") as process:
        read_until_timeline(process)
        process.stdout.close()
        assert process.wait(DEADLINE) == 141
        assert process.stderr.read() == ""
        assert processes_of(process.pid) == []
        assert list(tmp_path.iterdir()) == []


def test_a_lost_worker_is_told(environment, tmp_path):
    with started(environment, "--seconds", "5", "--workers", "2") as process:
        read_until_timeline(process)
        os.kill(max(set(processes_of(process.pid)) - {process.pid}), signal.SIGKILL)
        output, errors = process.communicate(timeout=DEADLINE)
        assert (process.returncode, errors) == (1, "")
        assert re.search(r"FAILED: Worker \d ended before it was told to, with code -9;", output)
        assert list(tmp_path.iterdir()) == []


def test_a_lost_store_is_told(environment):
    with servers.running_redis() as redis, started(environment, "--seconds", "5", "--url", redis.url) as process:
        read_until_timeline(process)
        redis.kill()
        output, errors = process.communicate(timeout=DEADLINE)
    assert (process.returncode, errors) == (1, "")
    assert "FAILED: The store was away for " in output
    assert "circuit at the end                    unknown" in output


def test_a_store_that_cannot_be_reached_is_one_line(environment, tmp_path):
    run = completed(environment, "--url", f"redis://user:secret@127.0.0.1:{servers.free_port()}/0")
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(
        r"python -m pybreaker_ext demo: error: can't use redis://\*\*\*@127.*refused\. Is a Redis running there\?\n",
        run.stderr,
    )
    run = completed(environment, "--url", f"sqlite:///{tmp_path}/missing/circuit.db")
    assert (run.returncode, run.stdout) == (2, "")
    assert re.fullmatch(r"python -m pybreaker_ext demo: error: can't use sqlite:.*writable\?\n", run.stderr)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--workers", "0"], "argument --workers: must be a whole number from 1 to 64, not '0'"),
        (["--workers", "65"], "argument --workers: must be a whole number from 1 to 64, not '65'"),
        (["--workers", "many"], "argument --workers: must be a whole number from 1 to 64, not 'many'"),
        (["--seconds", "4.9"], "argument --seconds: must be a number of seconds from 5 to 3600, not '4.9'"),
        (["--seconds", "3601"], "argument --seconds: must be a number of seconds from 5 to 3600, not '3601'"),
        (["--seconds", "nan"], "argument --seconds: must be a number of seconds from 5 to 3600, not 'nan'"),
        (["--seconds", "long"], "argument --seconds: must be a number of seconds from 5 to 3600, not 'long'"),
        (["--seed", "1.5"], "argument --seed: must be a whole number, not '1.5'"),
        (["--url", "memory://"], "worker processes can't share; use redis:// or sqlite://"),
        (["--url", "mysql://user:secret@host"], "url must begin with memory://, sqlite:///file.db, redis://, "),
        (["--colour"], "unrecognized arguments: --colour"),
    ],
)
def test_a_bad_option_is_told_with_what_is_allowed(options, told, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(["demo", *options])
    shown = capsys.readouterr()
    assert (caught.value.code, shown.out) == (2, "")
    assert told in shown.err
    assert "secret" not in shown.err


def test_help_tells_options_defaults_and_exit_codes(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as caught:
        cli.main(["demo", "--help"])
    text = capsys.readouterr().out
    assert caught.value.code == 0
    assert max(map(len, text.splitlines())) <= 80
    words = " ".join(text.split())
    for part in (
        "--workers N worker processes, 1 to 64 (default: 4)",
        "5 to 3600 seconds (default: 15)",
        "(default: 1)",
        "(default: an SQLite file in a temporary directory)",
        "130 stopped by Ctrl-C",
    ):
        assert part in words
    assert "usage: pybreaker-ext demo " in text


def a_plan(*when, url="sqlite:///x.db", **more):
    return Plan(url, "demo", "http://127.0.0.1:1/", 1, 0.04, list(when), **more)


def a_result(**known):
    tally = Tally(states=[(1, "closed", 0.0), (2, "open", 2.1), (3, "half-open", 5.2), (4, "closed", 5.3)])
    usual = {
        "plan": a_plan((2.0, 5.0)),
        "start": 0.0,
        "end": 15.0,
        "tally": tally,
        "sick_calls": {0: 8},
        "state": "closed",
        "workers": 4,
        "lost": {},
    }
    return Result(**{**usual, **known})


@pytest.mark.parametrize("seconds", [5, 6, 7.5, 10, 15, 22, 60, 601.5])
def test_outages_lie_within_the_run_one_after_the_other(seconds):
    for seed in range(20):
        last = 0.0
        for begin, end in outages(seconds, seed):
            assert last < begin < end < seconds
            last = end
        assert outages(seconds, seed) == outages(seconds, seed)
    assert outages(seconds, 1) != outages(seconds, 2)


def test_a_long_run_has_more_outages():
    assert [len(outages(seconds, 1)) for seconds in (5, 15, 30, 60)] == [1, 1, 2, 4]


def test_plans_and_tallies_travel_as_one_line():
    plan = a_plan((1.0, 2.0))
    assert plan.to_json().count("\n") == 0
    assert Plan.from_json(plan.to_json()).outage(1.5) == 0
    assert [plan.outage(elapsed) for elapsed in (0.9, 1.0, 2.0)] == [None, 0, None]
    tally = Tally(1, 2, 3, 4, 5, [(6, 1.0, 2.0)], [(7, "open", 3.0)])
    total = Tally()
    total.add(Tally.from_json(tally.to_json()))
    total.add(Tally.from_json(tally.to_json()))
    assert (total.attempts, total.sick_attempts, total.errors, total.rejections, total.alone) == (2, 4, 6, 8, 10)


def test_a_state_that_many_saw_counts_once_from_the_first_sight():
    total = Tally()
    total.add(Tally(states=[(2, "open", 5.0), (1, "closed", 4.0)]))
    total.add(Tally(states=[(2, "open", 4.5)]))
    assert total.states == [(1, "closed", 4.0), (2, "open", 4.5)]


def test_probes_at_once_are_counted_by_their_times():
    assert Tally().most_probes_at_once() == 0
    assert Tally(probes=[(1, 0.0, 1.0), (1, 1.0, 2.0)]).most_probes_at_once() == 1
    assert Tally(probes=[(1, 0.0, 1.0), (1, 0.9, 2.0), (3, 0.95, 0.96)]).most_probes_at_once() == 3


def test_probes_belong_to_half_open_periods():
    assert Tally(probes=[(7, 3.0, 4.0), (2, 0.0, 1.0), (7, 5.0, 6.0)]).periods() == [1, 2]


def test_a_watched_storage_knows_a_probe():
    """By the very decision that admitted it, not by asking for the state before or after."""
    storage = WatchedStorage(CircuitMemoryStorage())
    breaker = breaker_on(storage, "demo")
    assert breaker.call(storage.take_period) == 0
    breaker.open(0)
    period = breaker.call(storage.take_period)
    assert period == breaker.snapshot().generation
    assert breaker.call(storage.take_period) == period
    assert breaker.call(storage.take_period) == 0  # two have closed the circuit
    assert [state for _, state, _ in storage.take_tally().states] == ["closed", "open", "half-open", "closed"]
    assert storage.take_tally() == Tally()


def test_a_rejected_call_is_no_probe():
    storage = WatchedStorage(CircuitMemoryStorage())
    breaker = breaker_on(storage, "demo")
    breaker.half_open()
    with breaker.calling():
        assert storage.take_period() != 0
        with pytest.raises(CircuitBreakerError):
            breaker.call(int)
        assert storage.take_period() == 0


def test_a_good_result_has_no_problem():
    assert list(problems(a_result())) == []
    assert a_result().time_to_close(0) == pytest.approx(0.3)


@pytest.mark.parametrize(
    ("known", "told"),
    [
        ({"lost": {2: "did not end in time"}}, "Worker 2 did not end in time"),
        ({"tally": Tally(alone=3)}, "The store was away for 3 decisions"),
        ({"tally": Tally(probes=[(3, 1.0, 2.0), (3, 1.5, 2.5)])}, "2 probes were out at the same time"),
        ({"tally": Tally(), "sick_calls": {0: 300}}, "did not open, although 300 calls reached"),
        ({"state": "half-open"}, "The circuit is half-open, although the backend has been healthy"),
        ({"state": None}, "The store is away"),
    ],
)
def test_a_problem_is_told_in_a_sentence_and_fails_the_run(known, told):
    out = io.StringIO()
    assert summary(Screen(out), a_result(**known)) is False
    assert told in " ".join(out.getvalue().split())
    assert "OK" not in out.getvalue()


def test_a_run_that_ends_too_early_is_no_failure():
    """Neither when the circuit is still open, nor when too few calls failed to open it."""
    out = io.StringIO()
    still_open = a_result(state="open", end=6.0, tally=Tally(states=[(1, "closed", 0.0), (2, "open", 4.0)]))
    assert summary(Screen(out), still_open)
    assert "the run ended before the circuit could close" in out.getvalue()
    assert "not in this run" in out.getvalue()
    out = io.StringIO()
    assert summary(Screen(out), a_result(sick_calls={0: 4}, tally=Tally()))
    assert "the outage was too short" in out.getvalue()
    assert "it never opened" in out.getvalue()


def test_the_timeline_shows_the_way_the_circuit_went():
    out = io.StringIO()
    timeline = Timeline(Screen(out), a_plan((1.0, 2.0)))
    tally = Tally(errors=2, states=[(1, "closed", 0.0)])
    timeline.row(0.5, 10, tally)
    tally.add(Tally(errors=3, states=[(2, "open", 1.1)]))
    timeline.row(1.5, 12, tally)
    tally.add(Tally(states=[(3, "half-open", 2.1), (4, "closed", 2.2)], probes=[(3, 2.1, 2.2)]))
    timeline.row(2.5, 13, tally)
    tally.add(Tally(states=[(5, "open", 2.6), (6, "half-open", 2.7), (7, "closed", 2.8)]))
    timeline.row(3.0, 13, tally)
    lines = [re.split(r"  +", line.strip()) for line in out.getvalue().splitlines()]
    assert lines == [
        ["0.5 s", "healthy", "closed", "10", "2", ".", "."],
        ["1.5 s", "sick", "closed > open", "2", "3", ".", "."],
        ["2.5 s", "healthy", "open > half-open > closed", "1", ".", ".", "1"],
        ["3.0 s", "healthy", "closed > .. > closed", ".", ".", ".", "."],
    ]


@pytest.mark.parametrize(
    ("terminal", "environment", "coloured"),
    [
        (True, {"TERM": "xterm"}, True),
        (False, {"TERM": "xterm"}, False),
        (True, {"TERM": "xterm", "NO_COLOR": ""}, False),
        (True, {"TERM": "dumb"}, False),
    ],
)
def test_colour_is_for_terminals_that_want_it(terminal, environment, coloured, monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    screen = Screen(SimpleNamespace(isatty=lambda: terminal))
    assert screen.paint("open", "open") == ("\033[31mopen\033[0m" if coloured else "open")


def test_a_fleet_that_is_left_leaves_no_process(tmp_path):
    with Fleet() as fleet:
        fleet.launch(a_plan((1.0, 2.0), url=f"sqlite:///{tmp_path}/circuit.db"))
        process = fleet._processes[0]
        assert not fleet.ready
    assert process.returncode is not None
    assert not fleet.running


def test_a_comparison_shows_both_libraries_and_draws_them(environment, tmp_path):
    picture = tmp_path / "demo.svg"
    run = completed(environment, "--compare", "--seconds", "5", "--workers", "4", "--plot", str(picture))
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in run.stderr  # matplotlib may tell that it looks for fonts
    assert max(len(line) for line in run.stdout.splitlines() if "picture" not in line) <= 80
    rows = dict(
        re.findall(
            r"^  (\S.*?\S) {2,}(\S.*)$", run.stdout.partition("pybreaker        pybreaker_ext\n")[2], re.MULTILINE
        )
    )
    told = {name.strip(): re.split(r" {2,}", figures) for name, figures in rows.items()}
    plain, ours = map(int, told["calls that reached the sick backend"])
    assert min(plain, ours) >= FAIL_MAX
    assert told["most probes at the same time"][1] == "1"
    assert run.stdout.count("seed 1") == 2
    assert re.search(r" sick +\d open", run.stdout)
    assert f"The picture is in {picture}.\n" in run.stdout
    texts = picture.read_text()
    assert f"pybreaker_ext, one circuit for 4 workers: {ours} calls reached" in texts
    assert f"pybreaker, a circuit in each of 4 workers: {plain} calls reached" in texts
    assert ET.parse(picture).getroot().tag.endswith("svg")  # noqa: S314  the file is ours
    assert not list(tmp_path.glob("pybreaker-ext-*"))


def two_runs():
    tally = Tally(
        errors=7,
        rejections=30,
        sick_attempts=40,
        probes=[(1, 3.0, 3.2), (1, 3.1, 3.3), (2, 4.0, 4.1)],
        bins={0: [20, 0, 0], 8: [3, 7, 10], 9: [0, 0, 20], 40: [25, 0, 0]},
        troubles={0: 6.25},
    )
    plain = a_result(plan=a_plan((2.0, 5.0), library="pybreaker", compared=True), tally=tally, sick_calls={0: 9})
    ours = a_result(plan=a_plan((2.0, 5.0), compared=True))
    return plain, ours


def test_figures_are_for_scripts_too(monkeypatch):
    plain, ours = two_runs()
    assert figures(plain) == {
        "library": "pybreaker",
        "outages": [(2.0, 5.0)],
        "sick_calls": 9,
        "sick_attempts": 40,
        "most_probes_at_once": 2,
        "waves": [2, 1],
        "recovery": [1.25],
        "errors": 7,
        "rejections": 30,
    }
    runs = iter((plain, ours))
    monkeypatch.setattr(demo, "_one_run", lambda *_: next(runs))
    out = io.StringIO()
    assert demo.run(demo.Options(compare=True, as_json=True), out) == 0
    assert [run["library"] for run in json.loads(out.getvalue())] == ["pybreaker", "pybreaker_ext"]


def test_both_runs_stand_beside_each_other():
    plain, ours = two_runs()
    plain.tally.troubles[0] = 14.9
    plain.lost[3] = "did not end in time"
    out = io.StringIO()
    assert comparison(Screen(out), plain, ours)
    lines = [re.split(r" {2,}", line.strip()) for line in out.getvalue().splitlines()]
    assert ["calls that reached the sick backend", "9", "8"] in lines
    assert ["from healed to well for all users", "not in this run", "0.0 s"] in lines
    assert ["In the run of pybreaker, worker 3 did not end in time."] in lines


def test_many_figures_are_summed_up_in_their_column():
    plain, ours = two_runs()
    plain.tally.probes[:] = [(number, number * 2.0, number * 2.0 + 0.1) for number in range(20)]
    plain.tally.probes.append((20, 0.1, 0.2))
    out = io.StringIO()
    comparison(Screen(out), plain, ours)
    assert re.search(r"each time +1 to 2 +none", out.getvalue())


@pytest.mark.parametrize("name", ["demo.svg", "demo.PNG"])
def test_a_picture_shows_one_run_or_two(tmp_path, name):
    path = tmp_path / name
    drawing(path)(two_runs())
    both = path.stat().st_size
    drawing(path)(two_runs()[1:])
    assert 0 < path.stat().st_size < both
    assert path.read_bytes().startswith(b"<?xml" if name.endswith("svg") else b"\x89PNG")


def test_a_picture_that_cannot_be_drawn_is_told_before_the_run(tmp_path, capsys, monkeypatch):
    for path, told in (
        ("demo.pdf", "--plot must name a file that ends in .svg or .png, not 'demo.pdf'"),
        (str(tmp_path / "missing" / "demo.svg"), "is its directory there, and writable?"),
    ):
        assert cli.main(["demo", "--plot", path]) == 2
        assert told in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["demo", "--plot", str(tmp_path / "demo.svg")]) == 2
    assert 'pip install "pybreaker-ext[plot]"' in capsys.readouterr().err


def test_how_calls_end_is_counted_by_the_quarter_of_a_second():
    plan = a_plan((1.0, 2.0), (3.0, 4.0))
    tally = Tally()
    for elapsed, end in ((0.1, WELL), (1.3, ERROR), (1.4, REJECTION), (3.5, ERROR)):
        tally.note(plan, elapsed, end)
    total = Tally(bins={5: [1, 0, 0]})
    total.add(Tally.from_json(tally.to_json()))
    assert total.bins == {0: [1, 0, 0], 5: [1, 1, 1], 14: [0, 1, 0]}
    assert total.troubles == {0: 1.4, 1: 3.5}
    total.add(Tally(troubles={1: 3.1}))
    assert total.troubles[1] == 3.5


@pytest.mark.parametrize("kind", ["sqlite", "redis_server", "redis_cluster"])
def test_a_plain_breakers_probes_are_known(kind, request, monkeypatch):
    """pybreaker shares a circuit in Redis; instead of a file, each worker has its own memory."""
    url = "sqlite:///x.db" if kind == "sqlite" else request.getfixturevalue(kind).url
    plan = a_plan((1.0, 2.0), url=url, library="pybreaker")
    plan = Plan(**{**plan.__dict__, "name": f"plain-{os.getpid()}"})
    side, other = Plain(plan, 0), Plain(plan, 1)

    def fail():
        raise ConnectionError

    for _ in range(FAIL_MAX):
        with pytest.raises(ConnectionError):
            side.call(fail)
    assert side.take_tally().standing == {0: "open"}
    assert other.take_tally().standing == {1: "closed" if kind == "sqlite" else "open"}
    with pytest.raises(pybreaker.CircuitBreakerError):
        side.call(fail)
    time.sleep(RESET_TIMEOUT + 1)  # pybreaker knows no other clock, and keeps whole seconds in Redis
    periods = []
    side.call(lambda: periods.append(side.take_period()))
    side.call(lambda: periods.append(side.take_period()))
    side.call(lambda: periods.append(side.take_period()))
    assert periods == [1, 1, 0]
    assert side.take_tally().standing == {0: "closed"}


def test_the_timeline_of_plain_breakers_counts_their_states():
    out = io.StringIO()
    timeline = Timeline(Screen(out), a_plan((1.0, 2.0), library="pybreaker"))
    tally = Tally(standing={0: "closed", 1: "closed"})
    timeline.row(0.5, 10, tally)
    tally.add(Tally(standing={1: "open"}))
    timeline.row(1.5, 12, tally)
    tally.add(Tally(standing={2: "half-open"}))
    timeline.row(1.9, 12, tally)
    told = re.findall(r"(?:healthy|sick) +(.*?)  +", out.getvalue())
    assert told == ["2 closed", "1 open, 1 closed", "1 open 1 half 1 closed"]
