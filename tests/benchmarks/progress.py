"""A line on stderr that says what is being measured."""

from __future__ import annotations

import sys
import time


class Progress:
    """On a terminal one line that changes, elsewhere one line per case."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0
        self._start = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def step(self, name: str) -> None:
        self._done += 1
        self.show(f"[{self._done}/{self._total}] {name} (after {time.monotonic() - self._start:.0f} s)")

    def show(self, line: str) -> None:
        sys.stderr.write(f"\r\x1b[K{line}" if self._terminal else f"{line}\n")
        sys.stderr.flush()

    def end(self) -> None:
        if self._terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
