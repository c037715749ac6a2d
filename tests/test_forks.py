"""Breakers that are made before a server forks: no lock, connection or name of the parent is used."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from prometheus_client import CollectorRegistry

from pybreaker_ext import CircuitBreaker, CircuitMemoryStorage, CircuitRedisStorage, CircuitSQLiteStorage
from pybreaker_ext.listeners import PrometheusListener
from pybreaker_ext.tokens import tokens

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from servers import RedisServer

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
    # Python 3.12 warns of forking beside threads, which is just what is tried here.
    pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning"),
]


def in_child(function: Callable[[], Any]) -> Any:
    """Run `function` in a forked child and return its result; a hanging child fails."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        try:
            with os.fdopen(writer, "wb") as pipe:
                try:
                    answer = (True, function())
                except BaseException:  # noqa: BLE001  the test shall see it
                    answer = (False, traceback.format_exc())
                pickle.dump(answer, pipe)
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        good, value = pickle.load(pipe)  # noqa: S301  our own
    os.waitpid(pid, 0)
    assert good, value
    return value


def trip(breaker: CircuitBreaker) -> str:
    try:
        breaker.call(lambda: 1 / 0)
    except Exception as error:  # noqa: BLE001  its name is the answer
        return type(error).__name__
    return "none"


def test_a_breaker_of_memory_goes_on_in_the_child() -> None:
    breaker = CircuitBreaker(fail_max=1, state_storage=CircuitMemoryStorage())
    breaker.call(int)
    assert in_child(lambda: trip(breaker)) == "CircuitBreakerError"
    assert breaker.current_state == "closed"


def test_the_child_shares_the_circuit_on_sqlite(tmp_path: Path) -> None:
    breaker = CircuitBreaker(fail_max=1, state_storage=CircuitSQLiteStorage(tmp_path / "circuits.db", "n"))
    breaker.call(int)
    file = breaker._state_storage._file
    assert file._kept

    def child() -> tuple[bool, str, bool]:
        return bool(file._kept), trip(breaker), breaker.snapshot().shared

    assert in_child(child) == (False, "CircuitBreakerError", True)
    assert breaker.current_state == "open"
    assert breaker.snapshot().shared


def test_the_child_shares_the_circuit_on_redis(redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        breaker = CircuitBreaker(fail_max=1, state_storage=CircuitRedisStorage("closed", client, "n"))
        breaker.call(int)
        link = breaker._state_storage._link
        own = link._own

        def child() -> tuple[str, bool, bool]:
            return trip(breaker), breaker.snapshot().shared, link._own is own

        assert in_child(child) == ("CircuitBreakerError", True, False)
        assert breaker.current_state == "open"
        assert link._own is own
        own.close()


def test_locks_held_by_a_thread_of_the_parent_do_not_block_the_child(tmp_path: Path, redis_server: RedisServer) -> None:
    with redis_server.client() as client:
        breakers = [
            CircuitBreaker(state_storage=storage)
            for storage in (
                CircuitMemoryStorage(),
                CircuitSQLiteStorage(tmp_path / "circuits.db", "n"),
                CircuitRedisStorage("closed", client, "n"),
            )
        ]
        locks = [breakers[0]._state_storage._lock]
        for breaker in breakers:
            locks += [breaker._lock, breaker._notifier._lock]
        locks += [breakers[1]._state_storage._file.outage.lock, breakers[2]._state_storage._link.outage.lock]
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            for lock in locks:
                lock.acquire()
            held.set()
            release.wait(60)
            for lock in locks:
                lock.release()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(60)

        def child() -> list[str]:
            for breaker in breakers:
                breaker.open()
                breaker.add_listener(object())
            return [breaker.current_state for breaker in breakers]

        try:
            assert in_child(child) == ["open"] * 3
        finally:
            release.set()
            holder.join()
        breakers[2]._state_storage._link.run(0, "return 1", [], [])
        breakers[2]._state_storage._link._own.close()


def test_a_forked_child_and_strangers_keep_sharing_one_sqlite_file(tmp_path: Path) -> None:
    """SQLite's own bookkeeping of locks is inherited: a child that joins it locks nothing.

    A stranger who opens and closes the file then takes itself for the last one, and removes the
    log under the living child.
    """
    path = tmp_path / "circuits.db"
    breaker = CircuitBreaker(fail_max=1000, state_storage=CircuitSQLiteStorage(path, "n"))
    trip(breaker)
    look = f"from pybreaker_ext import *; print(CircuitSQLiteStorage({str(path)!r}, 'n').counter)"

    def stranger() -> int:
        run = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
        return int(run.stdout)

    def child() -> list[int]:
        def grandchild() -> list[int]:
            """Its parent has the file closed; nobody else has it open."""
            seen = []
            for _ in range(3):
                trip(breaker)
                seen.append(stranger())
            return seen

        return in_child(grandchild)

    assert in_child(child) == [2, 3, 4]
    assert stranger() == 4


def test_a_fork_beside_busy_threads_hangs_no_child_and_locks_it_not_out(tmp_path: Path) -> None:
    breaker = CircuitBreaker(fail_max=10**6, state_storage=CircuitSQLiteStorage(tmp_path / "circuits.db", "n"))
    stop = threading.Event()
    counts = [0] * 4

    def work(index: int) -> None:
        while not stop.is_set():
            trip(breaker)
            counts[index] += 1

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    try:
        shared = [in_child(lambda: (trip(breaker), breaker.snapshot().shared)[1]) for _ in range(25)]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert shared == [True] * 25
    assert breaker.fail_counter == sum(counts) + 25


def test_a_fork_beside_a_thread_that_makes_breakers_locks_nobody_out(tmp_path: Path) -> None:
    """What is made between the two hooks of a fork must not confuse them."""
    breaker = CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / "circuits.db", "n"))
    breaker.call(int)
    stop = threading.Event()

    def make() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            CircuitBreaker(state_storage=CircuitSQLiteStorage(tmp_path / f"{number % 50}.db", "n"))

    maker = threading.Thread(target=make)
    maker.start()
    try:
        for _ in range(150):
            pid = os.fork()
            if pid == 0:
                os._exit(0)
            os.waitpid(pid, 0)
    finally:
        stop.set()
        maker.join()
    other = threading.Thread(target=breaker.call, args=(int,), daemon=True)
    other.start()
    other.join(20)
    assert not other.is_alive()


def test_a_child_leaves_a_metrics_listeners_breakers_to_its_parent() -> None:
    """Without a GIL, a dictionary has a lock, which waiting threads of the parent can leave locked in a child."""
    listener = PrometheusListener(CollectorRegistry())
    breaker = CircuitBreaker(listeners=[listener])
    breaker.call(int)
    known = listener._known
    assert len(known) == 1
    assert in_child(lambda: (listener._known is known, len(known), len(listener._known))) == (False, 1, 0)
    assert listener._known is known


def test_a_childs_tokens_are_its_own() -> None:
    mine = {tokens.new() for _ in range(100)}
    theirs = in_child(lambda: {tokens.new() for _ in range(100)})
    assert len(mine | theirs) == 200


def test_a_grandchild_works_too(tmp_path: Path) -> None:
    breaker = CircuitBreaker(fail_max=1, state_storage=CircuitSQLiteStorage(tmp_path / "circuits.db", "n"))
    breaker.call(int)
    assert in_child(lambda: (breaker.call(int), in_child(lambda: trip(breaker)))[1]) == "CircuitBreakerError"
    assert breaker.current_state == "open"
