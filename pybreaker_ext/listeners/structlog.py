"""Logs what happens to breakers, with structlog: one event for each thing, with flat fields."""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Any, Final

import structlog
from structlog.testing import LogCapture

from pybreaker_ext import settings
from pybreaker_ext.listener import CircuitBreakerListener
from pybreaker_ext.listeners.storms import Storms
from pybreaker_ext.listeners.told_errors import ToldErrors
from pybreaker_ext.machine import CLOSED, COUNTED, HALF_OPEN, OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    import pybreaker

    from pybreaker_ext.errors import CircuitBreakerError
    from pybreaker_ext.snapshot import Snapshot

#: Seconds for which a logger that hears nothing below info is not asked again.
DEAF_TIME: Final = 0.01

#: The method that structlog's native loggers have for every level that they filter.
_FILTERED: Final = structlog.make_filtering_bound_logger(logging.CRITICAL).debug


class StructlogListener(CircuitBreakerListener):
    """Logs changes of state, failures, rejections, successes and outages of the store.

    One listener may serve any number of breakers and threads. It asks no store, binds nothing, and
    logs in the thread or task of the call, so that the caller's context variables are in the event.
    The how-to page "Log with structlog" lists the events and their fields.

    Args:
        logger: Any structlog logger; `structlog.get_logger("pybreaker_ext")` by default.
        redact: Takes an error's text, and returns what may be logged of it. Without it, events above
            debug level tell an error's type and HTTP status only.
        error_length: Characters that are kept of an error's text, after `redact`; at least 1.
        summary_interval: Seconds in which one failure and one rejection of each breaker is logged;
            the others are counted in `suppressed`. 0: each is logged.
        clock: Returns seconds that never go back. Tests pass their own.

    Raises:
        TypeError: An argument is of the wrong type.
        ValueError: An argument is out of its range.
    """

    def __init__(
        self,
        logger: Any = None,
        *,
        redact: Callable[[str], str] | None = None,
        error_length: int = 300,
        summary_interval: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._logger = structlog.get_logger("pybreaker_ext") if logger is None else logger
        self._errors = ToldErrors(
            settings.function("redact", redact), settings.whole_number("error_length", error_length)
        )
        self._storms = Storms(self._warn, settings.seconds("summary_interval", summary_interval), clock)
        self._clock = clock
        self._deaf_until = -math.inf
        #: Which breaker was closed by the probe that this thread is about to hear of.
        self._closing = threading.local()

    def success(self, cb: Any) -> None:
        """Log `circuit_breaker_success` or `circuit_breaker_half_open_success`, at debug level."""
        self._storms.tell_due(cb)
        if not self._hears_debug():
            return
        counter = self._probes_that_succeeded(cb)
        if counter is None:
            self._debug("circuit_breaker_success", {"breaker": cb.name})
        else:
            fields = {"breaker": cb.name, "success_counter": counter, "success_threshold": cb.success_threshold}
            self._debug("circuit_breaker_half_open_success", fields)

    def success_ignored_for(self, cb: Any) -> float:
        """Return how long the logger will not be asked whether it hears events at debug level."""
        return 0.0 if self._storms.know(cb) else self._deaf_until - self._clock()

    def failure(self, cb: Any, exc: BaseException) -> None:
        """Log `circuit_breaker_failure`, a warning."""
        seen: Snapshot | None = cb.last_seen
        fields = {
            "breaker": cb.name,
            "fail_counter": None if seen is None else seen.fail_counter,
            "fail_max": cb.fail_max,
        }
        self._storms.tell(cb, "circuit_breaker_failure", fields | self._errors.public(exc))

    def neutral(self, cb: Any, exc: BaseException) -> None:
        """Log `circuit_breaker_neutral`, at debug level."""
        self._storms.tell_due(cb)
        if self._hears_debug():
            self._debug("circuit_breaker_neutral", {"breaker": cb.name} | self._errors.for_debug(exc))

    def rejected(self, cb: Any, error: CircuitBreakerError) -> None:
        """Log `circuit_breaker_rejected`, a warning."""
        fields = {
            "breaker": cb.name,
            "state": error.state,
            "reason": error.reason,
            "retry_after": _finite(error.retry_after),
        }
        self._storms.tell(cb, "circuit_breaker_rejected", fields)

    def state_change(
        self,
        cb: Any,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """Log `circuit_breaker_state_change`: a warning when the circuit opened, else for information."""
        self._storms.tell_all(cb)
        shown: Snapshot | None = getattr(new_state, "snapshot", None)
        opened = new_state.name == OPEN
        fields = {
            "breaker": cb.name,
            "old_state": None if old_state is None else old_state.name,
            "new_state": new_state.name,
            "reason": None if shown is None else shown.reason,
            "open_for": _finite(shown.retry_after) if shown is not None and opened else None,
            "trips": None if shown is None else shown.trips,
            "fail_counter": None if shown is None else shown.fail_counter,
        }
        (self._warn if opened else self._info)("circuit_breaker_state_change", fields)
        closed = _closed_by_its_probe(cb, old_state, new_state)
        self._closing.breaker = cb if closed and self._hears_debug() else None

    def storage_lost(self, cb: Any, error: BaseException | None) -> None:
        """Log `circuit_breaker_storage_lost`, a warning."""
        self._storms.tell_all(cb)
        self._warn("circuit_breaker_storage_lost", {"breaker": cb.name} | self._errors.public(error))

    def storage_restored(self, cb: Any, away: float) -> None:
        """Log `circuit_breaker_storage_restored`, for information."""
        self._storms.tell_all(cb)
        self._info("circuit_breaker_storage_restored", {"breaker": cb.name, "away": _finite(away)})

    def _probes_that_succeeded(self, cb: Any) -> int | None:
        """Return how many probes have succeeded, this one included; None when the call was no probe."""
        closing, self._closing.breaker = getattr(self._closing, "breaker", None), None
        if closing is not None and closing is cb:
            threshold: int = cb.success_threshold
            return threshold
        heard, told = cb._heard_here, cb._notifier.told  # noqa: SLF001  nothing public tells it without I/O
        if heard is None or told[2] != HALF_OPEN or heard.after.generation != told[1] or heard.verdict != COUNTED:
            return None
        counter: int = heard.after.success_counter
        return counter

    def _hears_debug(self) -> bool:
        """Tell whether the logger wants events at debug level; "no" holds for `DEAF_TIME` seconds."""
        now = self._clock()
        if now < self._deaf_until:
            return False
        if _hears_debug(self._logger):
            return True
        self._deaf_until = now + DEAF_TIME
        return False

    def _debug(self, event: str, fields: dict[str, Any]) -> None:
        _log(self._logger.debug, event, fields)

    def _info(self, event: str, fields: dict[str, Any]) -> None:
        _log(self._logger.info, event, fields)

    def _warn(self, event: str, fields: dict[str, Any]) -> None:
        _log(self._logger.warning, event, fields)


def _log(method: Any, event: str, fields: dict[str, Any]) -> None:
    try:
        method(event, **fields)
    except Exception as error:
        # Whoever logs this error must not log the call's own behind it, whose text nobody has redacted.
        error.__suppress_context__ = True
        raise


def _hears_debug(logger: Any) -> bool:
    """Tell whether a logger may want events at debug level; one that can't tell may.

    Its class is asked, because a generic logger answers to every name, by logging it.
    """
    bound = logger.bind()
    if getattr(type(bound), "debug", None) is _FILTERED:
        return False
    asked = getattr(type(bound), "is_enabled_for", None) or getattr(type(bound), "isEnabledFor", None)
    if asked is None or asked(bound, logging.DEBUG):
        return True
    # `capture_logs` takes the place of the processors, but not of a level of standard logging.
    standard = isinstance(bound, structlog.stdlib.BoundLogger)
    return standard and any(isinstance(processor, LogCapture) for processor in bound._processors)  # noqa: SLF001


def _closed_by_its_probe(cb: Any, old_state: Any, new_state: Any) -> bool:
    """Tell whether this object's own report has closed the circuit: its call's `success` is told next."""
    if old_state is None or (old_state.name, new_state.name) != (HALF_OPEN, CLOSED):
        return False
    heard = cb._heard_here  # noqa: SLF001  nothing public tells who made a change
    return heard is not None and (heard.old_state, heard.after.state, heard.verdict) == (HALF_OPEN, CLOSED, COUNTED)


def _finite(seconds: float) -> float | None:
    """Return seconds as JSON can have them: None for ever."""
    return round(seconds, 3) if math.isfinite(seconds) else None
