"""Metrics for Prometheus, by prometheus-client."""

from __future__ import annotations

import functools
import threading
import weakref
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.listeners import labels
from pybreaker_ext.listeners.measuring import MeasuringListener

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
except ImportError as error:
    message = 'PrometheusListener needs prometheus-client, which comes with: pip install "pybreaker-ext[prometheus]"'
    raise ImportError(message) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


#: Where prometheus-client holds its locks.
_RECORDING: Final = ("prometheus_client.metrics", "prometheus_client.values")


class Metrics:
    """The metrics in one registry.

    In multiprocess mode the newest look at a circuit is shown, also when the worker that had it is
    gone: a shared circuit outlives its workers. Workers that are without their store are added up,
    as long as they live.
    """

    def __init__(self, registry: CollectorRegistry, buckets: tuple[float, ...]) -> None:
        self.buckets = buckets
        counter = functools.partial(Counter, registry=registry)
        self.calls = counter("circuit_breaker_calls", "Calls that have ended.", ("name", "outcome"))
        self.durations = Histogram(
            "circuit_breaker_call_duration_seconds",
            "How long calls took.",
            ("name", "outcome"),
            registry=registry,
            buckets=buckets,
        )
        self.rejected = counter("circuit_breaker_rejected", "Calls that were rejected.", ("name", "reason"))
        self.state = Gauge(
            "circuit_breaker_state",
            "1 for the state that the circuit is in, 0 for the others.",
            ("name", "state"),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self.transitions = counter(
            "circuit_breaker_transitions", "Changes of state that were noticed.", ("name", "from", "to")
        )
        self.probes = counter("circuit_breaker_probes", "Calls that were admitted while half-open.", ("name",))
        self.holds = counter("circuit_breaker_holds", "Openings by a hold that were noticed.", ("name",))
        self.lost = counter("circuit_breaker_storage_lost", "How often the store went away.", ("name",))
        self.restored = counter("circuit_breaker_storage_restored", "How often the store came back.", ("name",))
        self.away = Gauge(
            "circuit_breaker_storage_away",
            "Workers that are without the store.",
            ("name",),
            registry=registry,
            multiprocess_mode="livesum",
        )


class _Shared:
    """Each registry's metrics, which can be registered there only once."""

    def __init__(self) -> None:
        self._metrics: weakref.WeakKeyDictionary[CollectorRegistry, Metrics] = weakref.WeakKeyDictionary()
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()

    def metrics(self, registry: CollectorRegistry, buckets: tuple[float, ...]) -> Metrics:
        """Return the registry's metrics; register them first if there are none."""
        with self._lock:
            found = self._metrics.get(registry)
            if found is None:
                found = self._metrics[registry] = Metrics(registry, buckets)
        if found.buckets != buckets:
            message = f"this registry's listeners have the buckets {found.buckets}, not {buckets}"
            raise ValueError(message)
        return found


_shared: Final = _Shared()


class _Series:
    """All series of one name. Those that count begin with 0, so that Prometheus sees the first increase."""

    def __init__(self, metrics: Metrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._calls = {outcome: metrics.calls.labels(name, outcome) for outcome in labels.OUTCOMES}
        self._durations: dict[str, Any] = {}
        self._rejected = {reason: metrics.rejected.labels(name, reason) for reason in labels.REJECTIONS}
        self._changes = {change: metrics.transitions.labels(name, *change) for change in labels.CHANGES}
        self._states = {state: metrics.state.labels(name, state) for state in labels.STATES}
        self._away = metrics.away.labels(name)
        self.probed = metrics.probes.labels(name).inc
        self.held = metrics.holds.labels(name).inc
        self.lost = metrics.lost.labels(name).inc
        self.restored = metrics.restored.labels(name).inc

    def ended(self, outcome: str, seconds: float | None) -> None:
        self._calls[outcome].inc()
        if seconds is None:
            return
        durations = self._durations.get(outcome)
        if durations is None:  # many series, which a name that never fails needn't have
            durations = self._durations[outcome] = self._metrics.durations.labels(self._name, outcome)
        durations.observe(seconds)

    def rejected(self, reason: str) -> None:
        self._rejected[reason].inc()

    def changed(self, old: str, new: str) -> None:
        self._changes[old, new].inc()

    def show(self, state: str, away: int) -> None:
        self._states[state].set(1)
        for other, gauge in self._states.items():
            if other != state:
                gauge.set(0)
        self._away.set(away)


class PrometheusListener(MeasuringListener):
    """Counts what breakers do, for Prometheus. Needs `pip install "pybreaker-ext[prometheus]"`.

    Listeners of one registry share its metrics, so there may be several; a breaker that has two of
    them is counted twice. The multiprocess mode of prometheus-client is supported.

    Args:
        registry: Where the metrics are registered.
        buckets: Upper bounds of the latency histogram's buckets, in seconds, rising.
        name_of: Returns the label `name` of a breaker; its own name by default. Breakers of the
            same label share their series. None and an empty text become `unnamed`.
        max_names: Names at most, 1 or more; breakers of further names are counted as `others`.

    Raises:
        TypeError: `name_of` can't be called, or `max_names` is no whole number.
        ValueError: `max_names` is below 1, or the registry has the metrics with other `buckets`.
    """

    def __init__(
        self,
        registry: CollectorRegistry = REGISTRY,
        *,
        buckets: Sequence[float] = labels.BUCKETS,
        name_of: Callable[[Any], str | None] | None = None,
        max_names: int = labels.MAX_NAMES,
    ) -> None:
        metrics = _shared.metrics(registry, tuple(map(float, buckets)))
        super().__init__(functools.partial(_Series, metrics), _RECORDING, name_of, max_names)
