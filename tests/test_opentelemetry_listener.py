"""What OpenTelemetry is told: read through its in-memory reader and exporter."""

from __future__ import annotations

import contextlib
import contextvars
import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

import pybreaker_ext.listeners
from pybreaker_ext import CircuitBreaker, CircuitBreakerError
from pybreaker_ext.listeners import OpenTelemetryListener, labels, timing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class BackendError(Exception):
    pass


def fail() -> None:
    raise BackendError


def attempt(breaker: CircuitBreaker, function: Callable[..., Any]) -> None:
    with contextlib.suppress(BackendError, CircuitBreakerError):
        breaker.call(function)


class Measured:
    """A meter provider and what its reader collects."""

    def __init__(self) -> None:
        self.reader = InMemoryMetricReader()
        self.provider = MeterProvider([self.reader], shutdown_on_exit=False)

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
        assert {scope.scope.name for scope in scopes} == {"pybreaker_ext"}
        return {metric.name: metric for scope in scopes for metric in scope.metrics}

    def __call__(self, metric: str) -> dict[str, Any]:
        """Return what was measured other than 0, by the attributes' values; of a histogram, count and sum."""
        found = {}
        for point in self.metrics()[f"circuit_breaker.{metric}"].data.data_points:
            value = (point.count, point.sum) if hasattr(point, "sum") else point.value
            if value:
                found[",".join(text for _, text in sorted(point.attributes.items()))] = value
        return found


@pytest.fixture
def measured() -> Iterator[Measured]:
    measured = Measured()
    yield measured
    measured.provider.shutdown()


@pytest.fixture
def listener(measured: Measured) -> OpenTelemetryListener:
    return OpenTelemetryListener(measured.provider)


