"""A circuit from the operator's side: its settings, what it looks like, and how to set it by hand."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext import settings
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import CLOSED, Decision, Event
from pybreaker_ext.notifier import Notifier, state_object
from pybreaker_ext.snapshot import Snapshot, Transition, in_seconds, snapshot_of, transition_of
from pybreaker_ext.storage.accepted import accepted
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.outage import Outage
from pybreaker_ext.storage.view import ExactView, LocalView
from pybreaker_ext.tuning import CircuitTuning

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pybreaker_ext.storage import Storage

#: Events after which nothing is worse than it was: an answer that got lost needs no second look.
_HARMLESS: Final = frozenset({"ask", "success", "neutral", "renew", "read"})

#: Of a store that knows no outage.
_NEVER_AWAY: Final = Outage("the store")


class CircuitControl(CircuitTuning):
    """Readings and manual control; `CircuitBreaker` adds the calls."""

    #: What a registry has made it with.
    _made_with: Mapping[str, Any]

    def __init__(
        self,
        fail_max: int,
        reset_timeout: float,
        success_threshold: int,
        state_storage: Any,
        name: str | None,
        listeners: Iterable[Any] | None,
        *,
        half_open_max_calls: int,
        probe_timeout: float,
        backoff: settings.Backoff | None,
        max_staleness: float,
    ) -> None:
        # pybreaker's __init__ isn't called, because it reads the storage. What its own methods
        # use of its attributes is here and in `CircuitBreaker`.
        self._state_storage = CircuitMemoryStorage() if state_storage is None else state_storage
        self._fail_max = settings.whole_number("fail_max", fail_max)
        self._reset_timeout = settings.seconds("reset_timeout", reset_timeout)
        self._success_threshold = settings.whole_number("success_threshold", success_threshold)
        self._listeners = settings.listeners(listeners)
        self._name = name

        self._half_open_max_calls = settings.whole_number("half_open_max_calls", half_open_max_calls)
        self._probe_timeout = settings.positive_seconds("probe_timeout", probe_timeout)
        self._backoff = settings.backoff(backoff)
        self._max_staleness = settings.seconds("max_staleness", max_staleness)
        self._policy = self._new_policy()
        self._store: Storage = accepted(self._state_storage)
        self._local = _keeper(self._store, self._max_staleness)
        self._heard: Decision | None = None
        self._notifier = Notifier(self._first_look())
        self._notifier.know(self._listeners)
        self.renew_after_fork()
        renew_after_fork(self)

    def __repr__(self) -> str:
        """Name the breaker and its settings, without I/O."""
        return (
            f"<{type(self).__name__} name={self._name!r} fail_max={self._fail_max} "
            f"reset_timeout={self._reset_timeout:g} success_threshold={self._success_threshold}>"
        )

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        self._lock = threading.RLock()  # pybreaker's, of listeners, exclusions and settings only
        self._local.renew_after_fork()

    def add_listener(self, listener: Any) -> None:
        """Add a listener; it is told from the next call on."""
        with self._lock:
            super().add_listener(listener)
            self._notifier.know(self._listeners)

    def remove_listener(self, listener: Any) -> None:
        """Remove a listener."""
        with self._lock:
            super().remove_listener(listener)
            self._notifier.know(self._listeners)

    def snapshot(self) -> Snapshot:
        """Return one consistent look at the circuit. Changes nothing; one round trip with Redis."""
        return snapshot_of(self._name, self._read())

    async def snapshot_async(self) -> Snapshot:
        """Return one consistent look at the circuit. Changes nothing; one round trip with Redis."""
        return snapshot_of(self._name, await self._read_async())

    @property
    def last_seen(self) -> Snapshot | None:
        """What this breaker object has last heard from its store; None before the first time. No I/O.

        For listeners: in a hook it is what the decision showed that the hook is about, or a later one.
        """
        heard = self._heard_here
        return None if heard is None else snapshot_of(self._name, heard)

    @property
    def _heard_here(self) -> Decision | None:
        """The decision that this thread's hook is about; else the last one."""
        about = self._notifier.about if self._notifier.is_telling_here() else None
        return about or self._heard

    @property
    def _outage(self) -> Outage:
        """What is known of the store's being away."""
        found: Outage = getattr(self._store, "outage", _NEVER_AWAY)
        return found

    def history(self, limit: int = 100) -> list[Transition]:
        """Return the last changes of the circuit's state, of all workers, the oldest first.

        While the store is away, those that this process has made without it. A storage that somebody
        wrote for pybreaker keeps none.

        Args:
            limit: At most so many; 1 or more.

        Raises:
            TypeError: `limit` is no whole number.
            ValueError: `limit` is below 1.
            StoreUnavailableError: The store can't be read, and isn't known to be away.
        """
        settings.whole_number("limit", limit)
        found = getattr(self._store, "history", None)
        return [transition_of(change) for change in found(limit)] if found else []

    async def history_async(self, limit: int = 100) -> list[Transition]:
        """Return the last changes of the circuit's state, of all workers, the oldest first.

        While the store is away, those that this process has made without it. A storage that somebody
        wrote for pybreaker keeps none.

        Args:
            limit: At most so many; 1 or more.

        Raises:
            TypeError: `limit` is no whole number.
            ValueError: `limit` is below 1.
            StoreUnavailableError: The store can't be read, and isn't known to be away.
        """
        settings.whole_number("limit", limit)
        found = getattr(self._store, "history_async", None)
        return [transition_of(change) for change in await found(limit)] if found else []

    @property
    def current_state(self) -> str:
        """The circuit's state in the store, one of `closed`, `open` and `half-open`."""
        return self._read().after.state

    @property
    def state(self) -> Any:
        """The state as pybreaker's object, which has a `name`.

        Reading it tells the listeners of a change that another worker has made. Setting it to a
        state's name is the same as calling `open()`, `half_open()` or `close()`.
        """
        decision = self._read()
        self._notifier.notice(self, decision)
        return state_object(self, decision.after.state)

    @state.setter
    def state(self, name: str) -> None:
        methods: dict[str, Callable[[], object]] = {
            "closed": self.close,
            "open": self.open,
            "half-open": self.half_open,
        }
        if name not in methods:
            message = f"state must be 'closed', 'open' or 'half-open', not {name!r}"
            raise ValueError(message)
        methods[name]()

    @property
    def fail_counter(self) -> int:
        """Consecutive failures, of all workers."""
        return self._read().after.fail_counter

    @property
    def success_counter(self) -> int:
        """Successes since the circuit went half-open, of all workers."""
        return self._read().after.success_counter

    @property
    def retry_after(self) -> float:
        """Seconds until the next call may be admitted; 0.0 when one may, `math.inf` for never."""
        return in_seconds(self._read().retry_after)

    def open(self, duration: float | None = None) -> bool:
        """Open the circuit for `duration` seconds: all calls are rejected.

        Args:
            duration: Seconds, 0 or more; `reset_timeout` by default, `math.inf` until somebody
                closes it. No back-off and no jitter apply.

        Returns:
            `throw_new_error_on_trip`, as pybreaker's does.

        Raises:
            TypeError: `duration` is no number.
            ValueError: `duration` is negative or not a number.
        """
        time = self._reset_timeout if duration is None else settings.duration("duration", duration)
        self._set(Event("open", duration=settings.milliseconds(time)))
        return self._throw_new_error_on_trip

    async def open_async(self, duration: float | None = None) -> bool:
        """Open the circuit for `duration` seconds: all calls are rejected.

        Args:
            duration: Seconds, 0 or more; `reset_timeout` by default, `math.inf` until somebody
                closes it. No back-off and no jitter apply.

        Returns:
            `throw_new_error_on_trip`, as pybreaker's does.

        Raises:
            TypeError: `duration` is no number.
            ValueError: `duration` is negative or not a number.
        """
        time = self._reset_timeout if duration is None else settings.duration("duration", duration)
        await self._set_async(Event("open", duration=settings.milliseconds(time)))
        return self._throw_new_error_on_trip

    def half_open(self) -> None:
        """Half-open the circuit: probes are admitted, a failing one opens it."""
        self._set(Event("half_open"))

    async def half_open_async(self) -> None:
        """Half-open the circuit: probes are admitted, a failing one opens it."""
        await self._set_async(Event("half_open"))

    def close(self) -> None:
        """Close the circuit: all counters start again."""
        self._set(Event("close"))

    async def close_async(self) -> None:
        """Close the circuit: all counters start again."""
        await self._set_async(Event("close"))

    def reset(self) -> None:
        """Make the circuit as if never used: in its storage's first state, with nothing counted."""
        self._set(Event("reset"))

    async def reset_async(self) -> None:
        """Make the circuit as if never used: in its storage's first state, with nothing counted."""
        await self._set_async(Event("reset"))

    def _first_look(self) -> str:
        """Return the state to begin with: memory's own, else what a missing record is; no I/O."""
        if isinstance(self._store, CircuitMemoryStorage):
            return self._read().after.state
        return str(getattr(self._store, "_initial_state", CLOSED))

    def _read(self) -> Decision:
        return self._apply(Event("read"))

    async def _read_async(self) -> Decision:
        return await self._apply_async(Event("read"))

    def _set(self, event: Event) -> None:
        self._notifier.notice(self, self._apply(event))

    async def _set_async(self, event: Event) -> None:
        self._notifier.notice(self, await self._apply_async(event))

    def _apply(self, event: Event) -> Decision:
        """Apply an event, and keep what the decision shows."""
        local = self._local
        sent = local.clock()
        try:
            decision = self._store.apply(event, self._policy)
            local.install(decision, sent)
        except BaseException:
            if event.kind not in _HARMLESS:
                local.forget()
            raise
        self._heard = decision
        return decision

    async def _apply_async(self, event: Event) -> Decision:
        """Apply an event, and keep what the decision shows."""
        local = self._local
        sent = local.clock()
        try:
            decision = await self._store.apply_async(event, self._policy)
            local.install(decision, sent)
        except BaseException:
            if event.kind not in _HARMLESS:
                local.forget()
            raise
        self._heard = decision
        return decision


def _keeper(store: Storage, max_staleness: float) -> ExactView | LocalView:
    """Return where a breaker looks before it asks: memory knows exactly what it holds."""
    return store.shown if type(store) is CircuitMemoryStorage else LocalView(max_staleness)
