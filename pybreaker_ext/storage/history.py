"""What is kept of a circuit's past: each change of state, for as many changes as the storage's `history`."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import FOREVER, STATES

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pybreaker_ext.machine import Decision

#: Changes that a storage keeps of one circuit.
LIMIT: Final = 1000

#: Characters of a worker's name.
LONGEST_NAME: Final = 200


class Change(NamedTuple):
    """One change of state, as it is stored."""

    #: Milliseconds on the store's clock.
    at: int
    old_state: str
    new_state: str
    reason: str
    #: Who made it; empty for somebody who doesn't know this log.
    worker: str


class _Process:
    """What a worker is called that was given no name."""

    def __init__(self) -> None:
        self._host = socket.gethostname()
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Take the child's number."""
        self.name = f"{self._host}:{os.getpid()}"


process: Final = _Process()


def check_limit(limit: int) -> int:
    """Return `limit`; raise TypeError or ValueError when it is no whole number of 0 to 1,000,000."""
    if isinstance(limit, bool) or not isinstance(limit, int):
        message = f"history must be a whole number of 0 to 1,000,000, not {limit!r}"
        raise TypeError(message)
    if not 0 <= limit <= 1_000_000:  # noqa: PLR2004  said in the message
        message = f"history must be a whole number of 0 to 1,000,000, not {limit!r}"
        raise ValueError(message)
    return limit


def check_worker(worker: str | None) -> str | None:
    """Return `worker`; raise TypeError or ValueError when it is no text of 1 to 200 printable characters, nor None."""
    if worker is not None and not isinstance(worker, str):
        message = f"worker must be a text or None, not {worker!r}"
        raise TypeError(message)
    if worker is not None and not (0 < len(worker) <= LONGEST_NAME and worker.isprintable()):
        message = f"worker must have 1 to {LONGEST_NAME} printable characters, not {worker!r}"
        raise ValueError(message)
    return worker


def change_of(decision: Decision, worker: str | None) -> Change | None:
    """Return the change that a decision has made and that is to be stored with it; None if it is none."""
    after = decision.after
    if not decision.write or after.generation == decision.old_generation:
        return None
    return Change(decision.now, decision.old_state, after.state, after.reason, worker or process.name)


def not_read(error: Exception) -> StoreUnavailableError:
    """Return what an operator is told: no changes would be another answer.

    The store doesn't count as away for it. Decisions may do well where a long history takes too long.
    """
    return StoreUnavailableError(f"the history can't be read now: {error.__cause__ or type(error).__name__}")


def from_redis(entries: Sequence[Any]) -> list[Change]:
    """Return the changes that entries of the Redis stream tell."""
    rows = []
    for _, parts in entries:
        texts = [part.decode(errors="replace") if isinstance(part, bytes) else part for part in parts]
        fields = dict(zip(texts[::2], texts[1::2], strict=False))
        at = fields.get("at", "")
        instant = int(at) if at.isdecimal() and len(at) <= len(str(FOREVER)) else None
        rows.append((instant, *(fields.get(name) for name in ("from", "to", "reason", "worker"))))
    return understood(rows)


def understood(rows: Iterable[Sequence[Any]]) -> list[Change]:
    """Return the rows that a storage can have written as changes, without all others."""
    return [
        Change._make(row)
        for row in rows
        if isinstance(row[0], int) and 0 <= row[0] <= FOREVER and row[1] in STATES and row[2] in STATES
        if isinstance(row[3], str) and isinstance(row[4], str)
    ]
