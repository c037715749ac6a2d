"""Ask for a permit, report an outcome: what every protected call, block and stream is made of.

What happens to the circuit is decided by the machine, behind `self._store.apply`; what a call's end
means is judged in `outcome.py`; listeners are told by `notifier.py`.
"""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from pybreaker_ext import settings
from pybreaker_ext.control import CircuitControl
from pybreaker_ext.errors import NO_PERMIT, STILL_OPEN, TRIAL_FAILED, TRIPPED, CircuitBreakerError
from pybreaker_ext.machine import FAILURES, HALF_OPEN, OPEN, REJECTED, Decision, Event
from pybreaker_ext.outcome import NEUTRAL, SUCCESS, Judge, Outcome, matches
from pybreaker_ext.snapshot import in_seconds
from pybreaker_ext.storage.cancellation import in_background, in_loop
from pybreaker_ext.tokens import tokens


class Permit(NamedTuple):
    """What an admitted call carries until its outcome is reported."""

    generation: int
    #: Empty unless the call is a probe.
    token: str
    #: Which machine issued it: the shared store, or a stand-in (see `storage/outage.py`).
    epoch: int


class CircuitAdmission(CircuitControl):
    """The ask and the report; `CircuitBreaker` runs functions between them."""

    _judge: Judge

    def is_system_error(self, exception: BaseException) -> bool:
        """Tell whether `exception` is not excluded. Subclasses may override it, as in pybreaker."""
        return not any(matches(exclusion, exception) for exclusion in self._excluded_exceptions)

    def _ask(self, func: Any, args: Any, kwargs: Any) -> Permit:
        """Return a permit for one call, or raise; then tell `before_call`."""
        permit = self._admitted()
        try:
            self._notifier.tell(self, "before_call", func, *args, **kwargs)
        except BaseException:
            self._give_back_later(permit)
            raise
        return permit

    async def _ask_async(self, func: Any, args: Any, kwargs: Any) -> Permit:
        """Return a permit for one call, or raise; then tell `before_call`."""
        permit = await self._admitted_async()
        try:
            self._notifier.tell(self, "before_call", func, *args, **kwargs)
        except BaseException:
            self._give_back_later(permit)
            raise
        return permit

    def _admitted(self) -> Permit:
        event = Event("ask", tokens.new())
        return self._permit(event, self._store.apply(event, self._policy))

    async def _admitted_async(self) -> Permit:
        event = Event("ask", tokens.new())
        return self._permit(event, await self._store.apply_async(event, self._policy))

    def _permit(self, event: Event, decision: Decision) -> Permit:
        """Return the permit that an ask got, or raise."""
        record = decision.after
        permit = Permit(record.generation, event.token if record.state == HALF_OPEN else "", decision.epoch)
        try:
            self._notifier.notice(self, decision)
        except BaseException:  # not an Exception: Ctrl-C in a hook
            if decision.verdict != REJECTED:
                self._give_back_later(permit)
            raise
        if decision.verdict == REJECTED:
            raise self._rejection(decision)
        return permit

    def _rejection(self, decision: Decision) -> CircuitBreakerError:
        error = self._error(STILL_OPEN if decision.after.state == OPEN else NO_PERMIT, decision)
        self._notifier.tell(self, "rejected", error)
        return error

    def _error(self, message: str, decision: Decision) -> CircuitBreakerError:
        return CircuitBreakerError(
            message,
            breaker_name=self._name,
            state=decision.after.state,
            retry_after=in_seconds(decision.retry_after),
            reason=decision.after.reason,
        )

    def _succeeded(self, permit: Permit) -> None:
        """Report that a call ended well."""
        self._settle(permit, SUCCESS)

    async def _succeeded_async(self, permit: Permit) -> None:
        """Report that a call ended well."""
        await self._settle_async(permit, SUCCESS)

    def _ended(self, permit: Permit, result: object) -> None:
        """Report a call that returned; its result is the caller's whatever it means."""
        self._settle(permit, self._judge.result(result))

    async def _ended_async(self, permit: Permit, result: object) -> None:
        """Report a call that returned; its result is the caller's whatever it means."""
        await self._settle_async(permit, self._judge.result(result))

    def _failed(self, permit: Permit, error: BaseException) -> None:
        """Report a call that raised.

        Raises:
            CircuitBreakerError: The error opened the circuit, and `throw_new_error_on_trip` is set.
        """
        decision = self._settle(permit, self._judge.error(error, self.is_system_error))
        self._raise_if_tripped(decision, error)

    async def _failed_async(self, permit: Permit, error: BaseException) -> None:
        """Report a call that raised.

        Raises:
            CircuitBreakerError: The error opened the circuit, and `throw_new_error_on_trip` is set.
        """
        if not isinstance(error, Exception):  # cancelled, or closed: nobody may be kept waiting
            self._give_back_later(permit)
            self._notifier.tell(self, "neutral", error)
            return
        decision = await self._settle_async(permit, self._judge.error(error, self.is_system_error))
        self._raise_if_tripped(decision, error)

    def _give_back(self, permit: Permit) -> None:
        """Return a permit that was not used; listeners are told nothing."""
        if permit.token:
            self._store.apply(_report(permit, NEUTRAL), self._policy)

    async def _give_back_async(self, permit: Permit) -> None:
        """Return a permit that was not used; listeners are told nothing."""
        if permit.token:
            await self._store.apply_async(_report(permit, NEUTRAL), self._policy)

    def _give_back_later(self, permit: Permit) -> None:
        """Return a permit without waiting for the store when an event loop is running."""
        if permit.token and not in_loop():
            self._give_back(permit)
        elif permit.token:
            in_background(self._store, _report(permit, NEUTRAL), self._policy)

    def _settle(self, permit: Permit, outcome: Outcome) -> Decision | None:
        """Report an outcome and tell the listeners; None when there was nothing to report."""
        if _is_nothing(permit, outcome):
            self._notifier.tell(self, "neutral", outcome.error)
            return None
        decision = self._store.apply(_report(permit, outcome), self._policy)
        return self._tell(outcome, decision)

    async def _settle_async(self, permit: Permit, outcome: Outcome) -> Decision | None:
        """Report an outcome and tell the listeners; None when there was nothing to report."""
        if _is_nothing(permit, outcome):
            self._notifier.tell(self, "neutral", outcome.error)
            return None
        decision = await self._store.apply_async(_report(permit, outcome), self._policy)
        return self._tell(outcome, decision)

    def _raise_if_tripped(self, decision: Decision | None, error: BaseException) -> None:
        if decision is not None and self._throw_new_error_on_trip and _tripped(decision):
            message = TRIAL_FAILED if decision.old_state == HALF_OPEN else TRIPPED
            raise self._error(message, decision) from error

    def _tell(self, outcome: Outcome, decision: Decision) -> Decision:
        """Tell in pybreaker's order: a failure before the change it makes, a success after it."""
        if outcome.kind == "success":
            self._notifier.notice(self, decision)
            self._notifier.tell(self, "success")
        else:
            self._notifier.tell(self, "failure" if outcome.kind == "failure" else "neutral", outcome.error)
            self._notifier.notice(self, decision)
        return decision


def _is_nothing(permit: Permit, outcome: Outcome) -> bool:
    """Tell whether there is nothing to report: a neutral end of a call that was no probe (row 13)."""
    return outcome.kind == "neutral" and not permit.token


def _report(permit: Permit, outcome: Outcome) -> Event:
    return Event(
        outcome.kind,
        permit.token,
        permit.generation,
        settings.milliseconds(outcome.duration),
        random.random() if outcome.kind == "failure" else 0.0,  # noqa: S311  luck, no secret
        permit.epoch,
    )


def _tripped(decision: Decision) -> bool:
    """Tell whether this failure opened the circuit; a hold's caller keeps its own error."""
    return decision.after.generation != decision.old_generation and decision.after.reason == FAILURES
