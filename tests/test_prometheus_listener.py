"""What Prometheus is told: its text format is read back by its own parser, also from several processes."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import re
import subprocess
import sys
import threading
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parsed_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parsed

import pybreaker_ext.listeners
from pybreaker_ext import CircuitBreaker, CircuitBreakerError, CircuitMemoryStorage
from pybreaker_ext.listeners import PrometheusListener, reentry, timing

if TYPE_CHECKING:
    from collections.abc import Callable

    import servers

WORKER = Path(__file__).parent / "metrics_worker.py"


class BackendError(Exception):
    pass


def fail() -> None:
    raise BackendError


def attempt(breaker: CircuitBreaker, function: Callable[..., Any]) -> None:
    with contextlib.suppress(BackendError, CircuitBreakerError):
        breaker.call(function)


class Exposed:
    """A registry, read as a Prometheus server reads it."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry

    def __call__(self, metric: str, **labels: str) -> dict[str, float]:
        """Return the samples that have the labels, by the values of their other labels."""
        samples = [
            sample
            for family in parsed(prometheus_client.generate_latest(self.registry).decode())
            for sample in family.samples
            if sample.name == f"circuit_breaker_{metric}" and labels.items() <= sample.labels.items()
        ]
        return {
            ",".join(value for name, value in sorted(sample.labels.items()) if name not in labels): sample.value
            for sample in samples
        }

    def more_than_zero(self, metric: str, **labels: str) -> dict[str, float]:
        return {rest: value for rest, value in self(metric, **labels).items() if value}


@pytest.fixture
def exposed() -> Exposed:
    return Exposed(CollectorRegistry())


@pytest.fixture
def listener(exposed: Exposed) -> PrometheusListener:
    return PrometheusListener(exposed.registry)


class Clock:
    """Stands in for the `time` of timing.py."""

    def __init__(self) -> None:
        self.now = 100.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    return clock


def test_calls_by_outcome_with_their_durations(exposed: Exposed, listener: PrometheusListener, clock: Clock) -> None:
    breaker = CircuitBreaker(name="claude", ignore=[KeyError], listeners=[listener])

    def take(seconds: float, error: type[Exception] | None = None) -> None:
        clock.now += seconds
        if error:
            raise error

    for seconds, error in ((0.25, None), (2.0, None), (40.0, BackendError), (0.5, KeyError)):
        with contextlib.suppress(BackendError, KeyError):
            breaker.call(take, seconds, error)

    assert exposed("calls_total", name="claude") == {"success": 2, "failure": 1, "neutral": 1}
    assert exposed("call_duration_seconds_count", name="claude") == {"success": 2, "failure": 1, "neutral": 1}
    assert exposed("call_duration_seconds_sum", name="claude") == {"success": 2.25, "failure": 40, "neutral": 0.5}
    buckets = exposed("call_duration_seconds_bucket", name="claude", outcome="success")
    assert {"0.1": 0, "0.25": 1, "1.0": 1, "2.5": 2, "120.0": 2, "+Inf": 2}.items() <= buckets.items()


def test_a_breaker_that_never_changes_is_shown(exposed: Exposed, listener: PrometheusListener) -> None:
    breaker = CircuitBreaker(name="claude", listeners=[listener])
    breaker.call(int)

    assert exposed("state", name="claude") == {"closed": 1, "half-open": 0, "open": 0}
    assert exposed("storage_away", name="claude") == {"": 0}
    assert exposed("holds_total", name="claude") == {"": 0}
    assert len(exposed("transitions_total")) == 6
    assert set(exposed("transitions_total").values()) == {0}


def test_a_breaker_that_was_open_before_is_shown_so(exposed: Exposed, listener: PrometheusListener) -> None:
    storage = CircuitMemoryStorage()
    CircuitBreaker(state_storage=storage).open()
    breaker = CircuitBreaker(name="claude", state_storage=storage, listeners=[listener])
    attempt(breaker, int)

    assert exposed.more_than_zero("state", name="claude") == {"open": 1}
    assert exposed.more_than_zero("rejected_total", name="claude") == {"manual": 1}
    assert exposed.more_than_zero("transitions_total") == {}