@pytest.fixture
def spans() -> Iterator[tuple[Any, InMemorySpanExporter]]:
    """A tracer, and where its spans go when they have ended."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider.get_tracer("tests"), exporter
    provider.shutdown()


def test_calls_by_outcome_with_their_durations(
    measured: Measured, listener: OpenTelemetryListener, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Clock:
        now = 100.0

        def perf_counter(self) -> float:
            return self.now

    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    inner, outer = (CircuitBreaker(name=name, ignore=[KeyError], listeners=[listener]) for name in ("inner", "outer"))

    def take(seconds: float, error: type[Exception] | None) -> None:
        clock.now += seconds
        if error:
            raise error

    with outer.calling():
        for seconds, error in ((0.25, None), (2.0, None), (40.0, BackendError), (0.5, KeyError)):
            with contextlib.suppress(BackendError, KeyError):
                inner.call(take, seconds, error)

    calls = {"inner,success": 2, "inner,failure": 1, "inner,neutral": 1, "outer,success": 1}
    assert calls == measured("calls")
    durations = {
        "inner,success": (2, 2.25),
        "inner,failure": (1, 40.0),
        "inner,neutral": (1, 0.5),
        "outer,success": (1, 42.75),
    }
    assert durations == measured("call.duration")


def test_a_call_that_ends_elsewhere_is_counted_without(measured: Measured, listener: OpenTelemetryListener) -> None:
    block = CircuitBreaker(name="claude", listeners=[listener]).calling()
    contextvars.Context().run(block.__enter__)
    block.__exit__(None, None, None)

    assert measured("calls") == {"claude,success": 1}
    assert "circuit_breaker.call.duration" not in measured.metrics()


def test_names_units_and_buckets(measured: Measured, listener: OpenTelemetryListener) -> None:
    CircuitBreaker(name="claude", listeners=[listener]).call(int)

    metrics = measured.metrics()

    units = {
        "circuit_breaker.calls": "{call}",
        "circuit_breaker.call.duration": "s",
        "circuit_breaker.rejected": "{call}",
        "circuit_breaker.state": "1",
        "circuit_breaker.transitions": "{transition}",
        "circuit_breaker.probes": "{call}",
        "circuit_breaker.holds": "{hold}",
        "circuit_breaker.storage.lost": "{outage}",
        "circuit_breaker.storage.restored": "{outage}",
        "circuit_breaker.storage.away": "1",
    }
    assert units == {name: metric.unit for name, metric in metrics.items()}
    (duration,) = metrics["circuit_breaker.call.duration"].data.data_points
    assert duration.explicit_bounds == labels.BUCKETS
    assert dict(duration.attributes) == {"circuit_breaker.name": "claude", "circuit_breaker.outcome": "success"}


def test_a_trip_rejections_probes_and_a_close(measured: Measured, listener: OpenTelemetryListener) -> None:
    breaker = CircuitBreaker(name="claude", fail_max=1, success_threshold=2, listeners=[listener])
    attempt(breaker, int)
    states = [measured("state")]
    for function in (fail, int):
        attempt(breaker, function)
    states.append(measured("state"))
    breaker.open(0)
    attempt(breaker, int)
    states.append(measured("state"))
    attempt(breaker, int)

    assert states == [{"claude,closed": 1}, {"claude,open": 1}, {"claude,half-open": 1}]
    assert measured("rejected") == {"claude,failures": 1}
    assert measured("probes") == {"claude": 2}
    changes = {"closed,claude,open": 1, "open,claude,half-open": 1, "half-open,claude,closed": 1}
    assert changes == measured("transitions")


def test_holds(measured: Measured, listener: OpenTelemetryListener) -> None:
    breaker = CircuitBreaker(name="claude", hold_for=lambda _: 60, listeners=[listener])
    attempt(breaker, fail)

    assert measured("holds") == {"claude": 1}


def test_outages_of_the_store(measured: Measured, listener: OpenTelemetryListener) -> None:
    from test_outage import FlakyStore

    store = FlakyStore()
    breaker = CircuitBreaker(name="claude", state_storage=store, listeners=[listener], max_staleness=0.0)
    store.away = True
    attempt(breaker, int)
    away = measured("storage.away")
    store.away = False
    store.now += 5
    attempt(breaker, int)

    assert [away, measured("storage.away")] == [{"claude": 1}, {}]
    assert measured("storage.lost") == measured("storage.restored") == {"claude": 1}


def test_a_listener_of_many(measured: Measured) -> None:
    listener = OpenTelemetryListener(measured.provider, max_names=3)
    for name in ("a", "b", "a", None, "c", "d"):
        CircuitBreaker(name=name, listeners=[listener]).call(int)

    assert measured("calls") == {"a,success": 2, "b,success": 1, "unnamed,success": 1, "others,success": 2}


def test_gauges_are_there_at_every_reading(measured: Measured, listener: OpenTelemetryListener) -> None:
    CircuitBreaker(name="claude", listeners=[listener]).call(int)

    assert [measured("state") for _ in range(3)] == [{"claude,closed": 1}] * 3


def test_all_names_have_room_in_the_sdk(measured: Measured, listener: OpenTelemetryListener) -> None:
    """The SDK counts what is above 2,000 attribute sets of an instrument as one."""
    for number in range(1_000):
        CircuitBreaker(name=str(number), listeners=[listener]).call(int)

    transitions = measured.metrics()["circuit_breaker.transitions"].data.data_points
    assert {"299", "others"} < {point.attributes["circuit_breaker.name"] for point in transitions}
    assert len(transitions) == 301 * 6


def test_several_listeners_of_one_provider(measured: Measured, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        for name in ("a", "b"):
            CircuitBreaker(name=name, listeners=[OpenTelemetryListener(measured.provider)]).call(int)

    assert measured("calls") == {"a,success": 1, "b,success": 1}
    assert caplog.messages == []


class TestSpans:
    def test_changes_and_rejections_are_events_of_the_current_span(
        self, listener: OpenTelemetryListener, spans: tuple[Any, InMemorySpanExporter]
    ) -> None:
        tracer, exporter = spans
        breaker = CircuitBreaker(name="claude", fail_max=1, reset_timeout=60, listeners=[listener])
        with tracer.start_as_current_span("work"):
            for function in (int, fail, int):
                attempt(breaker, function)

        (span,) = exporter.get_finished_spans()
        told = [(event.name, dict(event.attributes)) for event in span.events]
        retry_after = told[1][1].pop("circuit_breaker.retry_after")
        assert retry_after == pytest.approx(60, abs=5)
        assert told == [
            (
                "circuit_breaker.state_change",
                {
                    "circuit_breaker.name": "claude",
                    "circuit_breaker.from_state": "closed",
                    "circuit_breaker.to_state": "open",
                    "circuit_breaker.reason": "failures",
                },
            ),
            (
                "circuit_breaker.rejected",
                {
                    "circuit_breaker.name": "claude",
                    "circuit_breaker.state": "open",
                    "circuit_breaker.reason": "failures",
                },
            ),
        ]

    def test_what_never_ends_has_no_retry_after(
        self, listener: OpenTelemetryListener, spans: tuple[Any, InMemorySpanExporter]
    ) -> None:
        tracer, exporter = spans
        breaker = CircuitBreaker(name="claude", listeners=[listener])
        breaker.open(float("inf"))
        with tracer.start_as_current_span("work"):
            attempt(breaker, int)

        (span,) = exporter.get_finished_spans()
        assert "circuit_breaker.retry_after" not in span.events[0].attributes

    def test_they_have_names_that_are_too_many_to_be_counted(
        self, measured: Measured, spans: tuple[Any, InMemorySpanExporter]
    ) -> None:
        tracer, exporter = spans
        listener = OpenTelemetryListener(measured.provider, max_names=1)
        with tracer.start_as_current_span("work"):
            for name in ("a", "b"):
                CircuitBreaker(name=name, listeners=[listener]).open()

        (span,) = exporter.get_finished_spans()
        assert [event.attributes["circuit_breaker.name"] for event in span.events] == ["a", "b"]

    def test_what_garbage_collection_tells_is_no_event(
        self, listener: OpenTelemetryListener, spans: tuple[Any, InMemorySpanExporter], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The span that happens to be current has nothing to do with it, and may hold its lock."""
        monkeypatch.setattr("pybreaker_ext.listeners.opentelemetry.inside", lambda modules: bool(modules))
        tracer, exporter = spans
        with tracer.start_as_current_span("work"):
            CircuitBreaker(name="claude", listeners=[listener]).open()

        assert exporter.get_finished_spans()[0].events == ()


