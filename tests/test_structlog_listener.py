"""What `StructlogListener` logs: events, fields, levels; what it sums up, and what it never tells."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import io
import json
import logging
import math
import os
import re
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from structlog.testing import LogCapture, capture_logs
from test_outage import FlakyStore

from pybreaker_ext import (
    CircuitBreaker,
    CircuitBreakerError,
    CircuitMemoryStorage,
    CircuitRedisStorage,
    FailedResult,
    listeners,
)
from pybreaker_ext.listeners import StructlogListener
from pybreaker_ext.listeners.told_errors import NO_TEXT, ToldErrors, status_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "sk-live-4711"

FAILURE = "circuit_breaker_failure"
REJECTED = "circuit_breaker_rejected"
STATE_CHANGE = "circuit_breaker_state_change"
SUCCESS = "circuit_breaker_success"
HALF_OPEN_SUCCESS = "circuit_breaker_half_open_success"
NEUTRAL = "circuit_breaker_neutral"
LOST = "circuit_breaker_storage_lost"
RESTORED = "circuit_breaker_storage_restored"


class ProviderError(Exception):
    status_code = 503


def fail() -> None:
    raise ProviderError(f"the prompt was {SECRET}")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def _structlog_as_it_comes() -> Iterator[None]:
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def attempt(breaker: CircuitBreaker, function: Any = fail, times: int = 1) -> None:
    for _ in range(times):
        with contextlib.suppress(ProviderError, CircuitBreakerError):
            breaker.call(function)


def each(**settings: Any) -> StructlogListener:
    """Return a listener that sums nothing up."""
    return StructlogListener(summary_interval=0, **settings)


def names(events: list[Any]) -> list[str]:
    return [event["event"] for event in events]


class TestEvents:
    def test_a_failure_a_trip_and_a_rejection(self) -> None:
        storage = CircuitMemoryStorage(clock=Clock())
        breaker = CircuitBreaker(fail_max=2, name="claude", listeners=[each()], state_storage=storage)
        with capture_logs() as events:
            attempt(breaker, times=3)

        failure = {
            "event": FAILURE,
            "log_level": "warning",
            "breaker": "claude",
            "fail_max": 2,
            "error_type": "ProviderError",
            "status": 503,
        }
        assert events == [
            failure | {"fail_counter": 1},
            failure | {"fail_counter": 2},
            {
                "event": STATE_CHANGE,
                "log_level": "warning",
                "breaker": "claude",
                "old_state": "closed",
                "new_state": "open",
                "reason": "failures",
                "open_for": 60.0,
                "trips": 1,
                "fail_counter": 2,
            },
            {
                "event": REJECTED,
                "log_level": "warning",
                "breaker": "claude",
                "state": "open",
                "reason": "failures",
                "retry_after": 60.0,
            },
        ]

    def test_probes_are_told_apart_from_other_successes_also_the_one_that_closes(self) -> None:
        breaker = CircuitBreaker(success_threshold=2, listeners=[each()])
        breaker.half_open()
        with capture_logs() as events:
            attempt(breaker, int, times=4)

        probe = {"event": HALF_OPEN_SUCCESS, "log_level": "debug", "breaker": None, "success_threshold": 2}
        success = {"event": SUCCESS, "log_level": "debug", "breaker": None}
        change = {
            "event": STATE_CHANGE,
            "log_level": "info",
            "breaker": None,
            "old_state": "half-open",
            "new_state": "closed",
            "reason": "",
            "open_for": None,
            "trips": 0,
            "fail_counter": 0,
        }
        assert events == [
            probe | {"success_counter": 1},
            change,
            probe | {"success_counter": 2},
            success,
            success,
        ]

    def test_a_success_after_a_close_by_hand_or_by_another_was_no_probe(self) -> None:
        storage = CircuitMemoryStorage()
        other = CircuitBreaker(state_storage=storage)
        breaker = CircuitBreaker(success_threshold=2, state_storage=storage, listeners=[each()])
        for close in (breaker.close, other.close, lambda: attempt(other, int)):
            breaker.half_open()
            attempt(breaker, int)
            with capture_logs() as events:
                close()
                attempt(breaker, int)
            assert names(events) == [STATE_CHANGE, SUCCESS]

    def test_a_hold_is_told_as_what_it_is(self) -> None:
        breaker = CircuitBreaker(hold_for=lambda _: 5, listeners=[each()])
        with capture_logs() as events:
            attempt(breaker, times=2)
        assert [(event["event"], event.get("reason")) for event in events] == [
            (NEUTRAL, None),
            (STATE_CHANGE, "hold"),
            (REJECTED, "hold"),
        ]
        assert (events[1]["open_for"], events[1]["trips"]) == (5, 0)

    def test_open_until_somebody_closes_it_is_none(self) -> None:
        """JSON has no infinity."""
        breaker = CircuitBreaker(listeners=[each()])
        with capture_logs() as events:
            breaker.open(math.inf)
            attempt(breaker, int)
        assert (events[0]["reason"], events[0]["open_for"]) == ("manual", None)
        assert events[1]["retry_after"] is None
        json.dumps(events, allow_nan=False)

    def test_a_change_of_which_only_the_state_is_known(self) -> None:
        storage = CircuitMemoryStorage()
        breaker = CircuitBreaker(state_storage=storage, listeners=[each()])
        CircuitBreaker(state_storage=storage).open(0)
        with capture_logs() as events:
            breaker.call(int)
        first = {key: events[0][key] for key in ("new_state", "reason", "open_for", "trips", "fail_counter")}
        assert first == {"new_state": "open", "reason": None, "open_for": None, "trips": None, "fail_counter": None}

    def test_neutral(self) -> None:
        breaker = CircuitBreaker(ignore=[ProviderError], name="n", listeners=[each()])
        with capture_logs() as events:
            attempt(breaker)
        assert events == [
            {
                "event": NEUTRAL,
                "log_level": "debug",
                "breaker": "n",
                "error_type": "ProviderError",
                "status": 503,
                "error": f"the prompt was {SECRET}",
            }
        ]

    def test_the_store_goes_and_comes_back(self) -> None:
        store = FlakyStore()
        breaker = CircuitBreaker(state_storage=store, listeners=[each(redact=str)], max_staleness=0.0, name="n")
        attempt(breaker, int)
        with capture_logs() as events:
            store.away = True
            attempt(breaker, int)
            store.away = False
            store.now += 5
            attempt(breaker, int)
        told = [event for event in events if event["event"] != SUCCESS]
        assert told == [
            {
                "event": LOST,
                "log_level": "warning",
                "breaker": "n",
                "error_type": "StoreUnavailableError",
                "error": "away",
            },
            {"event": RESTORED, "log_level": "info", "breaker": "n", "away": 5.0},
        ]

    def test_nothing_asks_the_store(self) -> None:
        store = FlakyStore()
        quiet = CircuitBreaker(fail_max=2, state_storage=store, max_staleness=0.0)
        asked = []
        for listener in ((), (each(),)):
            breaker = CircuitBreaker(fail_max=2, state_storage=store, max_staleness=0.0, listeners=listener)
            quiet.close()
            store.asked = 0
            with capture_logs():
                for function in (int, fail, fail, int):
                    attempt(breaker, function)
            asked.append(store.asked)
        assert asked[0] == asked[1]

    def test_a_trip_seen_by_another_worker_has_the_same_reason(self, redis_server: Any) -> None:
        with redis_server.client() as client:
            breakers = [
                CircuitBreaker(
                    fail_max=1,
                    max_staleness=0.0,
                    name=name,
                    listeners=[each()],
                    state_storage=CircuitRedisStorage("closed", client, "n"),
                )
                for name in ("first", "second")
            ]
            with capture_logs() as events:
                for breaker in breakers:
                    attempt(breaker)
        changes = [event for event in events if event["event"] == STATE_CHANGE]
        assert [(event["breaker"], event["reason"], event["trips"]) for event in changes] == [
            ("first", "failures", 1),
            ("second", "failures", 1),
        ]
        assert all(0 < event["open_for"] <= 60 for event in changes)

    def test_asyncio(self) -> None:
        breaker = CircuitBreaker(fail_max=1, listeners=[each()], name="n")

        async def fail_soon() -> None:
            await asyncio.sleep(0)
            fail()

        async def call(request: int) -> None:
            structlog.contextvars.bind_contextvars(request=request)
            with contextlib.suppress(ProviderError, CircuitBreakerError):
                await breaker.call_async(fail_soon)

        async def both() -> None:
            for request in (1, 2):
                await asyncio.create_task(call(request))

        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as events:
            asyncio.run(both())
        assert [(event["event"], event["request"]) for event in events] == [
            (FAILURE, 1),
            (STATE_CHANGE, 1),
            (REJECTED, 2),
        ]


class TestStorms:
    def breaker(self, clock: Clock, **settings: Any) -> CircuitBreaker:
        listener = StructlogListener(summary_interval=10, clock=clock)
        return CircuitBreaker(**{"fail_max": 1000, "listeners": [listener]} | settings)

    def test_the_first_is_logged_at_once_and_the_next_tells_how_many_were_not(self, clock: Clock) -> None:
        breaker = self.breaker(clock)
        with capture_logs() as events:
            attempt(breaker, times=100)
            clock.now += 10
            attempt(breaker, times=50)
            clock.now += 10
            attempt(breaker)
            clock.now += 100
            attempt(breaker)
        assert [(event["fail_counter"], event.get("suppressed")) for event in events] == [
            (1, None),
            (101, 99),
            (151, 49),
            (152, None),
        ]

    def test_a_change_of_state_is_preceded_by_the_last_of_what_led_to_it(self, clock: Clock) -> None:
        breaker = self.breaker(clock, fail_max=5)
        with capture_logs() as events:
            attempt(breaker, times=5)
            attempt(breaker, int, times=3)
            breaker.close()
        assert [(event["event"], event.get("fail_counter"), event.get("suppressed")) for event in events] == [
            (FAILURE, 1, None),
            (FAILURE, 5, 3),
            (STATE_CHANGE, 5, None),
            (REJECTED, None, None),
            (REJECTED, None, 1),
            (STATE_CHANGE, 0, None),
        ]

    def test_a_storm_that_just_ends_is_told_with_the_next_call(self, clock: Clock) -> None:
        breaker = self.breaker(clock)
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.INFO))
        with capture_logs() as events:
            attempt(breaker, times=4)
            attempt(breaker, int)
            assert len(events) == 1
            clock.now += 10
            attempt(breaker, int, times=3)
        assert [(event["event"], event["fail_counter"], event.get("suppressed")) for event in events] == [
            (FAILURE, 1, None),
            (FAILURE, 4, 2),
        ]

    def test_one_kind_of_event_tells_of_another_whose_interval_is_over(self, clock: Clock) -> None:
        breaker = self.breaker(clock, ignore=[KeyError])
        with capture_logs() as events:
            attempt(breaker, times=2)
            clock.now += 10
            with pytest.raises(KeyError):
                breaker.call({}.popitem)
            attempt(breaker, times=2)
        assert names(events) == [FAILURE, FAILURE, NEUTRAL]

    def test_nothing_is_lost_and_not_much_is_logged(self, clock: Clock) -> None:
        """Failures and rejections in any order: what is logged and what it carries add up."""
        storage = CircuitMemoryStorage(clock=clock)
        breaker = self.breaker(clock, fail_max=3, reset_timeout=1, state_storage=storage)
        counted: Counter[str] = Counter()

        class Count:
            def failure(self, cb: Any, exc: Any) -> None:
                counted[FAILURE] += 1

            def rejected(self, cb: Any, error: Any) -> None:
                counted[REJECTED] += 1

        breaker.add_listener(Count())
        with capture_logs() as events:
            for number in range(2000):
                clock.now += 0.05
                attempt(breaker, int if number % 7 == 0 else fail)
            breaker.open()
            breaker.close()
        told: Counter[str] = Counter()
        for event in events:
            told[event["event"]] += 1 + event.get("suppressed", 0)
        assert {kind: told[kind] for kind in counted} == counted
        assert len(events) < 1000

    def test_the_last_one_is_logged_with_its_own_callers_context(self, clock: Clock) -> None:
        breaker = self.breaker(clock, fail_max=3)
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as events:
            for request in (1, 2):
                with structlog.contextvars.bound_contextvars(request=request):
                    attempt(breaker)
            with structlog.contextvars.bound_contextvars(request=3):
                breaker.open()
        assert [(event["event"], event["request"]) for event in events] == [
            (FAILURE, 1),
            (FAILURE, 2),
            (STATE_CHANGE, 3),
        ]

    def test_each_breaker_has_its_own_storms(self, clock: Clock) -> None:
        listener = StructlogListener(clock=clock)
        breakers = [CircuitBreaker(name=name, listeners=[listener]) for name in ("a", "b")]
        with capture_logs() as events:
            for breaker in breakers:
                attempt(breaker, times=2)
        assert [event["breaker"] for event in events] == ["a", "b"]

    def test_breakers_are_not_kept_alive_and_those_without_a_storm_not_known(self, clock: Clock) -> None:
        listener = StructlogListener(clock=clock, logger=silent())
        known = listener._storms._of_breakers
        breakers = [CircuitBreaker(listeners=[listener]) for _ in range(1000)]
        for breaker in breakers:
            attempt(breaker, times=2)
        assert len(known) == 1000
        clock.now += 10
        for breaker in breakers[:500]:
            attempt(breaker, int)
        clock.now += 10
        for breaker in breakers[:500]:
            attempt(breaker, int)
        assert len(known) == 500
        del breaker, breakers
        gc.collect()
        assert known == {}

    def test_breakers_that_are_equal_or_have_no_hash(self, clock: Clock) -> None:
        class Equal(CircuitBreaker):
            __hash__ = None  # type: ignore[assignment]

            def __eq__(self, other: object) -> bool:
                return True

        listener = StructlogListener(clock=clock)
        with capture_logs() as events:
            for name in "ab":
                attempt(Equal(name=name, listeners=[listener]))
        assert [event["breaker"] for event in events] == ["a", "b"]

    def test_logging_that_meets_an_open_circuit_itself_comes_to_an_end(self) -> None:
        """A processor that ships logs through the very breaker that is open."""

        def ship(logger: Any, method: str, event: Any) -> Any:
            attempt(breaker, int)
            shipped.append(event["event"])
            raise structlog.DropEvent

        shipped: list[str] = []
        structlog.configure(processors=[ship])
        breaker = CircuitBreaker(listeners=[StructlogListener()])
        breaker.open()
        attempt(breaker, int)
        assert shipped.count(REJECTED) <= 2

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    def test_a_forked_child_does_not_tell_what_its_parent_held_back(self, clock: Clock) -> None:
        program = (
            "import os, sys, structlog\n"
            "from pybreaker_ext import CircuitBreaker\n"
            "from pybreaker_ext.listeners import StructlogListener\n"
            "breaker = CircuitBreaker(listeners=[StructlogListener(summary_interval=100)])\n"
            "for _ in range(3):\n"
            "    try: breaker.call(lambda: 1 / 0)\n"
            "    except ZeroDivisionError: pass\n"
            "sys.stdout.flush()\n"
            "child = os.fork()\n"
            "if child: os.waitpid(child, 0)\n"
            "breaker.open()\n"
            "sys.stdout.flush()\n"
        )
        run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
        assert run.stdout.count("circuit_breaker_failure") == 2
        assert run.stdout.count("circuit_breaker_state_change") == 2

    def test_many_threads(self, clock: Clock) -> None:
        listener = StructlogListener(clock=clock)
        breakers = [CircuitBreaker(fail_max=10**6, name=name, listeners=[listener]) for name in "abcd"]

        def work() -> None:
            for _ in range(100):
                for breaker in breakers:
                    attempt(breaker)

        with capture_logs() as events:
            threads = [threading.Thread(target=work) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            for breaker in breakers:
                breaker.open()
        told: Counter[str] = Counter()
        for event in events:
            if event["event"] == FAILURE:
                told[event["breaker"]] += 1 + event.get("suppressed", 0)
        assert told == dict.fromkeys("abcd", 800)


def silent() -> Any:
    return structlog.wrap_logger(structlog.testing.ReturnLogger(), wrapper_class=filtering(logging.CRITICAL))


def filtering(level: int) -> Any:
    return structlog.make_filtering_bound_logger(level)


def written(level: int, use: Any, **settings: Any) -> str:
    """Return all that is written while `use(logger)` runs, as JSON."""
    target = io.StringIO()
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=filtering(level),
        logger_factory=structlog.PrintLoggerFactory(target),
    )
    use(StructlogListener(**{"summary_interval": 0} | settings))
    return target.getvalue()


class TestSecrets:
    def everything(self, listener: StructlogListener) -> None:
        """Every event that can have to do with an error or a result."""
        store = FlakyStore()
        settings: dict[str, Any] = {"listeners": [listener], "state_storage": store, "max_staleness": 0.0}
        attempt(CircuitBreaker(fail_max=2, **settings), times=3)
        attempt(CircuitBreaker(ignore=[ProviderError], **settings))
        CircuitBreaker(failure_result=bool, **{**settings, "state_storage": None}).call(lambda: f"answer {SECRET}")
        attempt(CircuitBreaker(hold_for=lambda _: 5, **{**settings, "state_storage": None}))
        attempt(CircuitBreaker(exclude=[ProviderError], **{**settings, "state_storage": None}))
        listener.storage_lost(CircuitBreaker(), OSError(f"redis://:{SECRET}@host"))

    def test_above_debug_level_no_text_is_told(self) -> None:
        output = written(logging.INFO, self.everything)
        assert {json.loads(line)["event"] for line in output.splitlines()} >= {FAILURE, REJECTED, STATE_CHANGE, LOST}
        assert SECRET not in output
        assert "FailedResult" in output

    def test_results_are_never_told(self) -> None:
        def use(listener: StructlogListener) -> None:
            CircuitBreaker(failure_result=bool, listeners=[listener]).call(lambda: f"answer {SECRET}")

        output = written(logging.DEBUG, use, redact=str)
        assert json.loads(output.splitlines()[0])["result_type"] == "str"
        assert SECRET not in output

    def test_the_text_of_a_failed_result_is_the_result(self) -> None:
        told = ToldErrors(str, 300)
        for fields in (told.public(FailedResult(SECRET)), told.for_debug(FailedResult(SECRET))):
            assert fields == {"error_type": "FailedResult", "result_type": "str"}

    def test_a_store_that_is_away_for_no_known_reason(self) -> None:
        assert ToldErrors(str, 300).public(None) == {"error_type": None}

    def test_what_is_redacted_is_told_at_all_levels(self) -> None:
        output = written(logging.INFO, self.everything, redact=lambda text: text.replace(SECRET, "***"))
        assert "the prompt was ***" in output
        assert SECRET not in output
        debug = written(logging.DEBUG, self.everything, redact=lambda text: text.replace(SECRET, "***"))
        assert NEUTRAL in debug
        assert SECRET not in debug

    def test_texts_are_cut_after_they_were_redacted(self) -> None:
        seen = []

        def redact(text: str) -> str:
            seen.append(text)
            return text.upper()

        output = written(logging.INFO, self.everything, redact=redact, error_length=5)
        assert f"the prompt was {SECRET}" in seen
        assert json.loads(output.splitlines()[0])["error"] == "THE P"

    @pytest.mark.parametrize("redact", [lambda text: {}[text], lambda text: None, lambda text: text.encode()])
    def test_a_redact_that_fails_tells_nothing(self, redact: Any, caplog: pytest.LogCaptureFixture) -> None:
        output = written(logging.DEBUG, self.everything, redact=redact)
        assert json.loads(output.splitlines()[0])["error"] == NO_TEXT
        assert SECRET not in output + caplog.text

    def test_an_error_without_a_text(self) -> None:
        class MuteError(ProviderError):
            def __str__(self) -> str:
                raise ValueError(SECRET)

        def raise_it() -> None:
            raise MuteError

        output = written(
            logging.DEBUG,
            lambda listener: attempt(CircuitBreaker(listeners=[listener], ignore=[MuteError]), raise_it),
        )
        assert json.loads(output)["error"] == NO_TEXT

    def test_the_log_of_a_logger_that_fails_does_not_tell_the_calls_error(
        self, caplog: pytest.LogCaptureFixture
    ) -> None:
        def broken(logger: Any, method: str, event: Any) -> Any:
            raise OSError("no space left on device")

        structlog.configure(processors=[broken])
        attempt(CircuitBreaker(listeners=[StructlogListener()]))
        assert "no space left on device" in caplog.text
        assert SECRET not in caplog.text


class TestStatus:
    @pytest.mark.parametrize(
        ("carrier", "status"),
        [
            (SimpleNamespace(status_code=429), 429),
            (SimpleNamespace(response=SimpleNamespace(status_code=502)), 502),
            (SimpleNamespace(code=404), 404),
            (SimpleNamespace(status=500), 500),
            (SimpleNamespace(code="insufficient_quota", status=403), 403),
            (SimpleNamespace(status_code=None, response=None, code=1006), None),
            (SimpleNamespace(code=99), None),
            (SimpleNamespace(code=600), None),
            (SimpleNamespace(status_code=True), None),
            (SimpleNamespace(code=lambda: 500), None),
            (OSError(5, "x"), None),
            (None, None),
        ],
    )
    def test_is_found_on_errors_and_responses(self, carrier: Any, status: int | None) -> None:
        assert status_of(carrier) == status

    def test_a_property_that_raises_is_none(self) -> None:
        class OddError(Exception):
            @property
            def response(self) -> Any:
                raise RuntimeError

            status = 503

        assert status_of(OddError()) == 503

    def test_a_result_can_have_one(self) -> None:
        breaker = CircuitBreaker(failure_result=bool, listeners=[StructlogListener()])
        with capture_logs() as events:
            breaker.call(lambda: SimpleNamespace(status_code=503))
        assert (events[0]["error_type"], events[0]["status"]) == ("FailedResult", 503)

    def test_the_code_of_an_exit_is_none(self) -> None:
        breaker = CircuitBreaker(listeners=[StructlogListener()])
        with capture_logs() as events, pytest.raises(SystemExit):
            breaker.call(lambda: sys.exit(143))
        assert "status" not in events[0]


class TestLoggers:
    def test_binds_nothing_and_keeps_what_is_bound(self) -> None:
        logger = structlog.get_logger().bind(service="api")
        breaker = CircuitBreaker(listeners=[StructlogListener(logger)])
        with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as events:
            attempt(breaker)
            structlog.get_logger().info("later")
        assert [event.get("service") for event in events] == ["api", None]
        assert structlog.contextvars.get_contextvars() == {}
        assert set(events[1]) == {"event", "log_level"}

    def test_standard_logging(self, caplog: pytest.LogCaptureFixture) -> None:
        standard("pybreaker_ext", logging.INFO)
        with caplog.at_level(logging.INFO):
            breaker = CircuitBreaker(fail_max=1, listeners=[StructlogListener()])
            attempt(breaker, int)
            attempt(breaker)
        told = [(record.name, record.levelname, json.loads(record.message)["event"]) for record in caplog.records]
        assert told == [("pybreaker_ext", "WARNING", FAILURE), ("pybreaker_ext", "WARNING", STATE_CHANGE)]
        assert json.loads(caplog.records[0].message)["logger"] == "pybreaker_ext"

    def test_standard_logging_at_debug_level(self, caplog: pytest.LogCaptureFixture) -> None:
        standard("pybreaker_ext", logging.DEBUG)
        with caplog.at_level(logging.DEBUG):
            attempt(CircuitBreaker(listeners=[StructlogListener()]), int)
        assert [record.levelname for record in caplog.records] == ["DEBUG"]

    def test_captured_logs_have_every_level_also_with_standard_logging(self) -> None:
        standard("pybreaker_ext", logging.WARNING)
        breaker = CircuitBreaker(listeners=[StructlogListener()])
        with capture_logs() as events:
            breaker.call(int)
        assert names(events) == [SUCCESS]

    def test_a_level_that_is_changed_holds_soon(self, clock: Clock) -> None:
        standard("pybreaker_ext", logging.INFO)
        capture = LogCapture()
        listener = StructlogListener(clock=clock)
        breaker = CircuitBreaker(listeners=[listener], state_storage=CircuitMemoryStorage(clock=clock))
        breaker.call(int)
        structlog.configure(wrapper_class=filtering(logging.DEBUG), processors=[capture])
        clock.now += 1
        breaker.call(int)
        assert names(capture.entries) == [SUCCESS]

    def test_a_generic_logger(self) -> None:
        """It takes every method's name for a level's."""
        capture = LogCapture()
        structlog.configure(wrapper_class=structlog.BoundLogger, processors=[capture])
        CircuitBreaker(listeners=[StructlogListener()]).call(int)
        assert names(capture.entries) == [SUCCESS]

    def test_names_with_control_characters(self) -> None:
        name = "a\x1b[31m\nb"
        output = written(logging.INFO, lambda listener: CircuitBreaker(name=name, listeners=[listener]).open())
        (line,) = output.splitlines()
        assert json.loads(line)["breaker"] == name


def standard(name: str, level: int) -> None:
    """Configure structlog onto standard logging."""
    logging.getLogger(name).setLevel(logging.NOTSET if level <= logging.INFO else level)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.stdlib.add_logger_name,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
    )


@pytest.fixture(autouse=True)
def _level_of_our_logger() -> Iterator[None]:
    yield
    logging.getLogger("pybreaker_ext").setLevel(logging.NOTSET)


@pytest.mark.parametrize(
    ("argument", "value", "error"),
    [
        ("redact", "x", TypeError),
        ("error_length", 1.5, TypeError),
        ("error_length", 0, ValueError),
        ("summary_interval", "1", TypeError),
        ("summary_interval", -1, ValueError),
        ("summary_interval", math.inf, ValueError),
    ],
)
def test_wrong_arguments(argument: str, value: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match=argument):
        StructlogListener(**{argument: value})


def test_the_package_imports_a_listener_when_it_is_asked_for() -> None:
    program = (
        "import sys, pybreaker_ext.listeners as found\n"
        "assert 'pybreaker_ext.listeners.structlog' not in sys.modules\n"
        "assert 'StructlogListener' in dir(found)\n"
        "known = {*sys.modules}\n"
        "found.StructlogListener\n"
        "ours = {name for name in {*sys.modules} - known if name.startswith('pybreaker_ext.listeners.')}\n"
        "print(sorted(ours), {'prometheus_client'} & {*sys.modules})\n"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    ours = [f"pybreaker_ext.listeners.{module}" for module in ("storms", "structlog", "told_errors")]
    assert run.stdout.strip() == f"{ours} set()"


def test_a_listener_that_there_is_not() -> None:
    with pytest.raises(AttributeError, match="no attribute 'NoListener'"):
        listeners.NoListener  # noqa: B018


def test_the_page_lists_every_event_and_field() -> None:
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "logging.md").read_text("utf-8")
    source = "".join(path.read_text("utf-8") for path in Path(listeners.__file__).parent.glob("[st]*.py"))
    events = set(re.findall(r'"(circuit_breaker_\w+)"', source))
    assert events == {FAILURE, REJECTED, STATE_CHANGE, SUCCESS, HALF_OPEN_SUCCESS, NEUTRAL, LOST, RESTORED}
    assert events == set(re.findall(r"^\| `(circuit_breaker_\w+)`", page, re.MULTILINE))