def test_a_trip_rejections_probes_and_a_close(exposed: Exposed, listener: PrometheusListener) -> None:
    breaker = CircuitBreaker(name="claude", fail_max=1, success_threshold=2, listeners=[listener])
    for function in (fail, int, int):
        attempt(breaker, function)
    assert exposed.more_than_zero("state", name="claude") == {"open": 1}

    breaker.open(0)
    with breaker.calling():
        attempt(breaker, int)  # the only probe is out
        assert exposed.more_than_zero("state", name="claude") == {"half-open": 1}
    attempt(breaker, int)
    attempt(breaker, int)

    assert exposed.more_than_zero("state", name="claude") == {"closed": 1}
    assert exposed.more_than_zero("rejected_total", name="claude") == {"failures": 2, "half-open": 1}
    assert exposed("probes_total", name="claude") == {"": 2}
    changes = {"closed,open": 1, "open,half-open": 1, "half-open,closed": 1}
    assert changes == exposed.more_than_zero("transitions_total", name="claude")


def test_what_a_hand_opened_is_told_apart(exposed: Exposed, listener: PrometheusListener) -> None:
    breaker = CircuitBreaker(name="claude", listeners=[listener])
    breaker.open()
    attempt(breaker, int)

    assert exposed.more_than_zero("rejected_total", name="claude") == {"manual": 1}
    assert exposed("holds_total", name="claude") == {"": 0}


