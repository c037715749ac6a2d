"""What is SQLite's own: one file for many circuits and processes, its clock, its connections."""

from __future__ import annotations

import gc
import os
import sqlite3
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pybreaker_ext import CircuitBreaker, CircuitMemoryStorage, CircuitSQLiteStorage
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


def test_threads_lose_nothing(tmp_path: Path) -> None:
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


def test_a_finalizer_in_the_midst_of_a_transaction_joins_it(tmp_path: Path) -> None:
    """An abandoned stream may be collected at any moment, also between this thread's own BEGIN and COMMIT."""
    streams, other = (CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "c.db", name)) for name in "ab")
    streams.half_open()
    stream = streams.call(lambda: (number for number in range(3)))
    next(stream)
    file = other._state_storage._file

    def step(transaction: Any) -> Any:
        transaction.begin()
        stream.close()  # as the garbage collector would
        transaction.commit()
        return other._state_storage.apply(Event("read"), Policy())

    file.run_now(step)
    snapshot = streams.snapshot()
    assert (snapshot.probes, snapshot.shared, file.outage.epoch) == (0, True, 0)


def test_what_joined_a_transaction_is_not_overwritten(tmp_path: Path) -> None:
    """A signal handler opens the very circuit that this thread is deciding on, between its look and its write."""
    breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "c.db", "n"))
    breaker.call(int)
    storage = breaker._state_storage
    load, opened = storage._load, []

    def interrupted(transaction: Any) -> Any:
        found = load(transaction)
        if not opened:
            opened.append(1)
            breaker.open(600)
        return found

    storage._load = interrupted
    generation = storage._file.run_now(
        lambda transaction: transaction.execute("SELECT generation FROM circuits")
    ).fetchone()[0]
    storage.apply(Event("failure", generation=generation), Policy())
    storage._load = load
    assert breaker.current_state == "open"


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


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "weird"),
        ("state", "OPEN"),
        ("generation", "x"),
        ("generation", -1),
        ("open_until", "soon"),
        ("open_until", 2**60),
        ("trips", 1.5),
        ("reason", "because"),
        ("permits", "garbage"),
        ("permits", b"aa"),
        ("permits", "a:b"),
    ],
)
def test_a_row_that_is_not_understood_is_treated_as_missing_and_logged_once(
    tmp_path: Path, column: str, value: object, caplog: pytest.LogCaptureFixture
) -> None:
    breaker = CircuitBreaker(fail_max=1, state_storage=CircuitSQLiteStorage(tmp_path / "c.db", "n"))
    breaker.half_open()
    connection = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    connection.execute(f"UPDATE circuits SET {column} = ?", (value,))  # noqa: S608
    connection.close()
    assert breaker.snapshot().state == "closed"
    assert breaker.call(lambda: 5) == 5
    assert breaker.snapshot().shared
    assert [record.message.split(":")[0] for record in caplog.records] == [
        "A row is not understood, and treated as missing"
    ]


def test_another_programs_table_of_the_same_name(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "c.db", isolation_level=None)
    connection.execute("CREATE TABLE circuits (namespace TEXT, volts REAL)")
    connection.execute("INSERT INTO circuits VALUES ('n', 230)")
    connection.close()
    breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "c.db", "n"))
    assert breaker.call(lambda: 5) == 5
    assert not breaker.snapshot().shared


def test_an_opening_by_pybreakers_setters_lasts_the_breakers_open_time(tmp_path: Path) -> None:
    for storage in (CircuitSQLiteStorage(tmp_path / "c.db", "n"), CircuitMemoryStorage()):
        breaker = CircuitBreaker(reset_timeout=600, state_storage=storage)
        breaker.call(int)
        storage.opened_at = datetime.now(UTC) - timedelta(seconds=100)
        storage.state = "open"
        assert 490 < breaker.retry_after <= 500


def test_permits_as_text() -> None:
    for held in ({}, {"a1": 5}, {"a1": 5, "b2": 7}):
        assert permits.from_text(permits.to_text(held)) == held
    with pytest.raises(ValueError, match="unpack"):
        permits.from_text("garbage")
