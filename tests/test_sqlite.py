"""What is SQLite's own: one file for many circuits and processes, its clock, its connections."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pybreaker_ext import CircuitBreaker, CircuitSQLiteStorage
from pybreaker_ext.machine import Event, Policy
from pybreaker_ext.storage import permits


def open_files(path: Path) -> int:
    """Count this process's descriptors of a file and its companions."""
    links = [os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if _is_there(number)]  # noqa: PTH115, PTH208
    return len([link for link in links if link.startswith(str(path))])


def _is_there(number: str) -> bool:
    return Path(f"/proc/self/fd/{number}").is_symlink()


def test_circuits_of_one_file_do_not_touch_each_other(tmp_path: Path) -> None:
    first, second = (CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "c.db", name)) for name in "ab")
    first.open()
    assert (first.current_state, second.current_state) == ("open", "closed")


@pytest.mark.parametrize(
    "name", ["openai/gpt-4o:eu-west", "with space", "{braces}", "ä—名", "'; DROP TABLE circuits; --"]
)
def test_names_may_hold_any_text(tmp_path: Path, name: str) -> None:
    breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "c.db", name))
    breaker.open()
    assert CircuitSQLiteStorage(tmp_path / "c.db", name).state == "open"
    assert CircuitSQLiteStorage(tmp_path / "c.db", name + "x").state == "closed"


def test_a_path_may_be_relative_and_mean_the_same_file_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    storage = CircuitSQLiteStorage("c.db", "n")
    monkeypatch.chdir("/")
    CircuitBreaker(state_storage=storage).open()
    assert (tmp_path / "c.db").exists()


def test_the_clock_is_the_machines(tmp_path: Path) -> None:
    storage = CircuitSQLiteStorage(tmp_path / "c.db", "n")
    before = time.time_ns() // 1_000_000
    now = storage.apply(Event("read"), Policy()).now
    assert before - 1 <= now <= time.time_ns() // 1_000_000 + 1


def test_a_quiet_circuit_is_not_written(tmp_path: Path) -> None:
    breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "c.db", "n"))
    breaker.call(int)
    log = tmp_path / "c.db-wal"
    size = log.stat().st_size
    for _ in range(100):
        breaker.call(int)
    assert log.stat().st_size == size


def test_threads_use_connections_of_their_own_and_give_them_back(tmp_path: Path) -> None:
    storage = CircuitSQLiteStorage(tmp_path / "c.db", "n")
    breaker = CircuitBreaker(fail_max=10_000, state_storage=storage)

    def fail_often() -> None:
        for _ in range(25):
            with pytest.raises(ZeroDivisionError):
                breaker.call(lambda: 1 / 0)

    threads = [threading.Thread(target=fail_often) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (breaker.fail_counter, breaker.snapshot().shared) == (200, True)
    assert 1 <= len(storage._file._idle) <= 9


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="no /proc to count descriptors in")
def test_the_last_user_closes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "c.db"
    storages = [CircuitSQLiteStorage(path, name) for name in "abc"]
    for storage in storages:
        CircuitBreaker(state_storage=storage).call(int)
    assert open_files(path) > 0
    del storage
    storages.clear()
    gc.collect()
    assert open_files(path) == 0


def test_pybreakers_setters(tmp_path: Path) -> None:
    storage = CircuitSQLiteStorage(tmp_path / "c.db", "n")
    storage.increment_counter()
    storage.increment_success_counter()
    storage.opened_at = datetime.now(UTC)
    storage.state = "half-open"
    assert (storage.state, storage.counter, storage.success_counter) == ("half-open", 1, 1)
    assert storage.opened_at is not None
    assert abs((storage.opened_at - datetime.now(UTC)).total_seconds()) < 60
    storage.reset_counter()
    storage.reset_success_counter()
    assert (storage.counter, storage.success_counter) == (0, 0)
    assert (storage.name, storage.namespace) == ("sqlite", "n")


def test_a_foreign_state_is_a_new_generation(tmp_path: Path) -> None:
    storage = CircuitSQLiteStorage(tmp_path / "c.db", "n")
    generation = storage.apply(Event("ask", "t"), Policy()).after.generation
    storage.state = "open"
    assert storage.apply(Event("success", "t", generation), Policy()).verdict == "dropped"


def test_a_person_can_read_the_file(tmp_path: Path) -> None:
    breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "c.db", "claude"))
    breaker.open()
    connection = sqlite3.connect(tmp_path / "c.db")
    assert connection.execute("SELECT namespace, state, reason FROM circuits").fetchall() == [
        ("claude", "open", "manual")
    ]
    connection.close()


def test_permits_as_text() -> None:
    for held in ({}, {"a1": 5}, {"a1": 5, "b2": 7}):
        assert permits.from_text(permits.to_text(held)) == held
    with pytest.raises(ValueError, match="unpack"):
        permits.from_text("garbage")
