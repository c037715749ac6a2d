"""A few numbers that all processes of a round see, in a file that they map.

There is no lock, which a killed worker could hold for ever: each number has one writer at a time.
"""

from __future__ import annotations

import mmap
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Sequence

WORKERS: Final = 16
#: The first number is the backend's; then each worker has three.
SICK: Final = 0
CALLS, REJECTIONS, ORDER = 1, 2, 3
#: What a worker's next function that runs does to its process: in a circuit that is open, that is a probe.
EXIT, STOP, LINGER = 1, 2, 3
SIZE: Final = 8 * (1 + 3 * WORKERS)


class Board:
    """The numbers.

    Args:
        path: The file, which `new` has made.
    """

    def __init__(self, path: str) -> None:
        with Path(path).open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), SIZE)
        self.path = path

    @classmethod
    def new(cls, path: Path) -> Self:
        path.write_bytes(bytes(SIZE))
        return cls(str(path))

    @property
    def sick(self) -> bool:
        """Whether the backend fails."""
        return self._get(SICK) != 0

    @sick.setter
    def sick(self, value: bool) -> None:
        self._set(SICK, int(value))

    def add(self, worker: int, what: int) -> None:
        """Count one more; only the worker itself does."""
        place = what + 3 * worker
        self._set(place, self._get(place) + 1)

    def order(self, worker: int, order: int) -> None:
        """Order something of the worker's next function that runs."""
        self._set(ORDER + 3 * worker, order)

    def take_order(self, worker: int) -> int:
        """Return what was ordered, once."""
        order = self._get(ORDER + 3 * worker)
        if order:
            self._set(ORDER + 3 * worker, 0)
        return order

    def count(self, worker: int, what: int) -> int:
        return self._get(what + 3 * worker)

    def counts(self, workers: Sequence[int], what: int) -> list[int]:
        return [self.count(worker, what) for worker in workers]

    def _get(self, place: int) -> int:
        found: int = struct.unpack_from("q", self._map, 8 * place)[0]
        return found

    def _set(self, place: int, value: int) -> None:
        struct.pack_into("q", self._map, 8 * place, value)
