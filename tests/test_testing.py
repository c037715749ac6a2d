"""What users' tests are given, used as they would use it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import pybreaker_ext
from pybreaker_ext import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitBreakerRegistry,
    CircuitMemoryStorage,
    CircuitSQLiteStorage,
    get_circuit_breaker,
    reset_all_breakers,
)
from pybreaker_ext.testing import CircuitBreakers, Clock, Outcomes

if TYPE_CHECKING:
    import servers

NOBODY = "redis://127.0.0.1:1/0"


def fail() -> None:
    raise ConnectionError


def failing_call(breaker: Any) -> None:
    with pytest.raises((ConnectionError, CircuitBreakerError)):
        breaker.call(fail)


def test_time_passes_when_it_is_told_to(circuit_breakers: CircuitBreakers) -> None:
    breaker = circuit_breakers.get("payments", fail_max=2, reset_timeout=0.3)
    failing_call(breaker)
    failing_call(breaker)
    circuit_breakers.assert_state("payments", "open")
    for _ in range(2):
        circuit_breakers.clock.advance(0.1)
        with pytest.raises(CircuitBreakerError):
            breaker.call(int)
    circuit_breakers.clock.advance(0.1)  # three times a tenth is the whole, whatever floats say
    breaker.call(int)
    breaker.call(int)
    circuit_breakers.assert_state("payments", "closed")
    assert circuit_breakers.outcomes("payments") == Outcomes(2, 2, 0, 2, ("open", "half-open", "closed"))


def test_a_clock_goes_forwards_only() -> None:
    clock = Clock()
    before = clock()
    clock.advance(1.5)
    assert clock() == before + 1.5
    for wrong, error in ((-1, ValueError), (float("nan"), ValueError), (float("inf"), ValueError), ("1", TypeError)):
        with pytest.raises(error, match="seconds must be"):
            clock.advance(wrong)  # type: ignore[arg-type]


def test_states_can_be_forced_before_anybody_asks_for_the_breaker(circuit_breakers: CircuitBreakers) -> None:
    circuit_breakers.force("payments", "open", 60)
    breaker = circuit_breakers.get("payments", fail_max=7)
    with pytest.raises(CircuitBreakerError) as caught:
        breaker.call(int)
    assert caught.value.retry_after == 60
    circuit_breakers.force("payments", "half-open")
    assert breaker.call(int) == 0
    circuit_breakers.force("payments", "closed")
    circuit_breakers.force("payments", "open")
    circuit_breakers.clock.advance(1e9)
    assert breaker.current_state == "open"
    assert breaker.retry_after == float("inf")


def test_wrong_arguments_say_what_is_right(circuit_breakers: CircuitBreakers) -> None:
    with pytest.raises(ValueError, match="state must be 'closed', 'open' or 'half-open', not 'ajar'"):
        circuit_breakers.force("payments", "ajar")
    with pytest.raises(ValueError, match="seconds must be"):
        circuit_breakers.force("payments", "open", -1)
    with pytest.raises(ValueError, match="name must have at least one character"):
        circuit_breakers.force("", "open")
    circuit_breakers.get("payments")
    with pytest.raises(LookupError, match="nobody has asked for a breaker called 'paymets'; known are: 'payments'"):
        circuit_breakers.outcomes("paymets")
    with pytest.raises(ValueError, match="another one called 'payments'"):
        circuit_breakers.take_over(CircuitBreaker(name="payments"))
    with pytest.raises(ValueError, match="name must have"):
        circuit_breakers.take_over(CircuitBreaker())


def test_outcomes_are_counted(circuit_breakers: CircuitBreakers) -> None:
    breaker = circuit_breakers.get("payments", ignore=[KeyError])
    breaker.call(int)
    failing_call(breaker)
    with pytest.raises(KeyError):
        breaker.call(lambda: {}[0])
    breaker.open()
    failing_call(breaker)
    circuit_breakers.assert_outcomes("payments", success=1, failure=1, neutral=1, rejected=1)
    circuit_breakers.assert_outcomes("payments", rejected=1)
    with pytest.raises(AssertionError, match=r"'payments': expected success=2, .*success=1, failure=1, neutral=1"):
        circuit_breakers.assert_outcomes("payments", success=2)
    with pytest.raises(AssertionError, match=r"expected closed, but it is open \(reason: manual\)"):
        circuit_breakers.assert_state("payments", "closed")


def test_breakers_of_the_whole_program_are_in_memory(circuit_breakers: CircuitBreakers) -> None:
    """No Redis is asked, whatever the URL says; outside of the test it is as before."""
    breaker = get_circuit_breaker(NOBODY, name="claude", fail_max=1)
    failing_call(breaker)
    assert breaker.snapshot().shared
    assert breaker is circuit_breakers.get("claude")
    assert get_circuit_breaker("sqlite:////nowhere/x.db", name="claude", fail_max=1) is breaker
    circuit_breakers.assert_outcomes("claude", failure=1)
    reset_all_breakers()
    circuit_breakers.assert_state("claude", "closed")


def test_breakers_that_were_made_at_import_time_are_taken_along(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/circuits.db"
    breaker = get_circuit_breaker(url, name="claude", fail_max=1)
    namesake = get_circuit_breaker("memory://", name="claude")
    protected = breaker(fail)
    failing_call(breaker)
    try:
        with CircuitBreakers() as breakers, breakers.installed():
            assert get_circuit_breaker(url, name="claude", fail_max=1) is breaker
            assert get_circuit_breaker("memory://", name="claude") is namesake
            assert breakers.take_over(breaker) is breaker  # as it is already
            breakers.close()
        with CircuitBreakers() as breakers, breakers.installed():
            elsewhere = get_circuit_breaker(NOBODY, name="claude", fail_max=9)
            assert elsewhere is breakers.get("claude")
            with pytest.raises(ValueError, match="fail_max is 1, not 2"):
                get_circuit_breaker(url, name="claude", fail_max=2)
            assert breaker.current_state == "closed"
            with pytest.raises(CircuitBreakerError) as caught:
                protected()
            assert isinstance(caught.value.__cause__, ConnectionError)
            assert namesake.current_state == elsewhere.current_state == "open"  # one name, one circuit
            failing_call(namesake)
            breakers.assert_outcomes("claude", failure=1, rejected=1)
            breakers.clock.advance(30)
            breaker.call(int)
            namesake.call(int)
            breakers.assert_state("claude", "closed")
            reset_all_breakers()
            assert get_circuit_breaker(url, name="claude") is breaker
        assert breaker.current_state == "open"
        assert namesake.current_state == "closed"
        assert get_circuit_breaker(url, name="claude") is breaker
        assert breaker.listeners == ()
    finally:
        reset_all_breakers()


@pytest.mark.parametrize("kind", ["memory", "sqlite", "redis", "strict"])
def test_a_breaker_from_elsewhere_is_taken_over_with_its_functions(
    kind: str, tmp_path: Path, redis_server: servers.RedisServer
) -> None:
    with redis_server.client() as client:
        storage: Any = {
            "memory": CircuitMemoryStorage,
            "sqlite": lambda: CircuitSQLiteStorage(tmp_path / "circuits.db", "a"),
            "redis": lambda: pybreaker_ext.CircuitRedisStorage("closed", client, "a"),
            "strict": lambda: pybreaker_ext.CircuitRedisStorage("closed", client, "a"),
        }[kind]()
        told: list[str] = []

        class Listener:
            def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
                told.append(new_state.name)

        breaker = CircuitBreaker(
            fail_max=1,
            reset_timeout=30,
            state_storage=storage,
            name="a",
            listeners=[Listener()],
            max_staleness=0.0 if kind == "strict" else 0.1,
        )

        @breaker
        def work() -> int:
            return 1

        @breaker
        async def work_later() -> int:
            return 2

        before = breaker.snapshot()
        assert work() == 1
        for _ in range(2):
            with CircuitBreakers() as breakers:
                breakers.force("a", "open", 5)
                assert breakers.take_over(breaker) is breakers.take_over(breaker) is breaker
                for call in (work, lambda: asyncio.run(work_later())):
                    with pytest.raises(CircuitBreakerError):
                        call()
                breakers.clock.advance(5)
                assert (work(), asyncio.run(work_later()), breaker.current_state) == (1, 2, "closed")
                failing_call(breaker)
                with pytest.raises(CircuitBreakerError):
                    work()
                breakers.assert_outcomes("a", success=2, failure=1, rejected=3)
        after = breaker.snapshot()
        assert (after.state, after.fail_counter, after.opened_at) == (before.state, 0, None)
        assert work() == 1
        assert told == ["open", "half-open", "closed", "open"] * 2
        breaker.open()
        assert told[8:] == ["open"]


def test_breakers_on_one_memory_storage_stay_together(circuit_breakers: CircuitBreakers) -> None:
    storage = CircuitMemoryStorage()
    first, second = (CircuitBreaker(state_storage=storage, name=name) for name in "ab")
    circuit_breakers.take_over(first)
    first.open()
    assert second.current_state == "open"


def test_threads_and_tasks_are_counted_like_any_call(circuit_breakers: CircuitBreakers) -> None:
    breaker = circuit_breakers.get("payments", fail_max=1000)
    threads = [threading.Thread(target=lambda: [breaker.call(int) for _ in range(50)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    async def main() -> None:
        await asyncio.gather(*[breaker.call_async(int) for _ in range(50)])

    asyncio.run(main())
    circuit_breakers.assert_outcomes("payments", success=250)


def test_it_is_a_registry(circuit_breakers: CircuitBreakers) -> None:
    assert isinstance(circuit_breakers, CircuitBreakerRegistry)
    assert circuit_breakers.names() == ()
    with CircuitBreakers(fail_max=3) as breakers:
        assert breakers.get("a").fail_max == 3
        with pytest.raises(ValueError, match="fail_max is 3, not 4"):
            breakers.get("a", fail_max=4)


def pytest_run(directory: Path, text: str) -> subprocess.CompletedProcess[str]:
    directory.joinpath("test_it.py").write_text(textwrap.dedent(text))
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "pybreaker_ext.testing.pytest_plugin",
        "-p",
        "no:cacheprovider",
        "-q",
    ]
    environment = {**os.environ, "PYTHONPATH": str(Path(pybreaker_ext.__file__).parent.parent)}
    return subprocess.run(
        command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def test_the_plugin_imports_nothing_until_it_is_used(tmp_path: Path) -> None:
    run = pytest_run(
        tmp_path,
        """
        import sys

        def test_first():
            assert not {"pybreaker_ext", "pybreaker", "redis", "structlog"} & sys.modules.keys()

        def test_then(circuit_breakers):
            assert circuit_breakers.get("a").call(int) == 0
        """,
    )
    assert "2 passed" in run.stdout, run.stdout + run.stderr


def test_each_test_has_circuits_of_its_own(tmp_path: Path) -> None:
    run = pytest_run(
        tmp_path,
        """
        import pytest

        @pytest.mark.parametrize("number", range(2))
        def test_it(circuit_breakers, number):
            breaker = circuit_breakers.get("a")
            assert breaker.current_state == "closed"
            breaker.open()
            circuit_breakers.assert_outcomes("a", success=1)
        """,
    )
    assert run.stdout.count("AssertionError: breaker 'a': expected success=1, but there were Outcomes(success=0") >= 2
    assert "2 failed" in run.stdout
