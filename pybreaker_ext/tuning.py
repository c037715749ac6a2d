"""Settings that can be changed while a breaker works."""

from __future__ import annotations

import pybreaker

from pybreaker_ext import settings
from pybreaker_ext.machine import Policy


class CircuitTuning(pybreaker.CircuitBreaker):
    """pybreaker's three settings, and the policy that the machine reads."""

    _fail_max: int
    _reset_timeout: float
    _success_threshold: int
    _half_open_max_calls: int
    _probe_timeout: float
    _backoff: settings.Backoff | None
    _policy: Policy

    @property
    def fail_max(self) -> int:
        """Consecutive failures that open the circuit. A new value holds from the next decision on.

        Raises:
            TypeError: When set to something else than a whole number.
            ValueError: When set below 1.
        """
        return self._fail_max

    @fail_max.setter
    def fail_max(self, number: int) -> None:
        with self._lock:
            self._fail_max = settings.whole_number("fail_max", number)
            self._policy = self._new_policy()

    @property
    def reset_timeout(self) -> float:
        """Seconds for which the circuit stays open. A new value holds from the next trip on.

        Raises:
            TypeError: When set to something else than a number.
            ValueError: When set to a negative or infinite number.
        """
        return self._reset_timeout

    @reset_timeout.setter
    def reset_timeout(self, timeout: float) -> None:
        with self._lock:
            self._reset_timeout = settings.seconds("reset_timeout", timeout)
            self._policy = self._new_policy()

    @property
    def success_threshold(self) -> int:
        """Successful probes that close the circuit. A new value holds from the next decision on.

        Raises:
            TypeError: When set to something else than a whole number.
            ValueError: When set below 1.
        """
        return self._success_threshold

    @success_threshold.setter
    def success_threshold(self, threshold: int) -> None:
        with self._lock:
            self._success_threshold = settings.whole_number("success_threshold", threshold)
            self._policy = self._new_policy()

    def _new_policy(self) -> Policy:
        reset_timeout = settings.milliseconds(self._reset_timeout)
        backoff = self._backoff
        return Policy(
            fail_max=self._fail_max,
            reset_timeout=reset_timeout,
            success_threshold=self._success_threshold,
            half_open_max_calls=self._half_open_max_calls,
            probe_timeout=max(1, settings.milliseconds(self._probe_timeout)),
            multiplier=float(backoff.multiplier) if backoff else 1.0,
            maximum=settings.milliseconds(backoff.maximum) if backoff else reset_timeout,
            jitter=float(backoff.jitter) if backoff else 0.0,
        )
