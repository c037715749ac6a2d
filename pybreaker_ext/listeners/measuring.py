"""Makes measurements of what hooks are told; what they are recorded with is the subclasses' business."""

from __future__ import annotations

import functools
import threading
import weakref
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from pybreaker_ext import settings
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.listener import CircuitBreakerListener
from pybreaker_ext.listeners import labels
from pybreaker_ext.listeners.reentry import inside
from pybreaker_ext.listeners.timing import begin, end
from pybreaker_ext.machine import CLOSED, HOLD, OPEN

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.errors import CircuitBreakerError


class Series(Protocol):
    """All time series of one name."""

    def ended(self, outcome: str, seconds: float | None) -> None:
        """Count a call; None when nobody knows how long it took."""

    def rejected(self, reason: str) -> None:
        """Count a rejected call."""

    def probed(self) -> None:
        """Count a call that was admitted while half-open."""

    def changed(self, old: str, new: str) -> None:
        """Count a change of state."""

    def held(self) -> None:
        """Count an opening by a hold."""

    def lost(self) -> None:
        """Count that the store went away."""

    def restored(self) -> None:
        """Count that the store came back."""

    def show(self, state: str, away: int) -> None:
        """Show the state that the circuit is in, and 1 if its store is away, else 0."""


class Watched:
    """What a listener knows of one breaker object."""

    __slots__ = ("away", "breaker", "series", "state")

    def __init__(self, breaker: weakref.ref[Any], series: Series, state: str, away: int) -> None:
        self.breaker = breaker
        self.series = series
        self.state = state
        self.away = away
        self.show()

    def show(self) -> None:
        """Have the gauges say what is known."""
        self.series.show(self.state, self.away)


class MeasuringListener(CircuitBreakerListener):
    """One object may listen to any number of breakers. No hook uses I/O.

    What garbage collection tells while the recording library is at work waits for the next hook.

    Args:
        new_series: Makes the series of a name.
        recording: Modules that record, and hold locks meanwhile, by how their names begin.
        name_of: Returns the name under which a breaker is counted; its own by default.
        max_names: Names at most; breakers of further names are counted as `others`.

    Raises:
        TypeError: `name_of` can't be called, or `max_names` is no whole number.
        ValueError: `max_names` is below 1.
    """

    def __init__(
        self,
        new_series: Callable[[str], Series],
        recording: tuple[str, ...],
        name_of: Callable[[Any], str | None] | None,
        max_names: int,
    ) -> None:
        self._new_series = new_series
        self._recording = recording
        self._name_of = settings.function("name_of", name_of) or labels.name_of
        self._max_names = settings.whole_number("max_names", max_names)
        self._by_name: dict[str, Series] = {}
        #: What waits for the next hook.
        self._late: deque[Callable[[], None]] = deque()
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Have the child show its own gauges, and replace the lock, which a thread of the parent may have held."""
        # Re-entrant, because garbage collection may end a guarded generator anywhere, which is told.
        self._lock = threading.RLock()
        #: By `id`, because users' breakers may be equal or not hashable. Not the parent's one, cleared: without a GIL,
        #: a dictionary has a lock, too, and threads that waited for it may have left it locked for ever.
        self._known: dict[int, Watched] = {}

    # The function is positional only: the call's own keywords may have any name.

    def before_call(self, cb: Any, _func: Any, /, *_args: Any, **_kwargs: Any) -> None:  # type: ignore[override]
        """Count a probe, and remember when the call began."""
        watched = self._watched(cb)
        if cb._notifier.admitted.token:  # noqa: SLF001  what is told last may be of another call
            watched.series.probed()
        begin(watched)

    def success(self, cb: Any) -> None:
        """Count the call."""
        watched = self._watched(cb)
        watched.series.ended(labels.SUCCESS, end(watched))

    def failure(self, cb: Any, exc: BaseException) -> None:  # noqa: ARG002  a hook's signature
        """Count the call."""
        watched = self._watched(cb)
        watched.series.ended(labels.FAILURE, end(watched))

    def neutral(self, cb: Any, exc: BaseException) -> None:
        """Count the call."""
        if isinstance(exc, GeneratorExit) and inside(self._recording):
            self._late.append(functools.partial(self._ended_before, cb))
            return
        watched = self._watched(cb)
        watched.series.ended(labels.NEUTRAL, end(watched))

    def _ended_before(self, cb: Any) -> None:
        self._found(cb).series.ended(labels.NEUTRAL, None)

    def rejected(self, cb: Any, error: CircuitBreakerError) -> None:
        """Count the rejection."""
        self._watched(cb).series.rejected(labels.rejection(error))

    # These may follow a neutral call that garbage collection has ended.

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:
        """Count the change, and the hold that made it."""
        self._soon(self._changed, cb, old_state, new_state)

    def storage_lost(self, cb: Any, error: BaseException | None) -> None:  # noqa: ARG002  a hook's signature
        """Count the outage."""
        self._soon(self._lost, cb)

    def storage_restored(self, cb: Any, away: float) -> None:  # noqa: ARG002  a hook's signature
        """Count the outage's end."""
        self._soon(self._restored, cb)

    def _soon(self, tell: Callable[..., None], *args: Any) -> None:
        if inside(self._recording):
            self._late.append(functools.partial(tell, *args))
            return
        self._catch_up()
        tell(*args)

    def _changed(self, cb: Any, old_state: Any, new_state: Any) -> None:
        watched = self._found(cb)
        watched.state = new_state.name
        watched.series.changed(old_state.name, new_state.name)
        if new_state.name == OPEN and labels.change(new_state) == HOLD:
            watched.series.held()
        watched.show()

    def _lost(self, cb: Any) -> None:
        watched = self._found(cb)
        watched.away = 1
        watched.series.lost()
        watched.show()

    def _restored(self, cb: Any) -> None:
        watched = self._found(cb)
        watched.away = 0
        watched.series.restored()
        watched.show()

    def _catch_up(self) -> None:
        while self._late:
            try:
                tell = self._late.popleft()
            except IndexError:  # another thread was faster
                return
            tell()

    def _watched(self, breaker: Any) -> Watched:
        if self._late:
            self._catch_up()
        return self._found(breaker)

    def _found(self, breaker: Any) -> Watched:
        found = self._known.get(id(breaker))
        if found is not None and found.breaker() is breaker:
            return found
        return self._watch(breaker)

    def _watch(self, breaker: Any) -> Watched:
        """Begin with what the breaker saw last, so that one that never changes is shown, too."""
        key, known = id(breaker), self._known
        reference = weakref.ref(breaker, lambda _: known.pop(key, None))
        seen = breaker.last_seen
        state = str(seen.state) if seen else CLOSED
        away = max(breaker._notifier.told[0], 0) % 2  # noqa: SLF001  an odd epoch; a busy store isn't away
        watched = known[key] = Watched(reference, self._series(labels.as_label(self._name_of(breaker))), state, away)
        return watched

    def _series(self, name: str) -> Series:
        with self._lock:
            if name not in self._by_name and len(self._by_name) >= self._max_names:
                name = labels.OTHERS
            if name not in self._by_name:
                self._by_name[name] = self._new_series(name)
            return self._by_name[name]
