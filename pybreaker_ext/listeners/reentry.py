"""Whether garbage collection has interrupted a library that is recording, and holds a lock that isn't re-entrant.

Garbage collection closes suspended generators wherever it happens to run, and a guarded one then
tells its listeners. Recorded there and then, it would wait for ever for a lock of its own thread.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from types import FrameType


def inside(modules: tuple[str, ...]) -> bool:
    """Tell whether this thread is running in one of the modules, named by how their names begin."""
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  there is no other way up
    while frame is not None:
        if frame.f_globals.get("__name__", "").startswith(modules):
            return True
        frame = frame.f_back
    return False
