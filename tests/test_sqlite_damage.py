"""A file that is deleted, replaced, damaged, or newer than this package: the circuits go on."""

from __future__ import annotations

import logging
import sqlite3
from typing import TYPE_CHECKING

import pytest

from pybreaker_ext import CircuitBreaker, CircuitSQLiteStorage
from pybreaker_ext.storage import sqlite_damage

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "circuits.db"


def breaker_of(path: Path) -> CircuitBreaker:
    storage = CircuitSQLiteStorage(path, "n")
    return CircuitBreaker(fail_max=2, max_staleness=0.0, state_storage=storage)


def fail(breaker: CircuitBreaker) -> None:
    with pytest.raises(ZeroDivisionError):
        breaker.call(lambda: 1 / 0)


def a_second_later(breaker: CircuitBreaker) -> None:
    breaker._state_storage._file.outage._next_try = 0.0


def a_moment_later(breaker: CircuitBreaker) -> None:
    breaker._state_storage._file._next_look = 0.0


def close(breaker: CircuitBreaker) -> None:
    """Close the file, so that all of it is in the file and nothing in its log."""
    breaker._state_storage._file.before_fork()
    breaker._state_storage._file.after_fork()


def spoil(path: Path, offset: int = 0) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(b"\xa5garbage" * 64)


def delete(path: Path) -> None:
    """With its log, which SQLite would take for the next file's."""
    for companion in path.parent.iterdir():
        companion.unlink()


def names(path: Path) -> list[str]:
    return sorted(one.name for one in path.parent.iterdir() if ".damaged-" in one.name)


@pytest.mark.parametrize("offset", [0, 4096], ids=["beginning", "middle"])
def test_a_damaged_file_is_set_aside_and_made_anew(path: Path, caplog: pytest.LogCaptureFixture, offset: int) -> None:
    breaker = breaker_of(path)
    fail(breaker)
    close(breaker)
    spoil(path, offset)
    damaged = path.read_bytes()
    assert breaker.call(int) == 0
    a_second_later(breaker)
    fail(breaker)
    assert (breaker.fail_counter, breaker.snapshot().shared) == (1, True)
    (aside,) = names(path)
    assert path.with_name(aside).read_bytes() == damaged
    lines = [record.message for record in caplog.records if "set aside" in record.message]
    assert len(lines) == 1
    assert aside in lines[0]


def test_one_that_was_damaged_while_nobody_used_it(path: Path) -> None:
    """Its table's name tells that it is ours."""
    fail(breaker_of(path))
    spoil(path)
    breaker = breaker_of(path)
    assert breaker.call(int) == 0
    a_second_later(breaker)
    assert breaker.snapshot().shared
    assert len(names(path)) == 1


def test_somebody_elses_file_is_left_alone(path: Path) -> None:
    path.write_bytes(b"a letter, and not a database at all " * 200)
    breaker = breaker_of(path)
    for _ in range(3):
        assert breaker.call(int) == 0
        a_second_later(breaker)
    assert names(path) == []
    assert path.read_bytes().startswith(b"a letter")


def test_also_if_it_has_taken_the_place_of_ours(path: Path) -> None:
    breaker = breaker_of(path)
    fail(breaker)
    delete(path)
    path.write_bytes(b"a letter, and not a database at all " * 200)
    a_moment_later(breaker)
    assert breaker.call(int) == 0
    assert not breaker.snapshot().shared
    assert names(path) == []


def test_one_that_another_process_has_set_aside_is_not_set_aside_again(path: Path) -> None:
    breaker = breaker_of(path)
    fail(breaker)
    close(breaker)
    known = sqlite_damage.identity(str(path))
    sqlite_damage.set_aside(str(path), known)
    assert names(path) == []  # it is well
    spoil(path)
    sqlite_damage.set_aside(str(path), known)
    sqlite_damage.set_aside(str(path), known)
    assert len(names(path)) == 1


def test_where_nothing_may_be_renamed_the_store_is_away(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    breaker = breaker_of(path)
    fail(breaker)
    close(breaker)
    spoil(path)

    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr("os.rename", refuse)
    assert breaker.call(int) == 0
    assert not breaker.snapshot().shared


def test_a_deleted_file_is_made_anew(path: Path) -> None:
    """SQLite would go on in the file that has no name any more, and newcomers in another one."""
    breaker = breaker_of(path)
    fail(breaker)
    delete(path)
    newcomer = sqlite3.connect(path)
    newcomer.close()
    a_moment_later(breaker)
    fail(breaker)
    assert breaker.fail_counter == 1
    assert breaker.snapshot().shared
    with sqlite3.connect(path) as another:
        assert another.execute("SELECT fail_counter FROM circuits").fetchall() == [(1,)]
    another.close()


def test_a_restored_file_is_read(path: Path) -> None:
    breaker = breaker_of(path)
    fail(breaker)
    close(breaker)
    backup = path.with_name("backup")
    backup.write_bytes(path.read_bytes())
    assert breaker.call(int) == 0
    close(breaker)
    backup.replace(path)
    a_moment_later(breaker)
    assert breaker.fail_counter == 1


@pytest.mark.parametrize("table", ["circuits", "circuit_changes"])
def test_columns_that_a_later_version_has_added_do_no_harm(
    path: Path, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = breaker_of(path)
    fail(breaker)
    with sqlite3.connect(path) as later:
        later.execute(f"ALTER TABLE {table} ADD COLUMN later TEXT NOT NULL DEFAULT ''")
    later.close()
    file = breaker._state_storage._file
    file._connection().execute("PRAGMA query_only = ON")
    fail(breaker)
    assert file.outage.epoch == 1
    a_second_later(breaker)
    with caplog.at_level(logging.INFO):
        assert breaker.call(int) == 0
    assert breaker.snapshot().shared
    breaker.open()
    assert [change.new_state for change in breaker.history()][-1] == "open"
