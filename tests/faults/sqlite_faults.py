"""What happens to an SQLite file."""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import sqlite3
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from faults import versions, worker
from faults.fault import Effect, Fault, Scene
from faults.patience import NeverError, sleep, wait_until
from faults.places import SMALL_DISK, SQLITE
from faults.small_disk import no_small_disk
from faults.traffic import CREW
from faults.worker_faults import open_circuit
from pybreaker_ext import CircuitSQLiteStorage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

#: User number of nobody, who may write nowhere.
NOBODY = 65_534
#: Workers that have this version when others have another one: one of each colour.
OURS = (0, 3)


def files(scene: Scene) -> list[Path]:
    """Return the file, its write-ahead log, and that one's index."""
    path: Path = scene.place.path
    return [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]


def connection(scene: Scene) -> sqlite3.Connection:
    return sqlite3.connect(scene.place.path, timeout=10, isolation_level=None, check_same_thread=False)


def lock(scene: Scene) -> None:
    scene.notes["locked"] = connection(scene)
    scene.notes["locked"].execute("BEGIN EXCLUSIVE")


def unlock(scene: Scene) -> None:
    scene.notes.pop("locked").close()


def lock_for(seconds: float) -> Callable[[Scene], None]:
    """Return what locks the file for so long, while the backend is sick: in a closed circuit nobody would write."""

    def hold(scene: Scene) -> None:
        lock(scene)
        open_circuit(scene)
        sleep(seconds)

    return hold


