"""Judges how a call ended: success, failure, neutral or hold."""

from __future__ import annotations

import logging
import math
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pybreaker_ext.errors import FailedResult

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

logger = logging.getLogger("pybreaker_ext.outcome")


class Outcome(NamedTuple):
    """What a call's end means for the circuit."""

    #: `success`, `failure`, `neutral` or `hold`.
    kind: str
    #: What the `failure` and `neutral` hooks are told.
    error: BaseException | None = None
    #: Seconds, of a hold.
    duration: float = 0.0


SUCCESS: Final = Outcome("success")
NEUTRAL: Final = Outcome("neutral")


class Judge:
    """One breaker's rules, in the order in which they apply.

    Args:
        include: If there are any, everything else is neutral.
        ignore: Neutral.
        failure_result: Whether a result is a failure.
        hold_for: Seconds for which the backend asked to be left alone, or anything else for none.
        hold_result: The same, of a result.
        max_hold: Seconds that a hold lasts at most.
    """

    def __init__(
        self,
        include: Sequence[Any],
        ignore: Sequence[Any],
        failure_result: Callable[[Any], Any] | None,
        hold_for: Callable[[BaseException], Any] | None,
        hold_result: Callable[[Any], Any] | None,
        max_hold: float,
    ) -> None:
        self._include = include
        self._ignore = ignore
        self._failure_result = failure_result
        self._hold_for = hold_for
        self._hold_result = hold_result
        self._max_hold = max_hold

    @property
    def judges_results(self) -> bool:
        """Whether a result may be a failure or a hold."""
        return self._failure_result is not None or self._hold_result is not None

    def error(self, error: BaseException, is_system_error: Callable[[Any], bool]) -> Outcome:
        """Judge a call that ended with an exception.

        `is_system_error` says whether it is not excluded; it is pybreaker's hook for subclasses.
        """
        if not issubclass(type(error), Exception):  # cancellation, Ctrl-C, exit, a closed generator
            return Outcome("neutral", error)
        try:
            return self._exception(error, is_system_error)
        except Exception as fault:
            fault.__context__ = None  # the call's own error, whose text nobody has redacted
            logger.exception("A rule failed to judge %s, which counts as a failure", type(error).__name__)
            return Outcome("failure", error)

    def result(self, result: object) -> Outcome:
        """Judge a call that ended with a result."""
        try:
            return self._result(result)
        except Exception:
            logger.exception("A rule failed to judge a result, which counts as a failure")
            return Outcome("failure", FailedResult(result))

    def _result(self, result: object) -> Outcome:
        if self._hold_result is not None:
            duration = self._hold_result(result)
            if _is_hold(duration):
                return self._hold(FailedResult(result), duration)
        if self._failure_result is not None and self._failure_result(result):
            return Outcome("failure", FailedResult(result))
        return SUCCESS

    def _exception(self, error: BaseException, is_system_error: Callable[[Any], bool]) -> Outcome:
        if self._hold_for is not None:
            duration = self._hold_for(error)
            if _is_hold(duration):
                return self._hold(error, duration)
        if any(matches(matcher, error) for matcher in self._ignore):
            return Outcome("neutral", error)
        if not is_system_error(error):
            return SUCCESS
        if self._include and not any(matches(matcher, error) for matcher in self._include):
            return Outcome("neutral", error)
        return Outcome("failure", error)

    def _hold(self, error: BaseException, duration: float) -> Outcome:
        return Outcome("hold", error, float(min(duration, self._max_hold)))


def matches(matcher: Any, error: BaseException) -> bool:
    """Tell whether `error` is of the type, or satisfies the predicate."""
    if isinstance(matcher, type):
        return issubclass(type(error), matcher)
    return bool(matcher(error))


def _is_hold(duration: Any) -> bool:
    if isinstance(duration, bool) or not isinstance(duration, (int, float)):
        return False
    return 0 < duration < math.inf
