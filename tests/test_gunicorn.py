"""A web server's workers share one circuit, whether the breaker was made before they forked or after."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
import servers
from fleet import until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="gunicorn forks")

WORKERS = 4
#: Seconds for which a worker may go on with what it saw last: the default of `max_staleness`.
MAX_STALENESS = 0.1

OPTIONS = {
    "preload": ["--preload"],
    "no-preload": [],
    "gthread": ["--preload", "--worker-class", "gthread", "--threads", "2"],
}


class Answer(NamedTuple):
    status: int
    worker: int
    retry_after: float


@dataclass(frozen=True)
class Gunicorn:
    process: subprocess.Popen[bytes]
    port: int
    calls: Path

    def ask(self, query: str = "") -> Answer:
        """Send one request on a connection of its own; any worker may take it."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request("GET", f"/?{query}")
            response = connection.getresponse()
            worker, parent = map(int, response.read().split())
        assert parent == self.process.pid, "somebody else answers on this port"
        return Answer(response.status, worker, float(response.headers.get("Retry-After", "0")))

    def ask_worker(self, worker: int, answer: str) -> Answer:
        """Send a request until this worker takes it; the others do nothing about it."""
        query = f"worker={worker}&answer={answer}"
        return until(lambda: answer if (answer := self.ask(query)).status != 421 else None)

    def workers(self) -> list[int]:
        found: set[int] = set()
        until(lambda: found.add(self.ask().worker) or len(found) == WORKERS)
        return sorted(found)

    def backend_calls(self) -> list[str]:
        return self.calls.read_text().splitlines()


@contextlib.contextmanager
def running_gunicorn(directory: Path, url: str, *options: str) -> Iterator[Gunicorn]:
    """Serve `gunicorn_app`; show the log if the test fails, and leave no worker behind."""
    port, calls, log = servers.free_port(), directory / "calls", directory / "log"
    calls.touch()
    command = [sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}", "--workers", str(WORKERS)]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--no-control-socket", *options, "gunicorn_app:application"],
            cwd=Path(__file__).parent,
            env={**os.environ, "CIRCUIT_URL": url, "BACKEND_CALLS": str(calls)},
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    gunicorn = Gunicorn(process, port, calls)
    try:
        until(lambda: _answers(gunicorn), pause=0.02)
        yield gunicorn
        process.terminate()
        assert process.wait(30) == 0
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        print(log.read_text())  # noqa: T201  which pytest shows with a failure


def _answers(gunicorn: Gunicorn) -> bool:
    assert gunicorn.process.poll() is None, "gunicorn has ended"
    with contextlib.suppress(ConnectionError):
        return bool(gunicorn.ask())
    return False


@pytest.fixture(params=["redis", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "redis":
        return request.getfixturevalue("redis_server").patient_url
    return f"sqlite:///{tmp_path}/circuits.db"


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_failures_of_some_workers_make_all_reject(url: str, options: list[str], tmp_path: Path) -> None:
    with running_gunicorn(tmp_path, url, *options) as gunicorn:
        workers = gunicorn.workers()
        unlucky = [workers[number % 2] for number in range(5)]
        failures = [gunicorn.ask_worker(worker, "failure") for worker in unlucky]
        assert [answer.status for answer in failures] == [502, 502, 502, 502, 503]
        calls = [f"{worker} failure" for worker in unlucky]
        assert gunicorn.backend_calls() == calls

        time.sleep(MAX_STALENESS)
        rejections = [gunicorn.ask_worker(worker, "success") for worker in workers]
        assert [(answer.status, answer.worker) for answer in rejections] == [(503, worker) for worker in workers]
        assert all(50 < answer.retry_after <= 60 for answer in rejections)
        assert gunicorn.backend_calls() == calls
