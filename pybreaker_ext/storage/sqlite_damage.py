"""A damaged SQLite file is set aside under another name, so that the circuits can begin anew.

Only what is known to be ours is touched: a path may name somebody else's file by mistake.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = logging.getLogger("pybreaker_ext.storage")

#: SQLite keeps its tables' definitions as they were typed, in the first pages.
MARK: Final = b"CREATE TABLE circuits"
MARK_WITHIN: Final = 65_536

#: What SQLite puts behind the names of its two further files. The file itself goes last: what is
#: opened at its name then finds no log of another file.
COMPANIONS: Final = ("-shm", "-wal", "")

#: Device and number of a file, which are the same for all of its names.
Identity = tuple[int, int]


def identity(path: str) -> Identity | None:
    """Return what tells a file from another one that takes its name; None: there is none."""
    try:
        found = os.stat(path)  # noqa: PTH116  before each step; a path object would cost more than this
    except OSError:
        return None
    return found.st_dev, found.st_ino


def is_damage(error: BaseException) -> bool:
    """Tell whether SQLite's error says that what the file holds is no sound database."""
    code = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def set_aside(path: str, known: Identity | None) -> None:
    """Rename a damaged file of ours and what belongs to it. Its directory may forbid that; then it stays.

    Args:
        path: The file. This process must not have it open: closing it here would end its locks.
        known: The file that this process has used, if any.
    """
    with contextlib.suppress(OSError, ImportError), _alone(path):
        if not _is_ours(path, known) or _is_sound(path):
            return
        aside = f"{path}.damaged-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        for companion in COMPANIONS:
            with contextlib.suppress(FileNotFoundError):
                os.rename(path + companion, aside + companion)  # noqa: PTH104  these are texts
        logger.warning("The circuit breakers' file is damaged, and set aside as %s; circuits begin anew", aside)


@contextlib.contextmanager
def _alone(path: str) -> Iterator[None]:
    """Let one process at a time look at this file, and rename it."""
    import fcntl  # noqa: PLC0415  which Windows lacks; nor could an open file be renamed there

    with Path(path).open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # goes with the file; SQLite's own locks are of another kind
        found = os.fstat(file.fileno())
        if identity(path) == (found.st_dev, found.st_ino):
            yield
        else:  # another process has been faster
            raise FileNotFoundError(path)


def _is_ours(path: str, known: Identity | None) -> bool:
    if known is not None and known == identity(path):
        return True
    with Path(path).open("rb") as file:
        return MARK in file.read(MARK_WITHIN)


def _is_sound(path: str) -> bool:
    """Look at all of it. Locked by somebody: nobody knows, so leave it alone."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=0, isolation_level=None)) as connection:
            found: str = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        return not is_damage(error)
    return found == "ok"
