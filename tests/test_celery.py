"""The page on Celery is right: its program, with a real worker of two processes and a real broker."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fleet import until

from pybreaker_ext import CircuitBreakerRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator

    import servers

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="Celery's default pool forks")

PAGE = Path(__file__).parent.parent / "docs" / "how-to" / "celery.md"

#: What the page leaves out: a backend, which is away, and a line for each call.
BACKEND = """\
    with open("calls", "a") as calls:
        calls.write("call\\n")
    raise ConnectionError("no answer")
"""


@pytest.fixture
def directory(tmp_path: Path, redis_server: servers.RedisServer) -> Path:
    """A directory with the page's program, as `tasks.py`."""
    program = PAGE.read_text("utf-8").split("```python\n")[1].split("print(")[0]
    program = program.replace('broker="redis://localhost:6379/0"', f'broker="{redis_server.url}"')
    # A busy machine isn't an outage.
    program = program.replace("redis://localhost:6379/0", f"{redis_server.url}?socket_timeout=5")
    written = program.replace('    return f"paid {amount}"  # the call to the payment service\n', BACKEND)
    assert BACKEND in written
    tmp_path.joinpath("tasks.py").write_text(written)
    tmp_path.joinpath("calls").touch()
    return tmp_path


@pytest.fixture
def worker(directory: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-W", "ignore", "-m", "celery", "-A", "tasks"]
    options = [
        "worker",
        "--concurrency",
        "2",
        "--pool",
        "prefork",
        "--without-gossip",
        "--without-mingle",
        "-l",
        "info",
    ]
    with directory.joinpath("log").open("wb") as log:
        process = subprocess.Popen([*command, *options], cwd=directory, stdout=log, stderr=log, start_new_session=True)
    yield process
    # A warm shutdown would wait for the tasks that are to be tried again.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    print(directory.joinpath("log").read_text())  # noqa: T201  which pytest shows with a failure


def test_tasks_that_are_refused_wait_in_the_broker(
    directory: Path, worker: subprocess.Popen[bytes], redis_server: servers.RedisServer
) -> None:
    send = "import tasks\nfor amount in range(12): tasks.pay.delay(amount)"
    subprocess.run([sys.executable, "-W", "ignore", "-c", send], cwd=directory, check=True)
    log = directory / "log"
    until(lambda: log.read_text().count("Retry in ") >= 5)
    assert worker.poll() is None
    with CircuitBreakerRegistry(redis_server.url) as registry:
        look = registry.get("payments").snapshot()
        assert (look.state, look.reason, look.fail_counter) == ("open", "failures", 5)
        assert len(registry.get("payments").history()) == 1
    # One more may have been under way in the other process.
    assert 5 <= len(directory.joinpath("calls").read_text().splitlines()) <= 6
