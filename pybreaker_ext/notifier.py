"""Tells one breaker's listeners what happened: one hook at a time, changes in their order."""

from __future__ import annotations

import logging
import math
import threading
from typing import TYPE_CHECKING, Any, Final

import pybreaker

from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.listener import CircuitBreakerListener
from pybreaker_ext.machine import CLOSED, HALF_OPEN, OPEN
from pybreaker_ext.snapshot import snapshot_of

if TYPE_CHECKING:
    from pybreaker_ext.machine import Decision
    from pybreaker_ext.snapshot import Snapshot
    from pybreaker_ext.storage.view import Permit, View

logger = logging.getLogger("pybreaker_ext.listeners")

_STATES: Final = {
    CLOSED: pybreaker.CircuitClosedState,
    OPEN: pybreaker.CircuitOpenState,
    HALF_OPEN: pybreaker.CircuitHalfOpenState,
}

#: What a listener inherits when it overrides none of the hooks of closed successes.
_EMPTY: Final = {
    getattr(base, hook, None)
    for base in (CircuitBreakerListener, pybreaker.CircuitBreakerListener)
    for hook in ("before_call", "success", "success_ignored_for")
}


def state_object(breaker: Any, name: str, snapshot: Snapshot | None = None) -> Any:
    """Return pybreaker's object for a state; its `snapshot` is what showed it, if that is known."""
    state = _STATES[name](breaker, None, notify=False)
    state.snapshot = snapshot
    return state


class Notifier:
    """Remembers what its breaker's listeners were told last.

    The lock is re-entrant: a hook may read the state or call the breaker again.

    Args:
        state: What listeners may take for the circuit's state before the breaker's first look.
    """

    def __init__(self, state: str) -> None:
        #: Whether a listener has `before_call`.
        self.tells_before_call = False
        #: Until when, on the breaker's clock, no listener wants to hear of a success that changes nothing.
        self.deaf_until = math.inf
        #: The `success_ignored_for` of each listener that has `success`; empty when one of them has none.
        self._deaf_times: tuple[Any, ...] = ()
        #: What the call carries that `before_call` is told of now.
        self.admitted: Permit | None = None
        #: What the hook is about that is running now.
        self.about: Decision | None = None
        #: Epoch, generation and state of the last record seen.
        self.told = (-1, 0, state)
        #: Whether that was a foreign write which nobody had stored as adopted.
        self._unsaved = False
        #: Hooks to be called, and what they are told.
        self._changes: list[tuple[str, tuple[Any, ...]]] = []
        self._telling = False
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()
        self._telling = False

    def know(self, listeners: list[Any]) -> None:
        """Look which of the hooks for closed successes the breaker's listeners have."""
        known = tuple(listeners)
        hearing = [listener for listener in known if _has(listener, "success")]
        asked = [_found(listener, "success_ignored_for", None) for listener in hearing]
        deaf = [found for found in asked if _is_own(found)]
        self.tells_before_call = any(_has(listener, "before_call") for listener in known)
        self._deaf_times = tuple(deaf) if len(deaf) == len(hearing) else ()
        self.deaf_until = -math.inf if hearing else math.inf

    def is_telling_here(self) -> bool:
        """Tell whether this thread runs a hook: it must not wait for others, who may wait for their hooks' turn."""
        owned: bool = self._lock._is_owned()  # type: ignore[attr-defined]  # noqa: SLF001
        return owned

    # The next three are one; the first two are for the path of every call.

    def before_call(self, breaker: Any, permit: Permit, func: Any, args: Any, kwargs: Any) -> None:
        """Call `before_call` of every listener that has it."""
        with self._lock:
            self.admitted = permit
            for listener in tuple(breaker._listeners):  # noqa: SLF001  the property would copy them, too
                try:
                    listener.before_call(breaker, func, *args, **kwargs)
                except Exception as error:  # noqa: BLE001  the listener's own trouble
                    _log(listener, "before_call", error)

    def success(self, breaker: Any) -> None:
        """Call `success` of every listener that has it."""
        with self._lock:
            for listener in tuple(breaker._listeners):  # noqa: SLF001
                try:
                    listener.success(breaker)
                except Exception as error:  # noqa: BLE001  the listener's own trouble
                    _log(listener, "success", error)
            if self._deaf_times:
                self._ask_who_is_deaf(breaker)

    def _ask_who_is_deaf(self, breaker: Any) -> None:
        """Note for how long nobody wants to hear of closed successes; an answer that is no number is none."""
        asked = self._deaf_times
        try:
            times = [ignored_for(breaker) for ignored_for in asked]
        except Exception:
            logger.exception("A success_ignored_for of %r failed", breaker)
            return
        if all(isinstance(seconds, (int, float)) and seconds > 0 for seconds in times):
            self.deaf_until = breaker._local.clock() + min(times)  # noqa: SLF001
            if self._deaf_times is not asked:  # somebody was added meanwhile, who was not asked
                self.deaf_until = -math.inf

    def tell(self, breaker: Any, hook: str, /, *args: Any, about: Decision | None = None) -> None:
        """Call a hook of every listener that has it; `about` is the decision that it is about, if one is."""
        if not breaker._listeners:  # noqa: SLF001
            return
        with self._lock:
            outer, self.about = self.about, about or self.about
            try:
                for listener in tuple(breaker._listeners):  # noqa: SLF001
                    try:
                        getattr(listener, hook)(breaker, *args)
                    except Exception as error:  # noqa: BLE001  the listener's own trouble
                        _log(listener, hook, error)
            finally:
                self.about = outer

    def notice(self, breaker: Any, decision: Decision) -> None:
        """Tell the changes that a decision shows: one that others made, then one that it made itself."""
        # The generation of an adoption that isn't stored may never come true: what is stored counts.
        unsaved = decision.stored is not None
        generation = decision.after.generation if decision.stored is None else decision.stored
        made = (decision.epoch, generation, decision.after.state)
        if self.told == made:
            return
        with self._lock:
            shown = snapshot_of(breaker.name, decision)
            if not unsaved:
                found = (decision.epoch, decision.old_generation, decision.old_state)
                self._see(breaker, found, shown if found == made else None)
            self._see(breaker, made, shown, unsaved=unsaved)
            if not self._telling:
                self._tell_changes(breaker, decision)

    def notice_view(self, breaker: Any, view: View) -> None:
        """Tell the change that a view shows, for a caller who is the first to use it."""
        if self.told is view.seen or not breaker._listeners:  # noqa: SLF001
            return
        with self._lock:
            if self.told == view.seen:
                self.told = view.seen  # the next comparison is a glance
                return
            seen = breaker.last_seen
            shown = seen if seen is not None and seen.generation == view.record.generation else None
            self._see(breaker, view.seen, shown)
            if not self._telling:
                self._tell_changes(breaker)

    def _see(self, breaker: Any, seen: tuple[int, int, str], shown: Snapshot | None, *, unsaved: bool = False) -> None:
        told = self.told
        provisional = unsaved or self._unsaved
        if seen[:2] < told[:2] or (seen[:2] == told[:2] and not provisional):
            return  # this news is old
        self.told, self._unsaved = seen, unsaved
        was, is_now = max(told[0], 0) % 2, max(seen[0], 0) % 2  # negative: it was only busy
        if is_now > was:
            self._changes.append(("storage_lost", (breaker._outage.error,)))  # noqa: SLF001
        if told[2] != seen[2]:
            states = state_object(breaker, told[2]), state_object(breaker, seen[2], shown)
            self._changes.append(("state_change", states))
        if is_now < was:
            self._changes.append(("storage_restored", (breaker._outage.lasted,)))  # noqa: SLF001

    def _tell_changes(self, breaker: Any, about: Decision | None = None) -> None:
        """Tell the changes one after the other, also those that hooks make meanwhile."""
        try:
            self._telling = True
            while self._changes:
                hook, told = self._changes.pop(0)
                self.tell(breaker, hook, *told, about=about)
        finally:
            self._telling = False