def die_in_transaction(scene: Scene) -> None:
    """Kill a process that has opened the circuit, and not yet committed that."""
    program = (
        "import os, sqlite3, sys, time\n"
        "connection = sqlite3.connect(sys.argv[1], timeout=10, isolation_level=None)\n"
        "connection.execute('BEGIN IMMEDIATE')\n"
        "connection.execute(\"UPDATE circuits SET state = 'open', generation = generation + 7\")\n"
        "time.sleep(0.1)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    subprocess.run([sys.executable, "-c", program, scene.place.path], check=False)


def fill_disk(scene: Scene) -> None:
    """No file may become longer than the log is now, so nothing can be written behind its end."""
    scene.traffic.ask_all(worker.limit_files, 1)


def free_disk(scene: Scene) -> None:
    scene.traffic.ask_all(worker.limit_files, -1)


def fill_small_disk(scene: Scene) -> None:
    with scene.place.path.with_name("junk").open("wb", buffering=0) as junk:
        for size in (4096, 1):
            while True:
                try:
                    junk.write(b"x" * size)
                except OSError:
                    break


def free_small_disk(scene: Scene) -> None:
    scene.place.path.with_name("junk").unlink()


def delete(scene: Scene) -> None:
    for path in files(scene):
        path.unlink(missing_ok=True)


def delete_only_the_file(scene: Scene) -> None:
    scene.place.path.unlink(missing_ok=True)


def forbid_writing(scene: Scene) -> None:
    """Put another directory there, in which nobody may make a file; root, who may everywhere, becomes nobody.

    Files that were only deleted would be made again before the directory could be closed, and in one that is
    closed its owner can't delete them.
    """
    if os.geteuid() == 0:
        scene.traffic.ask_all(worker.become, NOBODY)
    directory: Path = scene.place.path.parent
    old = directory.rename(directory.with_name(f"{directory.name}-old"))
    directory.mkdir(0o555)
    shutil.rmtree(old)


def allow_writing(scene: Scene) -> None:
    scene.place.path.parent.chmod(0o755)
    if os.geteuid() == 0:
        scene.traffic.ask_all(worker.become, 0)


def corrupt(offset: int, length: int) -> Callable[[Scene], None]:
    """Return what writes garbage over a part of the file, all of which is in the file and not in its log.

    What was made to garbage before is given the time to be set aside, and to be made anew: garbage that never
    was a file of circuits would be left alone.
    """

    def spoil(scene: Scene) -> None:
        wait_until("there is a sound file", lambda: is_written(scene.place.path), pause=0.1)
        with scene.place.path.open("r+b") as file:
            file.seek(offset)
            file.write(b"\xa5garbage" * (length // 8))

    return spoil


def is_written(path: Path) -> bool:
    """Tell whether there is a sound file; if so, write its log into it."""
    try:
        uri = f"{path.as_uri()}?mode=rw"  # which makes none
        with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=10, isolation_level=None)) as client:
            busy, *_ = client.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy and client.execute("SELECT count(*) FROM circuits").fetchone()[0] > 0
    except sqlite3.Error:
        return False


def spoil_rows(scene: Scene) -> None:
    """Write garbage into all columns of all rows; the file stays sound."""
    with contextlib.closing(connection(scene)) as client:
        client.execute(
            "UPDATE circuits SET (state, generation, fail_counter, success_counter, opened_at, open_until, trips, "
            "reason, permits) = ('garbage', 'garbage', x'ff', -1, 'garbage', 9e99, x'00', x'ff', 'garbage,:')"
        )


def make_first_version(scene: Scene) -> None:
    versions.make_first(scene.place.path)


def begin_with_first_version(scene: Scene) -> None:
    """All workers have the first version."""
    make_first_version(scene)
    scene.traffic.storages = dict.fromkeys(range(len(CREW)), versions.first_version.__name__)


def renew_half(scene: Scene) -> None:
    """Half of the workers, one of each colour, are replaced by ours; the others stay what they are."""
    for number in OURS:
        del scene.traffic.storages[number]
        scene.traffic.kill(number)
        scene.traffic.start(number)


def replace_half_by_later(scene: Scene) -> None:
    """A later version adds columns while all use the file; then half of the workers are replaced by its."""
    versions.add_columns(scene.place.path)
    scene.traffic.some_calls()
    for number in set(range(len(CREW))) - set(OURS):
        scene.traffic.storages[number] = versions.later_version.__name__
        scene.traffic.kill(number)
        scene.traffic.start(number)


def add_columns_and_lock(scene: Scene) -> None:
    """As a later version may. An outage shows whether writes are tried."""
    versions.add_columns(scene.place.path)
    lock(scene)


def read_history(scene: Scene) -> None:
    """Ours understands what the later version adds to the history; the first adds nothing."""
    if not CircuitSQLiteStorage(scene.place.path, scene.traffic.name).history(100):
        raise NeverError("the history held a change")


once: Any = functools.partial(Fault, kind=SQLITE)
shared: Any = functools.partial(once, effect=Effect.SHARED, again=True)

FAULTS = (
    shared("a writer is killed in mid-transaction", breaks=die_in_transaction, sound=True),
    once("locked by another program", breaks=lock, mends=unlock, sound=True),
    once("locked by another program for 30 s", breaks=lock_for(30), mends=unlock, sound=True, quick=False),
    once("the disk is full (a limit of file sizes)", breaks=fill_disk, mends=free_disk),
    once(
        "the disk is full (a small tmpfs)",
        kind=SMALL_DISK,
        breaks=fill_small_disk,
        mends=free_small_disk,
        impossible=no_small_disk,
        quick=False,
    ),
    once("deleted, in a directory where no file can be made", breaks=forbid_writing, mends=allow_writing),
    shared("deleted with its log", breaks=delete, effect=Effect.EITHER),
    shared("deleted without its log", breaks=delete_only_the_file, effect=Effect.EITHER, quick=False),
    shared("its beginning is garbage", breaks=corrupt(0, 512), effect=Effect.EITHER, says="set aside", quick=False),
    shared("its middle is garbage", breaks=corrupt(4096, 16_384), effect=Effect.EITHER, says="set aside"),
    shared("garbage in every column", breaks=spoil_rows, says="not understood"),
    once(
        "made by the first version",
        prepares=make_first_version,
        breaks=lock,
        mends=unlock,
        sound=True,
        lasting=False,
        quick=False,
    ),
    once(
        "half of the workers still have the first version",
        prepares=begin_with_first_version,
        breaks=renew_half,
        effect=Effect.SHARED,
        sound=True,
        lasting=False,
        quick=False,
    ),
    once(
        "half of the workers have a later version, which has added columns",
        breaks=replace_half_by_later,
        mends=read_history,
        effect=Effect.SHARED,
        sound=True,
        lasting=False,
    ),
    once("a later version has added columns", breaks=add_columns_and_lock, mends=unlock, sound=True, lasting=False),
)
