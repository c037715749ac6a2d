"""Sums up storms: of many equal events of one breaker, one in each interval is logged, the rest are counted.

The last one that was held back is kept, and is logged later with the number of the others: with the
breaker's next event after the interval, or before a change of its state. So nothing is lost while
the breaker is used, and a change is always preceded by what has led to it. There is no thread.
"""

from __future__ import annotations

import contextvars
import weakref
from typing import TYPE_CHECKING, Any

from pybreaker_ext.forks import renew_after_fork

if TYPE_CHECKING:
    from collections.abc import Callable

    Fields = dict[str, Any]
    #: Logs an event with its fields.
    Log = Callable[[str, Fields], None]


class _Storm:
    """Events of one kind and breaker, from one that was logged until the interval's end."""

    __slots__ = ("context", "fields", "held_back", "until")

    def __init__(self, until: float) -> None:
        self.until = until
        self.held_back = 0
        #: Of the last one held back, with the context variables of its caller.
        self.fields: Fields = {}
        self.context: contextvars.Context | None = None

    def hold_back(self, fields: Fields) -> None:
        self.held_back += 1
        self.fields = fields
        self.context = contextvars.copy_context()


class _Storms(dict[str, _Storm]):
    """The storms of one breaker, by the event's name."""

    __slots__ = ("breaker",)

    def __init__(self, breaker: weakref.ref[Any]) -> None:
        self.breaker = breaker


class Storms:
    """The storms of all breakers of one listener.

    Hooks of one breaker never run at the same time, and no two breakers share anything here, so
    there is no lock. A breaker is known only while it has a storm, and is not kept alive.

    Args:
        log: Logs an event.
        interval: Seconds in which one event of a kind is logged; 0: each one is.
        clock: Returns seconds that never go back.
    """

    def __init__(self, log: Log, interval: float, clock: Callable[[], float]) -> None:
        self._log = log
        self._interval = interval
        self._clock = clock
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Forget what was held back: the parent tells it."""
        #: By `id`, because users' breakers may be equal or not hashable.
        self._of_breakers: dict[int, _Storms] = {}

    def tell(self, breaker: Any, event: str, fields: Fields) -> None:
        """Log an event, or hold it back."""
        self.tell_due(breaker, but=event)
        now = self._clock()
        storms = self._of_breakers.get(id(breaker))
        if storms is None:
            storms = self._begin(breaker)
        storm = storms.get(event)
        if storm is not None and now < storm.until:
            storm.hold_back(fields)
            return
        storms[event] = _Storm(now + self._interval)  # first, as logging may lead to the next event
        held_back = storm.held_back if storm is not None else 0
        self._log(event, fields | {"suppressed": held_back} if held_back else fields)

    def tell_all(self, breaker: Any) -> None:
        """Log what is held back of a breaker."""
        for event, storm in list(self._of_breakers.get(id(breaker), {}).items()):
            self._tell_last(event, storm)

    def tell_due(self, breaker: Any, but: str = "") -> None:
        """Log what was held back in intervals that are over, except one event's; forget storms that are over."""
        if not self._of_breakers or (storms := self._of_breakers.get(id(breaker))) is None:
            return
        now = self._clock()
        for event, storm in list(storms.items()):
            if event == but or now < storm.until:
                continue
            if storm.held_back:
                storm.until = now + self._interval
                self._tell_last(event, storm)
            else:
                storms.pop(event, None)  # unless logging has led here already
        if not storms:
            self._of_breakers.pop(id(breaker), None)

    def know(self, breaker: Any) -> bool:
        """Tell whether a breaker has a storm."""
        return id(breaker) in self._of_breakers

    def _begin(self, breaker: Any) -> _Storms:
        key, known = id(breaker), self._of_breakers
        known[key] = storms = _Storms(weakref.ref(breaker, lambda _: known.pop(key, None)))
        return storms

    def _tell_last(self, event: str, storm: _Storm) -> None:
        """Log the last event held back, as its caller would have, with the number of those before it."""
        others, fields, context = storm.held_back - 1, storm.fields, storm.context
        if context is None:
            return
        storm.held_back, storm.fields, storm.context = 0, {}, None
        context.run(self._log, event, fields | {"suppressed": others} if others else fields)
