"""All that is logged in a process: ours, warnings, and errors that nobody caught."""

from __future__ import annotations

import logging
import sys
import threading
import warnings
from typing import Self


class Heard(logging.Handler):
    """Keeps lines until they are noted: it must not note them itself, for it may run while another note is written."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []

    @classmethod
    def all_of_this_process(cls) -> Self:
        heard = cls()
        lines = heard.lines
        logging.getLogger().addHandler(heard)
        logging.getLogger("pybreaker_ext").setLevel(logging.INFO)
        logging.captureWarnings(capture=True)
        warnings.simplefilter("always")
        sys.unraisablehook = lambda problem: lines.append(f"ERROR unraisable: {problem.exc_value!r}")
        threading.excepthook = lambda problem: lines.append(f"ERROR thread: {problem.exc_value!r}")
        return heard

    def no_more(self) -> None:
        logging.getLogger().removeHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        line = f"{record.levelname} {record.name}: {record.getMessage()}"
        cause = f" ({record.exc_info[1]!r})" if record.exc_info and record.exc_info[1] else ""
        self.lines.append(line + cause)
