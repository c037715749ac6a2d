"""What a listener is: pybreaker's class with our two hooks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pybreaker

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.errors import CircuitBreakerError

    # pybreaker's types of `cb` would forbid a user's hooks to name our breaker's.
    _Listener = object
else:
    _Listener = pybreaker.CircuitBreakerListener


class CircuitBreakerListener(_Listener):
    """Override what you want to be told. All hooks are optional, and any object that has some will do.

    Hooks of one breaker never run at the same time; they run in the thread or task of the call
    they are about, after the decision is stored. A hook that waits for another thread's call of
    the same breaker waits for ever. An `Exception` that a hook raises is logged and harms nothing.

    In all hooks, `cb` is the breaker.
    """

    def before_call(self, cb: Any, func: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """A call was admitted, and `func` is about to run."""

    def failure(self, cb: Any, exc: BaseException) -> None:
        """A call failed; `exc` is a `FailedResult` when a result was judged to be a failure."""

    def success(self, cb: Any) -> None:
        """A call succeeded."""

    def success_ignored_for(self, cb: Any) -> float:
        """Return the seconds for which successes of a healthy circuit need not be told to `success`; 0 or less: none.

        Asked after `success`, and again when the time is over. A success that changes something, or is
        a probe's, is always told.
        """
        del cb
        return 0.0

    def neutral(self, cb: Any, exc: BaseException) -> None:
        """A call ended with an error that counts as nothing, or as a hold."""

    def rejected(self, cb: Any, error: CircuitBreakerError) -> None:
        """A call was rejected with `error`."""

    def state_change(
        self,
        cb: Any,
        old_state: pybreaker.CircuitBreakerState | None,
        new_state: pybreaker.CircuitBreakerState,
    ) -> None:
        """The circuit's state has changed by name; told once, also when another worker changed it.

        `new_state.snapshot` is a `Snapshot` of what showed the change, or None when only the
        state's name is known, because another change has followed.
        """

    def storage_lost(self, cb: Any, error: BaseException | None) -> None:
        """The store is away, because of `error`, and this process decides by itself."""

    def storage_restored(self, cb: Any, away: float) -> None:
        """The store is back after `away` seconds, and the shared circuit rules again."""
