"""What a process notes as it goes, in a file that it maps: it is there whatever becomes of the process.

A note that is written is in the file's pages, which belong to the system: SIGKILL and `os._exit` lose none, and
no limit of file sizes holds for it, as one of the faults sets. A note on its way is not counted yet, and so is
dropped. The file is a ring, for a soak is long: whoever reads must come round before the writer does.
"""

from __future__ import annotations

import json
import mmap
import struct
import threading
from pathlib import Path
from typing import Any, Final, Self

#: What a note begins with, if not with the number of a thread or task that calls: a line that was logged, and
#: when the machine was late.
HEARD, LATE = "heard", "late"
#: What follows that number: the steps of a call.
BEGAN, RAN, ENDED = "began", "ran", "ended"

#: Bytes of notes: several minutes of a worker's.
ROOM: Final = 8_000_000
#: How many bytes were ever written, before the notes themselves. It is stored at once, not byte by byte.
WRITTEN: Final = struct.Struct("q")
HEAD: Final = WRITTEN.size


class Notes:
    """One process's notes: it writes, another one reads.

    Args:
        path: The file, which `new` has made.
    """

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), HEAD + ROOM)
        self.path = path
        self._lock = threading.Lock()
        self._read = 0

    @classmethod
    def new(cls, path: Path) -> Self:
        with path.open("wb") as file:
            file.truncate(HEAD + ROOM)
        return cls(str(path))

    def write(self, *note: Any) -> None:
        """Add a note; nothing that is called in here may write another one."""
        line = json.dumps(note).encode() + b"\n"
        with self._lock:
            written = self.written()
            place = written % ROOM
            first, rest = line[: ROOM - place], line[ROOM - place :]
            self._map[HEAD + place : HEAD + place + len(first)] = first
            self._map[HEAD : HEAD + len(rest)] = rest
            WRITTEN.pack_into(self._map, 0, written + len(line))

    def read_on(self, until: int | None = None) -> list[list[Any]]:
        """Return the notes since this was last called, or those until so many bytes were written.

        Raises:
            OverflowError: Some of them were overwritten.
        """
        written = self.written() if until is None else until
        if written - self._read > ROOM:
            raise OverflowError(f"{written - self._read - ROOM} bytes of notes were overwritten")
        start, length = self._read % ROOM, written - self._read
        ring = self._map[HEAD + start : HEAD + min(start + length, ROOM)]
        ring += self._map[HEAD : HEAD + max(0, start + length - ROOM)]
        self._read = written
        return [json.loads(line) for line in ring.splitlines()]

    def close(self) -> None:
        self._map.close()

    def written(self) -> int:
        """Return how many bytes were ever written."""
        found: int = WRITTEN.unpack_from(self._map, 0)[0]
        return found
