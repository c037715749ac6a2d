"""Notices that an asyncio task is to stop, when a function has made an error of its own of the `CancelledError`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def cancelling() -> Callable[[], bool]:
    """Return what tells whether the running task was asked to stop since now, and hasn't refused to."""
    task = asyncio.current_task()
    before = task.cancelling() if task else 0
    return lambda: task is not None and task.cancelling() > before
