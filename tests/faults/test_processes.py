"""Processes that begin and end in every way, with a breaker that was made at import time."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from servers import RedisServer

HERE = Path(__file__).parent
#: With the state and the number of probes that each leaves behind.
ENDINGS = {
    "end_with_daemon_threads": ("closed", 0),
    "end_with_loops_in_daemon_threads": ("closed", 0),
    "end_before_threads": ("closed", 0),
    "end_before_loops_in_threads": ("closed", 0),
    "end_in_loop": ("closed", 0),
    "end_in_probe": ("half-open", 1),
    "end_in_probe_of_loop": ("half-open", 1),
    "end_by_exit": ("half-open", 1),
    "end_by_exit_beside_loop": ("half-open", 1),
}


@pytest.fixture(params=["redis", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/circuits.db"
    server: RedisServer = request.getfixturevalue("redis_server")
    return server.patient_url


def run(url: str, name: str, *words: str) -> tuple[str, str, int]:
    """Return what a Python that uses the circuit has printed, and its exit code."""
    environment = {"FAULTS_URL": url, "FAULTS_NAME": name, "PYTHONPATH": f"{HERE}:{HERE.parent.parent}"}
    ran = subprocess.run(
        [sys.executable, "-W", "default", *words],
        env=environment,
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return ran.stdout, ran.stderr, ran.returncode


@pytest.mark.parametrize("seen", ["p.in_children()", "asyncio.run(p.in_children_async())"])
def test_children_of_every_kind_know_that_the_circuit_is_open(url: str, seen: str) -> None:
    program = f"import asyncio, processes as p\nprint(*{seen}, p.see(), sep='\\n')\n"
    told, complaints, code = run(url, "children", "-c", program)
    rejected = ["rejected", "rejected", "shared"]
    assert (complaints, code) == ("", 0)
    assert told.splitlines() == [*3 * [str([*rejected, "0"])], str(rejected)]


def test_an_interpreter_that_ends_with_calls_in_flight_says_nothing_and_hangs_not(url: str) -> None:
    with ThreadPoolExecutor(len(ENDINGS)) as pool:
        ran = dict(
            zip(ENDINGS, pool.map(lambda ending: run(url, ending, "processes.py", ending), ENDINGS), strict=True)
        )
    assert ran == dict.fromkeys(ENDINGS, ("", "", 0))
    with CircuitBreakerRegistry(url, max_staleness=0.0) as registry:
        for ending, left in ENDINGS.items():
            snapshot = registry.get(ending).snapshot()
            assert (snapshot.shared, snapshot.state, snapshot.probes) == (True, *left), ending
