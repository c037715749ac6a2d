"""What callers may decide by themselves: a look at a circuit, and for how long it may be relied upon.

A view is never changed, only replaced, so reading one takes no lock. Whoever keeps a shared circuit
keeps a `LocalView` of it for each breaker; a circuit in memory keeps an `ExactView` itself.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple

from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import CLOSED, FOREVER, HALF_OPEN, OPEN, Record

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pybreaker_ext.machine import Decision

#: Seconds that never go back; what a view's age is measured by.
clock: Callable[[], float] = time.monotonic


class Permit(NamedTuple):
    """What an admitted call carries until its outcome is reported."""

    generation: int
    #: Empty unless the call is a probe.
    token: str
    #: Which machine issued it: the shared store, or a stand-in (see `storage/outage.py`).
    epoch: int


class View:
    """One look at a circuit. Times are seconds on its keeper's clock; what is over is `-inf`.

    Args:
        record: What was seen.
        epoch: Which machine it was (see `storage/outage.py`).
        until: Until when it may be relied upon.
        open_until: Until when an open circuit rejects.
        order: Tells which of two looks is newer when nothing else does.
        sent: When it was asked for.
        received: When it was received.
    """

    __slots__ = (
        "decides_until",
        "open_until",
        "order",
        "permit",
        "quiet_until",
        "received",
        "record",
        "seen",
        "sent",
    )

    def __init__(
        self,
        record: Record,
        epoch: int,
        until: float,
        open_until: float,
        order: tuple[int, ...] = (),
        sent: float = -math.inf,
        received: float = -math.inf,
    ) -> None:
        closed = record.state == CLOSED
        self.record = record
        #: What a call carries that this view admits.
        self.permit = Permit(record.generation, "", epoch)
        #: What a notifier compares.
        self.seen = (epoch, record.generation, record.state)
        #: Until then, only the view's age sends a caller to the store. A half-open circuit must always be asked.
        self.open_until = math.inf if closed else open_until if record.state == OPEN else -math.inf
        #: Until then, an ask is answered: admitted when closed, else rejected.
        self.decides_until = min(until, self.open_until)
        #: Until then, a success would change nothing.
        self.quiet_until = until if closed and not record.fail_counter else -math.inf
        self.order = order
        self.sent = sent
        self.received = received


#: Nothing is known, and one caller is enough to find out.
UNKNOWN: Final = View(Record(), 0, -math.inf, -math.inf)

#: Nothing is ever known, and every caller asks.
STRICT: Final = View(Record(HALF_OPEN), 0, -math.inf, -math.inf)


#: The order of what only an answer to a later question replaces.
_NEWEST: Final = (FOREVER,)


class ExactView:
    """The view of a circuit in this process's memory. Its storage replaces it with each change of the record."""

    __slots__ = ("clock", "view")

    def __init__(self, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.view = UNKNOWN

    def of(self, record: Record) -> View:
        """Return the view that shows a record."""
        return View(record, 0, math.inf, math.inf if record.open_until == FOREVER else record.open_until / 1000)

    def install(self, decision: Decision, sent: float) -> None:
        """Do nothing: the storage has shown it."""

    def forget(self) -> None:
        """Do nothing: what is shown is true."""

    def joined(self, view: View, ask: Callable[[], Decision]) -> Decision | View:
        """Return what `ask` returns."""
        del view
        return ask()

    async def joined_async(self, view: View, ask: Callable[[], Awaitable[Decision]]) -> Decision | View:
        """Return what `ask` returns."""
        del view
        return await ask()

    def renew_after_fork(self) -> None:
        """Do nothing: there is no lock."""


class LocalView:
    """One breaker's view of a circuit in a shared store.

    Args:
        max_staleness: Seconds for which an answer may be relied upon, from when its question was
            sent; 0: every decision asks the store.
    """

    __slots__ = ("_joining", "_joining_async", "_max_staleness", "clock", "view")

    def __init__(self, max_staleness: float) -> None:
        self.view = UNKNOWN if max_staleness else STRICT
        self.clock = clock
        self._max_staleness = max_staleness
        self._joining_async: dict[asyncio.AbstractEventLoop, asyncio.Lock] = {}
        self.renew_after_fork()

    def renew_after_fork(self) -> None:
        """Replace the lock, which a thread of the parent may have held."""
        #: Held by the thread that asks for all whose view is too old. Re-entrant: a finalizer or a
        #: signal handler may call the breaker meanwhile.
        self._joining = threading.RLock()

    def install(self, decision: Decision, sent: float) -> None:
        """Replace the view, unless the answer to what was sent at `sent` is older.

        An answer to what was sent after the view was received is newer whatever the store's clock
        says, which may have been set back. An adoption that isn't stored has no generation yet.
        """
        if self.view is STRICT or not decision.lasting:
            return
        if decision.stored is not None:
            self.forget()
            return
        record = decision.after
        # Of two looks in one millisecond, the one that makes callers report more.
        order = (decision.epoch, decision.now, record.generation, record.fail_counter, record.open_until)
        wait = math.inf if decision.retry_after == FOREVER else decision.retry_after / 1000
        view = View(record, decision.epoch, sent + self._max_staleness, sent + wait, order, sent, self.clock())
        with _installing.lock:
            if sent >= self.view.received or order >= self.view.order:
                self.view = view

    def forget(self) -> None:
        """Rely on nothing that was asked before now."""
        if self.view is STRICT:
            return
        view = View(Record(), 0, -math.inf, -math.inf, _NEWEST, received=self.clock())
        with _installing.lock:
            self.view = view

    def joined(self, view: View, ask: Callable[[], Decision]) -> Decision | View:
        """Return what `ask` returns, or what another caller has learnt meanwhile.

        For callers whose `view` is merely too old: they wait for one of them. What that one has learnt
        is good for whoever came before it asked, however long the answer took.
        """
        came = self.clock()
        with self._joining:
            return self.view if self._learnt(view, came) else ask()

    async def joined_async(self, view: View, ask: Callable[[], Awaitable[Decision]]) -> Decision | View:
        """Return what `ask` returns, or what another caller has learnt meanwhile.

        For callers whose `view` is merely too old: they wait for one of them, in this loop. What that
        one has learnt is good for whoever came before it asked, however long the answer took.
        """
        came = self.clock()
        async with self._joining_of_loop():
            return self.view if self._learnt(view, came) else await ask()

    def _learnt(self, view: View, came: float) -> bool:
        found = self.view
        return found is not view and (self.clock() < found.decides_until or found.sent >= came)

    def _joining_of_loop(self) -> asyncio.Lock:
        locks, loop = self._joining_async, asyncio.get_running_loop()
        if loop not in locks:
            for ended in [known for known in list(locks) if known.is_closed()]:
                locks.pop(ended, None)
        return locks.setdefault(loop, asyncio.Lock())


class _Installing:
    """Held for a few instructions; one for all views."""

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        self.lock = threading.RLock()


_installing: Final = _Installing()
