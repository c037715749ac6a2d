"""Metrics and span events for OpenTelemetry, by its API alone."""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

from pybreaker_ext.listeners import labels
from pybreaker_ext.listeners.measuring import MeasuringListener
from pybreaker_ext.listeners.reentry import inside

try:
    from opentelemetry.metrics import get_meter
    from opentelemetry.trace import get_current_span
except ImportError as error:
    message = 'OpenTelemetryListener needs opentelemetry-api, which comes with: pip install "pybreaker-ext[otel]"'
    raise ImportError(message) from error

if TYPE_CHECKING:
    from collections.abc import Callable

    from opentelemetry.metrics import Meter, MeterProvider

    from pybreaker_ext.errors import CircuitBreakerError

#: Where locks are held. Not instrumentations, below which whole programs run.
_RECORDING = ("opentelemetry.sdk.",)

NAME = "circuit_breaker.name"
OUTCOME = "circuit_breaker.outcome"
REASON = "circuit_breaker.reason"
STATE = "circuit_breaker.state"
FROM_STATE = "circuit_breaker.from_state"
TO_STATE = "circuit_breaker.to_state"
RETRY_AFTER = "circuit_breaker.retry_after"

#: With 6 kinds of transitions each, below the 2,000 attribute sets that the SDK keeps of an instrument.
MAX_NAMES = 300


class Instruments:
    """The instruments of one meter."""

    def __init__(self, meter: Meter) -> None:
        self.calls = meter.create_counter("circuit_breaker.calls", "{call}", "Calls that have ended.")
        self.durations = meter.create_histogram(
            "circuit_breaker.call.duration",
            "s",
            "How long calls took.",
            explicit_bucket_boundaries_advisory=labels.BUCKETS,
        )
        self.rejected = meter.create_counter("circuit_breaker.rejected", "{call}", "Calls that were rejected.")
        self.state = meter.create_gauge(
            "circuit_breaker.state", "1", "1 for the state that the circuit is in, 0 for the others."
        )
        self.transitions = meter.create_counter(
            "circuit_breaker.transitions", "{transition}", "Changes of state that were noticed."
        )
        self.probes = meter.create_counter("circuit_breaker.probes", "{call}", "Calls admitted while half-open.")
        self.holds = meter.create_counter("circuit_breaker.holds", "{hold}", "Openings by a hold that were noticed.")
        self.lost = meter.create_counter("circuit_breaker.storage.lost", "{outage}", "How often the store went away.")
        self.restored = meter.create_counter(
            "circuit_breaker.storage.restored", "{outage}", "How often the store came back."
        )
        self.away = meter.create_gauge("circuit_breaker.storage.away", "1", "1 while the store is away, else 0.")


class _Series:
    """All measurements of one name, with their attributes made once. Those that count begin with 0."""

    def __init__(self, instruments: Instruments, name: str) -> None:
        self._instruments = instruments
        self._name = {NAME: name}
        self._outcomes = {outcome: {NAME: name, OUTCOME: outcome} for outcome in labels.OUTCOMES}
        self._reasons = {reason: {NAME: name, REASON: reason} for reason in labels.REJECTIONS}
        self._changes = {(old, new): {NAME: name, FROM_STATE: old, TO_STATE: new} for old, new in labels.CHANGES}
        self._states = {state: {NAME: name, STATE: state} for state in labels.STATES}
        self._begin()

    def _begin(self) -> None:
        for outcome in self._outcomes.values():
            self._instruments.calls.add(0, outcome)
        for reason in self._reasons.values():
            self._instruments.rejected.add(0, reason)
        for change in self._changes.values():
            self._instruments.transitions.add(0, change)
        for counter in ("probes", "holds", "lost", "restored"):
            getattr(self._instruments, counter).add(0, self._name)

    def ended(self, outcome: str, seconds: float | None) -> None:
        self._instruments.calls.add(1, self._outcomes[outcome])
        if seconds is not None:
            self._instruments.durations.record(seconds, self._outcomes[outcome])

    def rejected(self, reason: str) -> None:
        self._instruments.rejected.add(1, self._reasons[reason])

    def probed(self) -> None:
        self._instruments.probes.add(1, self._name)

    def changed(self, old: str, new: str) -> None:
        self._instruments.transitions.add(1, self._changes[old, new])

    def held(self) -> None:
        self._instruments.holds.add(1, self._name)

    def lost(self) -> None:
        self._instruments.lost.add(1, self._name)

    def restored(self) -> None:
        self._instruments.restored.add(1, self._name)

    def show(self, state: str, away: int) -> None:
        for each, attributes in self._states.items():
            self._instruments.state.set(int(each == state), attributes)
        self._instruments.away.set(away, self._name)


class OpenTelemetryListener(MeasuringListener):
    """Counts what breakers do, for OpenTelemetry. Needs `pip install "pybreaker-ext[otel]"`.

    Changes of state and rejections are also events of the span that is current when they are told.
    It makes no spans. The SDK may be set up later than the listener.

    Args:
        meter_provider: Makes the meter; OpenTelemetry's global one by default.
        name_of: Returns the attribute `circuit_breaker.name` of a breaker; its own name by default.
            Breakers of the same name share their measurements. None and an empty text become `unnamed`.
        max_names: Names at most, 1 or more; breakers of further names are counted as `others`.
            Span events have the name itself.

    Raises:
        TypeError: `name_of` can't be called, or `max_names` is no whole number.
        ValueError: `max_names` is below 1.
    """

    def __init__(
        self,
        meter_provider: MeterProvider | None = None,
        *,
        name_of: Callable[[Any], str | None] | None = None,
        max_names: int = MAX_NAMES,
    ) -> None:
        instruments = Instruments(get_meter("pybreaker_ext", meter_provider=meter_provider))
        super().__init__(functools.partial(_Series, instruments), _RECORDING, name_of, max_names)

    def rejected(self, cb: Any, error: CircuitBreakerError) -> None:
        """Count the rejection, and add an event to the span."""
        super().rejected(cb, error)
        told: dict[str, Any] = {STATE: error.state, REASON: labels.rejection(error)}
        if math.isfinite(error.retry_after):  # JSON knows no infinity
            told[RETRY_AFTER] = error.retry_after
        self._add_event(cb, "circuit_breaker.rejected", told)

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        """Count the change, and add an event to the span."""
        super().state_change(cb, old_state, new_state)
        if inside(_RECORDING):
            return  # told by garbage collection: whatever span is current has nothing to do with it
        told = {FROM_STATE: old_state.name, TO_STATE: new_state.name, REASON: labels.change(new_state)}
        self._add_event(cb, "circuit_breaker.state_change", told)

    def _add_event(self, breaker: Any, event: str, told: dict[str, Any]) -> None:
        span = get_current_span()
        if span.is_recording():
            span.add_event(event, {NAME: labels.as_label(self._name_of(breaker)), **told})