def test_every_probe_of_many_threads_is_counted() -> None:
    registry = CollectorRegistry()
    breaker = CircuitBreaker(
        half_open_max_calls=8,
        success_threshold=1_000_000,
        reset_timeout=0,
        listeners=[PrometheusListener(registry=registry)],
        name="claude",
    )
    breaker.half_open()
    ran: list[int] = []

    def work() -> None:
        for number in range(200):
            with contextlib.suppress(ZeroDivisionError, CircuitBreakerError):
                breaker.call(lambda number=number: (ran.append(1), 1 / (number % 5)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert registry.get_sample_value("circuit_breaker_probes_total", {"name": "claude"}) == len(ran)


def test_holds(exposed: Exposed, listener: PrometheusListener) -> None:
    breaker = CircuitBreaker(name="claude", hold_for=lambda _: 60, listeners=[listener])
    attempt(breaker, fail)
    attempt(breaker, int)

    assert exposed("holds_total", name="claude") == {"": 1}
    assert exposed.more_than_zero("calls_total", name="claude") == {"neutral": 1}
    assert exposed.more_than_zero("rejected_total", name="claude") == {"hold": 1}


def test_outages_of_the_store(exposed: Exposed, listener: PrometheusListener) -> None:
    from test_outage import FlakyStore

    store = FlakyStore()
    breaker = CircuitBreaker(name="claude", state_storage=store, listeners=[listener], max_staleness=0.0)
    attempt(breaker, int)
    store.away = True
    attempt(breaker, int)
    away = exposed("storage_away")
    store.away = False
    store.now += 5
    attempt(breaker, int)

    assert [away, exposed("storage_away")] == [{"claude": 1}, {"claude": 0}]
    assert exposed("storage_lost_total") == {"claude": 1}
    assert exposed("storage_restored_total") == {"claude": 1}


class TestDurations:
    def test_nested_breakers_do_not_mix(self, exposed: Exposed, listener: PrometheusListener, clock: Clock) -> None:
        inner, outer = (CircuitBreaker(name=name, listeners=[listener]) for name in ("inner", "outer"))

        @outer
        def long(depth: int) -> None:
            clock.now += 1
            inner.call(short)
            if depth:
                long(depth - 1)
            clock.now += 2

        def short() -> None:
            clock.now += 10

        long(1)

        assert exposed("call_duration_seconds_sum", outcome="success") == {"inner": 20, "outer": 13 + 26}

    def test_each_task_has_its_own(self, exposed: Exposed, listener: PrometheusListener, clock: Clock) -> None:
        breaker = CircuitBreaker(name="claude", listeners=[listener])

        async def story() -> None:
            begun, turns = [], [asyncio.Event() for _ in range(3)]

            @breaker
            async def ask(number: int) -> None:
                begun.append(number)
                await turns[number].wait()

            async with asyncio.TaskGroup() as tasks:
                for number in range(3):
                    tasks.create_task(ask(number))
                    await asyncio.sleep(0)
                    clock.now += 1
                assert begun == [0, 1, 2]
                for number in (0, 2, 1):  # begun 1, 2 and 3 s before 103
                    turns[number].set()
                    for _ in range(5):
                        await asyncio.sleep(0)
                    clock.now += 10

        asyncio.run(story())

        assert exposed("call_duration_seconds_count", outcome="success") == {"claude": 3}
        assert exposed("call_duration_seconds_sum", outcome="success") == {"claude": 3 + (1 + 10) + (2 + 20)}
        assert exposed("call_duration_seconds_bucket", outcome="success", le="10.0") == {"claude": 1}

    def test_tasks_of_a_protected_call(self, exposed: Exposed, listener: PrometheusListener, clock: Clock) -> None:
        """A child inherits what its parent has begun, and ends only its own."""
        breaker = CircuitBreaker(name="claude", listeners=[listener])

        async def child() -> None:
            clock.now += 1

        async def parent() -> None:
            await asyncio.gather(*(breaker.call_async(child) for _ in range(2)))
            clock.now += 5

        asyncio.run(breaker.call_async(parent))

        assert exposed("call_duration_seconds_sum", outcome="success") == {"claude": 1 + 1 + 7}

    def test_generators_and_blocks(self, exposed: Exposed, listener: PrometheusListener, clock: Clock) -> None:
        breaker = CircuitBreaker(name="claude", listeners=[listener])

        @breaker
        def numbers() -> Any:
            for number in range(3):
                clock.now += 1
                yield number

        assert list(numbers()) == [0, 1, 2]
        with breaker.calling():
            clock.now += 4

        assert exposed("call_duration_seconds_sum", outcome="success") == {"claude": 7}

    def test_calls_that_overlap(self, exposed: Exposed, listener: PrometheusListener, clock: Clock) -> None:
        first, second = (CircuitBreaker(name=name, listeners=[listener]).calling() for name in ("first", "second"))
        for step in (first.__enter__, second.__enter__):
            step()
            clock.now += 1
        for block in (first, second):
            block.__exit__(None, None, None)
            clock.now += 10

        assert exposed("call_duration_seconds_sum", outcome="success") == {"first": 2, "second": 11}

    def test_a_call_that_ends_elsewhere_is_counted_without(
        self, exposed: Exposed, listener: PrometheusListener
    ) -> None:
        breaker = CircuitBreaker(name="claude", listeners=[listener])
        block = breaker.calling()
        entering = threading.Thread(target=block.__enter__)
        entering.start()
        entering.join()
        block.__exit__(None, None, None)

        assert exposed.more_than_zero("calls_total", name="claude") == {"success": 1}
        assert exposed("call_duration_seconds_count") == {}

    def test_calls_that_never_end_take_no_more_and_more_memory(self, listener: PrometheusListener) -> None:
        def story() -> None:
            breaker = CircuitBreaker(name="claude", listeners=[listener])
            for _ in range(1_000):
                breaker.calling().__enter__()
            kept.append(len(timing._begun.get()))

        kept: list[int] = []
        thread = threading.Thread(target=story)
        thread.start()
        thread.join()
        assert kept == [timing.LIMIT]

    def test_deeper_than_that_the_outer_ones_have_none(self, exposed: Exposed, listener: PrometheusListener) -> None:
        breaker = CircuitBreaker(name="claude", listeners=[listener])

        @breaker
        def dive(depth: int) -> None:
            if depth:
                dive(depth - 1)

        dive(99)

        assert exposed.more_than_zero("calls_total", name="claude") == {"success": 100}
        assert exposed("call_duration_seconds_count", name="claude") == {"success": timing.LIMIT}


class TestNames:
    def test_a_listener_of_many(self, exposed: Exposed, listener: PrometheusListener) -> None:
        breakers = [CircuitBreaker(name=name, listeners=[listener]) for name in ("a", "b", None, "", "a")]
        for breaker in breakers:
            breaker.call(int)

        assert exposed("calls_total", outcome="success") == {"a": 2, "b": 1, "unnamed": 2}

    def test_any_name_can_be_read_back(self, exposed: Exposed, listener: PrometheusListener) -> None:
        names = ['a "b"\\\n{c}', "ключ", "half \ud800"]
        for name in names:
            CircuitBreaker(name=name, listeners=[listener]).call(int)

        assert {names[0], names[1], "half ?"} == {*exposed("calls_total", outcome="success")}

    def test_names_by_a_rule(self, exposed: Exposed) -> None:
        listener = PrometheusListener(exposed.registry, name_of=lambda breaker: breaker.name.partition("/")[0])
        for name in ("openai/a", "openai/b", "claude/a"):
            CircuitBreaker(name=name, listeners=[listener]).call(int)

        assert exposed("calls_total", outcome="success") == {"openai": 2, "claude": 1}

    def test_there_are_no_more_than_that(self, exposed: Exposed) -> None:
        listener = PrometheusListener(exposed.registry, max_names=2)
        for _ in range(2):
            for number in range(100):
                CircuitBreaker(name=str(number), listeners=[listener]).call(int)

        assert exposed("calls_total", outcome="success") == {"0": 2, "1": 2, "others": 196}

    def test_nothing_is_kept_of_breakers_that_are_gone(self, listener: PrometheusListener) -> None:
        for number in range(100):
            CircuitBreaker(name=str(number % 3), listeners=[listener]).call(int)
        gc.collect()

        assert listener._known == {}
        assert len(listener._by_name) == 3

    @pytest.mark.parametrize(
        ("settings", "error"),
        [({"max_names": 0}, ValueError), ({"max_names": 1.5}, TypeError), ({"name_of": 1}, TypeError)],
    )
    def test_bad_settings(self, exposed: Exposed, settings: dict[str, Any], error: type[Exception]) -> None:
        with pytest.raises(error, match=next(iter(settings))):
            PrometheusListener(exposed.registry, **settings)


class TestRegistries:
    def test_the_default_is_prometheus_own(self) -> None:
        CircuitBreaker(name="default", listeners=[PrometheusListener()]).call(int)

        found = prometheus_client.REGISTRY.get_sample_value(
            "circuit_breaker_calls_total", {"name": "default", "outcome": "success"}
        )
        assert found == 1

    def test_listeners_of_one_registry_share_its_metrics(self, exposed: Exposed) -> None:
        for name in ("a", "a", "b"):
            CircuitBreaker(name=name, listeners=[PrometheusListener(exposed.registry)]).call(int)

        assert exposed("calls_total", outcome="success") == {"a": 2, "b": 1}

    def test_buckets(self, exposed: Exposed) -> None:
        listener = PrometheusListener(exposed.registry, buckets=(1, 2))
        CircuitBreaker(name="claude", listeners=[listener]).call(int)
        PrometheusListener(exposed.registry, buckets=[1, 2])

        assert {"1.0", "2.0", "+Inf"} == {*exposed("call_duration_seconds_bucket", name="claude", outcome="success")}
        with pytest.raises(ValueError, match=r"the buckets \(1.0, 2.0\), not \(1.0,\)"):
            PrometheusListener(exposed.registry, buckets=[1])

    def test_a_registry_is_not_kept(self) -> None:
        from pybreaker_ext.listeners import prometheus

        gc.collect()
        before = len(prometheus._shared._metrics)
        PrometheusListener(CollectorRegistry())
        gc.collect()
        assert len(prometheus._shared._metrics) == before

    def test_openmetrics(self, exposed: Exposed, listener: PrometheusListener) -> None:
        CircuitBreaker(name="claude", listeners=[listener]).call(int)

        families = {family.name for family in parsed_openmetrics(openmetrics(exposed.registry).decode())}
        assert "circuit_breaker_call_duration_seconds" in families


def test_a_call_may_have_any_argument(exposed: Exposed, listener: PrometheusListener) -> None:
    breaker = CircuitBreaker(name="claude", listeners=[listener])
    breaker.call(lambda **given: given, cb=1, func=2, self=3)

    assert exposed("call_duration_seconds_count", name="claude") == {"success": 1}


def test_hooks_never_ask_the_store(listener: PrometheusListener) -> None:
    asked = []

    class Store(CircuitMemoryStorage):
        def apply(self, event: Any, policy: Any) -> Any:
            asked.append(event.kind)
            return super().apply(event, policy)

    for listeners in ([], [listener]):
        breaker = CircuitBreaker(
            fail_max=1, reset_timeout=0, state_storage=Store(), listeners=listeners, max_staleness=0.0
        )
        asked.append("begin")
        for function in (int, fail, int, fail):
            attempt(breaker, function)
    half = len(asked) // 2
    assert asked[:half] == asked[half:]


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pybreaker_ext.listeners.prometheus")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)

    with pytest.raises(ImportError, match=r'pip install "pybreaker-ext\[prometheus\]"'):
        pybreaker_ext.listeners.PrometheusListener  # noqa: B018


def test_what_there_is_to_import() -> None:
    assert {*pybreaker_ext.listeners.__all__} <= {*dir(pybreaker_ext.listeners)}
    with pytest.raises(AttributeError, match="no attribute 'StatsdListener'"):
        pybreaker_ext.listeners.StatsdListener  # type: ignore[attr-defined]  # noqa: B018


class TestMultiprocessMode:
    @pytest.fixture
    def shared(self, tmp_path: Path) -> Exposed:
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(tmp_path))
        return Exposed(registry)

    @pytest.fixture
    def worker(self, redis_server: servers.RedisServer, tmp_path: Path) -> Any:
        """Return what starts a worker; it does what it is told, and answers when it is done."""
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
        with contextlib.ExitStack() as stack:

            def start(*arguments: str) -> Callable[[str], str]:
                process = stack.enter_context(
                    subprocess.Popen(
                        [sys.executable, "-W", "error", WORKER, redis_server.patient_url, *arguments],
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        text=True,
                        env=environment,
                    )
                )
                stack.callback(process.kill)

                def tell(order: str) -> str:
                    assert process.stdin
                    assert process.stdout
                    process.stdin.write(f"{order}\n")
                    process.stdin.flush()
                    return process.stdout.readline().strip()

                tell.pid = process.pid  # type: ignore[attr-defined]
                return tell

            yield start

    def test_a_fleet_is_added_up(self, shared: Exposed, worker: Any) -> None:
        workers = [worker() for _ in range(3)]
        for tell in workers:
            assert [tell("succeed"), tell("succeed")] == ["succeeded"] * 2
        assert shared.more_than_zero("state", name="claude") == {"closed": 1}

        workers[0]("fail")
        assert [tell("succeed") for tell in workers] == ["rejected"] * 3

        assert shared.more_than_zero("calls_total", name="claude") == {"success": 6, "failure": 1}
        assert shared.more_than_zero("call_duration_seconds_count", name="claude") == {"success": 6, "failure": 1}
        assert shared.more_than_zero("rejected_total", name="claude") == {"failures": 3}
        assert shared("state", name="claude") == {"closed": 0, "half-open": 0, "open": 1}
        assert shared.more_than_zero("transitions_total", name="claude") == {"closed,open": 3}

    def test_the_newest_look_counts(self, shared: Exposed, worker: Any, tmp_path: Path) -> None:
        """Also when the one who had it is gone; those who are idle know nothing new."""
        first, second = worker(), worker()
        first("fail")
        assert second("succeed") == "rejected"
        assert shared.more_than_zero("state", name="claude") == {"open": 1}

        first("close")
        mark_process_dead(first.pid, path=tmp_path)

        assert shared.more_than_zero("state", name="claude") == {"closed": 1}

    def test_forked_workers(self, shared: Exposed, worker: Any) -> None:
        """As under gunicorn with --preload: breaker and listener are made, and used, before the fork."""
        parent = worker()
        parent("succeed")
        assert parent("fork") == "done"

        assert shared.more_than_zero("calls_total", name="claude") == {"success": 3}
        assert shared.more_than_zero("state", name="claude") == {"closed": 1}

    def test_workers_without_their_store(self, shared: Exposed, worker: Any, tmp_path: Path) -> None:
        """They are added up, and those that are gone are without nothing."""
        workers = [worker("redis://127.0.0.1:1/0") for _ in range(2)]
        for tell in workers:
            tell("succeed")
        assert shared("storage_away") == {"claude": 2}

        mark_process_dead(workers[0].pid, path=tmp_path)
        assert shared("storage_away") == {"claude": 1}
        assert shared("storage_lost_total") == {"claude": 2}


def test_the_docs_list_every_metric_with_its_labels(exposed: Exposed, listener: PrometheusListener) -> None:
    CircuitBreaker(name="claude", listeners=[listener]).call(int)
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(circuit_breaker_\w+)` \| (counter|gauge|histogram) \| (.+?) \|", page, re.MULTILINE)

    found = [
        (f"{family.name}_total" if family.type == "counter" else family.name, family.type, family.samples[0].labels)
        for family in parsed(prometheus_client.generate_latest(exposed.registry).decode())
        if not family.name.endswith("_created")
    ]

    told = [(name, kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows]
    assert told == [(name, kind, {*labels} - {"le"}) for name, kind, labels in found]


@pytest.mark.parametrize("mode", ["normal", "multiprocess"])
def test_garbage_collection_may_end_generators_anywhere(mode: str, tmp_path: Path) -> None:
    """Also inside prometheus-client, whose locks aren't re-entrant, and while a context variable is being set."""
    program = """
import gc
from prometheus_client import REGISTRY
from pybreaker_ext import CircuitBreaker
from pybreaker_ext.listeners import PrometheusListener

listener = PrometheusListener()
breaker = CircuitBreaker(name="claude", listeners=[listener])

@breaker
def numbers():
    yield 1

call = breaker(int)
for number in range(20_000):
    if number % 100 == 0:
        call = CircuitBreaker(name=str(number), listeners=[listener])(int)
    gc.set_threshold(1 + number % 9)
    cycle = [numbers()]
    next(cycle[0])
    cycle.append(cycle)
    del cycle
    call()
gc.collect()
call()
labels = {"name": "claude", "outcome": "neutral"}
print(REGISTRY.get_sample_value("circuit_breaker_calls_total", labels))
"""
    environment = {**os.environ, **({"PROMETHEUS_MULTIPROC_DIR": str(tmp_path)} if mode == "multiprocess" else {})}
    run = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False, timeout=50
    )
    assert (run.returncode, run.stdout.strip()) == (0, "20000.0"), run.stderr


def test_what_garbage_collection_tells_waits_for_the_next_hook(
    exposed: Exposed, listener: PrometheusListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaker = CircuitBreaker(name="claude", listeners=[listener])
    breaker.call(int)
    with monkeypatch.context() as patch:
        patch.setattr("pybreaker_ext.listeners.measuring.inside", lambda modules: "prometheus_client.values" in modules)
        listener.neutral(breaker, GeneratorExit())
        breaker.open()
        breaker.close()
        listener.storage_lost(breaker, None)
        assert exposed.more_than_zero("calls_total", name="claude") == {"success": 1}
        assert exposed.more_than_zero("transitions_total") == {}

    breaker.half_open()

    assert exposed.more_than_zero("calls_total", name="claude") == {"success": 1, "neutral": 1}
    changes = {"closed,open": 1, "open,closed": 1, "closed,half-open": 1}
    assert exposed.more_than_zero("transitions_total", name="claude") == changes
    assert exposed.more_than_zero("state", name="claude") == {"half-open": 1}
    assert exposed("storage_away") == {"claude": 1}


def test_two_threads_may_find_what_waits(exposed: Exposed, listener: PrometheusListener) -> None:
    class Emptied(deque[Any]):
        """Another thread has taken the last one meanwhile."""

        def __bool__(self) -> bool:
            return True

    listener._late = Emptied()
    CircuitBreaker(name="claude", listeners=[listener]).call(int)

    assert exposed.more_than_zero("calls_total", name="claude") == {"success": 1}


def test_who_runs_below_whom() -> None:
    assert [reentry.inside(modules) for modules in (("_pytest.",), ("prometheus_client.values",))] == [True, False]
