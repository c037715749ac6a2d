"""A terminal of 80 columns, with a program in it: what it shows, and what came over the line."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any

import pexpect
import pyte

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: Seconds; far more than anything here takes, for machines that are busy.
DEADLINE = 60


class Terminal:
    """A program behind a pseudo-terminal."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], columns: int, lines: int) -> None:
        self._screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self._screen)
        self.raw = b""
        variables = {**os.environ, "TERM": "xterm-256color", **environment}
        for name in ("COLUMNS", "LINES", "NO_COLOR"):
            if name not in environment:
                variables.pop(name, None)
        self.process: Any = pexpect.spawn(command[0], list(command[1:]), dimensions=(lines, columns), env=variables)

    @property
    def text(self) -> str:
        """What can be seen now, without blanks at the lines' ends."""
        return "\n".join(line.rstrip() for line in self._screen.display).rstrip()

    def wait_for(self, *texts: str) -> str:
        """Wait until all of these can be seen; return what can."""
        end = time.monotonic() + DEADLINE
        while not all(text in self.text for text in texts):
            assert time.monotonic() < end, f"{texts} not in:\n{self.text}"
            if not self._take():
                assert all(text in self.text for text in texts), f"ended without {texts}:\n{self.text}"
        return self.text

    def send(self, text: str) -> None:
        self.process.send(text)

    def take_in(self) -> None:
        """Take in what has come until nothing comes for a moment."""
        size = -1
        while size != len(self.raw):
            size = len(self.raw)
            self._take()

    def end(self) -> int:
        """Wait for the program's end, and return its exit code."""
        end = time.monotonic() + DEADLINE
        while self._take():
            assert time.monotonic() < end, self.text
        self.process.close()
        assert self.process.signalstatus is None, f"signal {self.process.signalstatus}:\n{self.text}"
        code: int = self.process.exitstatus
        return code

    def _take(self) -> bool:
        """Take in what has come; False at the end."""
        try:
            data = self.process.read_nonblocking(65_536, timeout=0.1)
        except pexpect.TIMEOUT:
            return True
        except pexpect.EOF:
            return False
        self.raw += data
        self._stream.feed(data)
        return True


@contextlib.contextmanager
def running(
    command: Sequence[str], environment: Mapping[str, str] | None = None, *, columns: int = 80, lines: int = 24
) -> Iterator[Terminal]:
    """Run a program in a terminal, and leave nothing of it behind."""
    terminal = Terminal(command, environment or {}, columns, lines)
    try:
        yield terminal
    finally:
        terminal.process.close(force=True)