def _has(listener: Any, hook: str) -> bool:
    """Tell whether a listener has a hook, and not only the empty one that it has inherited."""
    return _is_own(_found(listener, hook, _found))


def _found(listener: Any, hook: str, otherwise: Any) -> Any:
    """Return a listener's hook, None when it has none, and `otherwise` when that can't be found out."""
    try:
        return getattr(listener, hook, None)
    except Exception:  # noqa: BLE001  a property that raises; when the hook is called, the log will say so
        return otherwise


def _is_own(found: Any) -> bool:
    function = getattr(found, "__func__", found)
    return found is not None and not any(function is empty for empty in _EMPTY)


def _log(listener: Any, hook: str, error: Exception) -> None:
    """Log what a hook has raised, unless the listener just doesn't have it."""
    try:
        missing = getattr(listener, hook, None) is None
    except Exception:  # noqa: BLE001  a property that raises
        missing = False
    if not missing:
        _leave_context(error)
        logger.error("The %s hook of %s failed", hook, type(listener).__name__, exc_info=error)


def _leave_context(error: BaseException) -> None:
    """Part a hook's error from the call's own, which is handled meanwhile: nobody has redacted that one's text."""
    found, left = set(), [error]
    while left:
        each = left.pop()
        if id(each) not in found:
            found.add(id(each))
            each.__context__ = None
            left += [each.__cause__] if each.__cause__ is not None else []
            left += each.exceptions if isinstance(each, BaseExceptionGroup) else ()
