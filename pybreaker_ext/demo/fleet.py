"""The demo's worker processes: started, listened to, and ended without a trace."""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Final, Self, cast

from pybreaker_ext.demo.plan import Tally

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from pybreaker_ext.demo.plan import Plan

#: Seconds that a worker has to finish its last call and to report it.
GRACE: Final = 10.0

#: Seconds that it has when the user is waiting for the end.
SHORT_GRACE: Final = 2.0


class Fleet:
    """Worker processes, which end with this object, and with this process however it ends.

    Attributes:
        tally: What they have reported so far.
        lost: What became of each worker that did not end when and as it should, in words.
    """

    def __init__(self) -> None:
        self.tally = Tally()
        self.lost: dict[int, str] = {}
        self._processes: list[subprocess.Popen[bytes]] = []
        self._ready: set[int] = set()
        self._pipes = selectors.DefaultSelector()
        self._unfinished: dict[int, bytes] = {}
        self._stopping = False

    def __enter__(self) -> Self:
        """Promise that no process will be left."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End what is still running."""
        self.stop(SHORT_GRACE)
        self._pipes.close()

    @property
    def ready(self) -> bool:
        """Whether all workers wait for the start."""
        return len(self._ready) == len(self._processes)

    @property
    def running(self) -> bool:
        """Whether any worker may still report."""
        return bool(self._pipes.get_map())

    def launch(self, plan: Plan) -> None:
        """Start one more worker process, which gets ready and waits."""
        number = len(self._processes)
        command = [sys.executable, "-m", "pybreaker_ext.demo.worker"]
        with _without_interrupts():
            process = subprocess.Popen(  # noqa: S603  our own module
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
            )
        self._processes.append(process)
        self._unfinished[number] = b""
        self._pipes.register(cast("IO[bytes]", process.stdout), selectors.EVENT_READ, number)
        # By a pipe, because everybody can see a command line, and the plan may hold a password.
        self._tell(process, f"{number} {plan.to_json()}\n")

    def go(self, start: float) -> None:
        """Tell all workers when the run starts, in seconds of the monotonic clock."""
        for process in self._processes:
            self._tell(process, f"{start!r}\n")

    def listen(self, seconds: float) -> None:
        """Wait at most this long for a report, and take in all that have come."""
        for key, _ in self._pipes.select(max(0.0, seconds)):
            data = os.read(key.fd, 65_536)
            if data:
                self._take(key.data, data)
            else:
                self._ended(key.data)

    def stop(self, grace: float = GRACE) -> None:
        """Tell all workers to stop, take in their last reports, and see them end."""
        self._stopping = True
        for process in self._processes:
            cast("IO[bytes]", process.stdin).close()
        deadline = time.monotonic() + grace
        while self.running and time.monotonic() < deadline:
            self.listen(deadline - time.monotonic())
        for number, process in enumerate(self._processes):
            self._see_end(number, process, deadline)

    def _see_end(self, number: int, process: subprocess.Popen[bytes], deadline: float) -> None:
        try:
            process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.lost[number] = "did not end in time"
        if process.returncode:
            self.lost.setdefault(number, f"ended with code {process.returncode}")
        output = cast("IO[bytes]", process.stdout)
        if not output.closed:
            self._pipes.unregister(output)
            output.close()

    def _ended(self, number: int) -> None:
        process = self._processes[number]
        output = cast("IO[bytes]", process.stdout)
        self._pipes.unregister(output)
        output.close()
        if not self._stopping:
            self.lost[number] = f"ended before it was told to, with code {process.wait()}"

    def _take(self, number: int, data: bytes) -> None:
        *lines, self._unfinished[number] = (self._unfinished[number] + data).split(b"\n")
        for line in lines:
            if line:
                self.tally.add(Tally.from_json(line))
            else:
                self._ready.add(number)

    def _tell(self, process: subprocess.Popen[bytes], line: str) -> None:
        with contextlib.suppress(BrokenPipeError):  # it is dead, and `listen` will notice
            cast("IO[bytes]", process.stdin).write(line.encode())


@contextlib.contextmanager
def _without_interrupts() -> Iterator[None]:
    """Start processes that Ctrl-C doesn't reach; this one gets its own as soon as this ends.

    A terminal sends Ctrl-C to all processes. Blocked from the start, it can't even interrupt the
    child's imports, and Ctrl-Z still stops and continues all of them together.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