def test_the_sdk_may_come_later() -> None:
    """Breakers are often made at import time, before `main` sets things up."""
    program = """
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from pybreaker_ext import CircuitBreaker
from pybreaker_ext.listeners import OpenTelemetryListener

breaker = CircuitBreaker(name="claude", listeners=[OpenTelemetryListener()])
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader]))
breaker.call(int)
print("circuit_breaker.call.duration" in reader.get_metrics_data().to_json())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60)
    assert (run.stdout.strip(), run.stderr) == ("True", "")


def test_without_an_sdk_nothing_happens() -> None:
    breaker = CircuitBreaker(name="claude", listeners=[OpenTelemetryListener()])
    assert breaker.call(int) == 0


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pybreaker_ext.listeners.opentelemetry")
    monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)

    with pytest.raises(ImportError, match=r'pip install "pybreaker-ext\[otel\]"'):
        pybreaker_ext.listeners.OpenTelemetryListener  # noqa: B018


def test_the_docs_list_every_metric_with_its_attributes(measured: Measured, listener: OpenTelemetryListener) -> None:
    CircuitBreaker(name="claude", listeners=[listener]).call(int)
    page = (Path(__file__).parent.parent / "docs" / "how-to" / "metrics.md").read_text("utf-8")
    rows = re.findall(r"^\| `(circuit_breaker\.[\w.]+)` \| \w+ \| `(.+?)` \| (.+?) \|$", page, re.MULTILINE)

    found = {
        name: (metric.unit, {*metric.data.data_points[0].attributes}) for name, metric in measured.metrics().items()
    }

    assert found == {name: (unit, {*re.findall(r"`([\w.]+)`", attributes)}) for name, unit, attributes in rows}
