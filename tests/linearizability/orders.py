"""What the processes of a round are told meanwhile: that it is over, and where one shall stop itself.

These places are so narrow that a signal from outside would hardly ever meet them.
"""

from __future__ import annotations

import mmap
import signal
import threading
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

#: Before a command is sent to a server, or in mid-transaction in a file: nothing has happened yet.
BEFORE: Final = 1
#: After a change of state, before anybody is told: it has happened.
AFTER: Final = 2

#: The file's name.
ORDERS: Final = "orders"


class Orders:
    """Two bytes that all processes map. Whoever comes first to the place that one names takes it, and stops.

    There is no lock, which a killed process could hold for ever; two may take the same order.

    Args:
        path: The file, which `new_orders` has made.
    """

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 2)

    def give(self, place: int) -> None:
        """Order the next one that comes there to stop; 0: nobody."""
        self._map[0] = place

    def obey(self, place: int) -> None:
        """Stop this process if it is ordered to do so here."""
        if self._map[0] == place:
            self._map[0] = 0
            # This thread at once: a signal to the whole process would let it run on for a moment.
            signal.pthread_kill(threading.get_ident(), signal.SIGSTOP)

    @property
    def over(self) -> bool:
        """Whether the round is."""
        return bool(self._map[1])

    def end(self) -> None:
        """End the round."""
        self._map[1] = 1


def new_orders(path: Path) -> Orders:
    """Return orders in a new file: none."""
    path.write_bytes(bytes(2))
    return Orders(path)
