"""Ask for a permit, report an outcome: what every protected call, block and stream is made of.

What happens to the circuit is decided by the machine, behind `self._store.apply`; what a call's end
means is judged in `outcome.py`; listeners are told by `notifier.py`.
"""

from __future__ import annotations

import functools
import math
import random
from typing import TYPE_CHECKING, Any

from pybreaker_ext import settings
from pybreaker_ext.control import CircuitControl
from pybreaker_ext.errors import NO_PERMIT, STILL_OPEN, TRIAL_FAILED, TRIPPED, CircuitBreakerError
from pybreaker_ext.machine import CLOSED, FAILURES, HALF_OPEN, OPEN, REJECTED, Decision, Event, Record
from pybreaker_ext.outcome import NEUTRAL, SUCCESS, Judge, Outcome, matches
from pybreaker_ext.snapshot import in_seconds
from pybreaker_ext.storage.cancellation import unawaited
from pybreaker_ext.storage.view import Permit
from pybreaker_ext.tokens import tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.storage.view import View


class CircuitAdmission(CircuitControl):
    """The ask and the report; `CircuitBreaker` runs functions between them."""

    _judge: Judge

    def is_system_error(self, exception: BaseException) -> bool:
        """Tell whether `exception` is not excluded. Subclasses may override it, as in pybreaker."""
        return not any(matches(exclusion, exception) for exclusion in self._excluded_exceptions)

    def _ask(self, func: Any, args: Any, kwargs: Any) -> Permit:
        """Return a permit for one call, or raise; then tell `before_call`."""
        permit = self._admitted()
        if not self._notifier.tells_before_call:
            return permit
        try:
            self._notifier.before_call(self, permit, func, args, kwargs)
        except BaseException:
            self._give_back_later(permit)
            raise
        return permit

    async def _ask_async(self, func: Any, args: Any, kwargs: Any) -> Permit:
        """Return a permit for one call, or raise; then tell `before_call`."""
        permit = await self._admitted_async()
        if not self._notifier.tells_before_call:
            return permit
        try:
            self._notifier.before_call(self, permit, func, args, kwargs)
        except BaseException:
            self._give_back_later(permit)
            raise
        return permit

    def _admitted(self) -> Permit:
        local = self._local
        view, now = local.view, local.clock()
        if now < view.decides_until:
            return self._permit_by(view, now)
        event = Event("ask", tokens.new())
        if now >= view.open_until or self._notifier.is_telling_here():
            return self._permit(event, self._apply(event))
        answer = local.joined(view, functools.partial(self._apply, event))
        if isinstance(answer, Decision):
            return self._permit(event, answer)
        now = local.clock()
        if now < answer.open_until:
            return self._permit_by(answer, now)
        return self._permit(event, self._apply(event))

    async def _admitted_async(self) -> Permit:
        local = self._local
        view, now = local.view, local.clock()
        if now < view.decides_until:
            return self._permit_by(view, now)
        event = Event("ask", tokens.new())
        if now >= view.open_until or self._notifier.is_telling_here():
            return self._permit(event, await self._apply_async(event))
        answer = await local.joined_async(view, functools.partial(self._apply_async, event))
        if isinstance(answer, Decision):
            return self._permit(event, answer)
        now = local.clock()
        if now < answer.open_until:
            return self._permit_by(answer, now)
        return self._permit(event, await self._apply_async(event))

    def _permit_by(self, view: View, now: float) -> Permit:
        """Return a permit, or raise, as a view that is fresh enough decides."""
        self._notifier.notice_view(self, view)
        if view.record.state == CLOSED:
            return view.permit
        raise self._rejection(view.record, view.open_until - now)

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
            raise self._rejection(record, in_seconds(decision.retry_after))
        return permit

    def _rejection(self, record: Record, retry_after: float) -> CircuitBreakerError:
        error = self._error(STILL_OPEN if record.state == OPEN else NO_PERMIT, record, retry_after)
        if self._listeners:
            self._notifier.tell(self, "rejected", error)
        return error

    def _error(self, message: str, record: Record, retry_after: float) -> CircuitBreakerError:
        return CircuitBreakerError(
            message, breaker_name=self._name, state=record.state, retry_after=retry_after, reason=record.reason
        )

    def _succeeded(self, permit: Permit) -> None:
        """Report that a call ended well."""
        self._settle(permit, SUCCESS)

    async def _succeeded_async(self, permit: Permit) -> None:
        """Report that a call ended well."""
        await self._settle_async(permit, SUCCESS)

    def _ended(self, permit: Permit, result: object) -> None:
        """Report a call that returned; its result is the caller's whatever it means."""
        self._settle(permit, self._judged(permit, self._judge.result, result))

    async def _ended_async(self, permit: Permit, result: object) -> None:
        """Report a call that returned; its result is the caller's whatever it means."""
        await self._settle_async(permit, self._judged(permit, self._judge.result, result))

    def _failed(self, permit: Permit, error: BaseException) -> None:
        """Report a call that raised.

        Raises:
            CircuitBreakerError: The error opened the circuit, and `throw_new_error_on_trip` is set.
        """
        self._failed_as(permit, error, self._judged_error(permit, error))

    async def _failed_async(self, permit: Permit, error: BaseException) -> None:
        """Report a call that raised.

        Raises:
            CircuitBreakerError: The error opened the circuit, and `throw_new_error_on_trip` is set.
        """
        await self._failed_as_async(permit, error, self._judged_error(permit, error))

    def _judged_error(self, permit: Permit, error: BaseException) -> Outcome:
        """Return what it means that a call has raised."""
        return self._judged(permit, self._judge.error, error, self.is_system_error)

    def _judged(self, permit: Permit, judge: Callable[..., Outcome], *end: Any) -> Outcome:
        """Return what a call's end means."""
        try:
            return judge(*end)
        except BaseException:  # not an Exception: Ctrl-C in a rule
            self._give_back_later(permit)
            raise

    def _failed_as(self, permit: Permit, error: BaseException, outcome: Outcome) -> None:
        """Report a call that raised, and what that means."""
        self._raise_if_tripped(self._settle(permit, outcome), error)

    async def _failed_as_async(self, permit: Permit, error: BaseException, outcome: Outcome) -> None:
        """Report a call that raised, and what that means."""
        if not issubclass(type(error), Exception):  # cancelled, or closed: nobody may be kept waiting
            self._give_back_later(permit)
            self._notifier.tell(self, "neutral", error)
            return
        self._raise_if_tripped(await self._settle_async(permit, outcome), error)

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
        if permit.token:
            unawaited(self._store, _report(permit, NEUTRAL), self._policy)

    def _renew(self, permit: Permit) -> None:
        """Renew a probe's lease, without waiting for the store when an event loop is running."""
        unawaited(self._store, Event("renew", permit.token, permit.generation, epoch=permit.epoch), self._policy)

    def _settle(self, permit: Permit, outcome: Outcome) -> Decision | None:
        """Report an outcome and tell the listeners; None when there was nothing to report."""
        if permit.token or outcome.kind not in ("success", "neutral"):
            return self._tell(outcome, self._apply(_report(permit, outcome)))
        local = self._local
        view, now = local.view, local.clock()
        if outcome.kind == "neutral" or now < view.quiet_until:
            return self._tell_nothing(outcome, now)
        event = _report(permit, outcome)
        if now >= view.open_until or self._notifier.is_telling_here():
            return self._tell(outcome, self._apply(event))
        answer = local.joined(view, functools.partial(self._apply, event))
        if isinstance(answer, Decision):
            return self._tell(outcome, answer)
        if answer.quiet_until > -math.inf:
            return self._tell_nothing(outcome, local.clock())
        return self._tell(outcome, self._apply(event))

    async def _settle_async(self, permit: Permit, outcome: Outcome) -> Decision | None:
        """Report an outcome and tell the listeners; None when there was nothing to report."""
        if permit.token or outcome.kind not in ("success", "neutral"):
            return self._tell(outcome, await self._apply_async(_report(permit, outcome)))
        local = self._local
        view, now = local.view, local.clock()
        if outcome.kind == "neutral" or now < view.quiet_until:
            return self._tell_nothing(outcome, now)
        event = _report(permit, outcome)
        if now >= view.open_until or self._notifier.is_telling_here():
            return self._tell(outcome, await self._apply_async(event))
        answer = await local.joined_async(view, functools.partial(self._apply_async, event))
        if isinstance(answer, Decision):
            return self._tell(outcome, answer)
        if answer.quiet_until > -math.inf:
            return self._tell_nothing(outcome, local.clock())
        return self._tell(outcome, await self._apply_async(event))

    def _tell_nothing(self, outcome: Outcome, now: float) -> Decision | None:
        """Tell of rows 13, and 2 at `fail_counter` 0: there is nothing to report."""
        if outcome.kind != "success":
            self._notifier.tell(self, outcome.kind, outcome.error)
        elif now >= self._notifier.deaf_until:
            self._notifier.success(self)
        return None

    def _raise_if_tripped(self, decision: Decision | None, error: BaseException) -> None:
        if decision is not None and self._throw_new_error_on_trip and _tripped(decision):
            message = TRIAL_FAILED if decision.old_state == HALF_OPEN else TRIPPED
            raise self._error(message, decision.after, in_seconds(decision.retry_after)) from error

    def _tell(self, outcome: Outcome, decision: Decision) -> Decision:
        """Tell in pybreaker's order: a failure before the change it makes, a success after it."""
        if outcome.kind == "success":
            self._notifier.notice(self, decision)
            self._notifier.tell(self, "success", about=decision)
        else:
            hook = "failure" if outcome.kind == "failure" else "neutral"
            self._notifier.tell(self, hook, outcome.error, about=decision)
            self._notifier.notice(self, decision)
        return decision


def _report(permit: Permit, outcome: Outcome) -> Event:
    kind = outcome.kind
    return Event(
        kind,
        permit.token,
        permit.generation,
        settings.milliseconds(outcome.duration) if kind == "hold" else 0,
        random.random() if kind == "failure" else 0.0,  # noqa: S311  luck, no secret
        permit.epoch,
    )


def _tripped(decision: Decision) -> bool:
    """Tell whether this failure opened the circuit; a hold's caller keeps its own error."""
    return decision.after.generation != decision.old_generation and decision.after.reason == FAILURES
