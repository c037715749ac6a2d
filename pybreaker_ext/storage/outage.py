"""What happens while a store is away: each process goes on by itself, and asks again now and then.

`Outage` knows whether the store is away; everything that uses one client (or one file) shares it.
`StandIn` is one circuit's own machine meanwhile. Who decided is told by an epoch: even numbers are
the shared store, odd ones stand-ins, and each loss and each return adds one. A permit counts only
where it was issued: at the store if its epoch is even, else in the stand-in of that very epoch.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import FOREVER, OPEN, Decision, Event, Policy, Record
from pybreaker_ext.storage.memory import CircuitMemoryStorage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger("pybreaker_ext.storage")

#: Seconds between two attempts to reach a store that is away.
RETRY_INTERVAL: Final = 1.0

READ: Final = Event("read")
REPORTS: Final = frozenset({"success", "failure", "neutral", "hold", "renew"})


class Outage:
    """Whether one store is away, and whose turn it is to try it again.

    Args:
        what: The store as the log calls it.
        clock: Returns seconds that never go back.
    """

    def __init__(self, what: str, clock: Callable[[], float] = time.monotonic) -> None:
        self.epoch = 0
        self._what = what
        self._clock = clock
        self._since = 0.0
        self._next_try = 0.0
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the locks, which a thread of the parent may have held."""
        self.lock = threading.RLock()
        self._turn = threading.Lock()

    def begin(self) -> int | None:
        """Return the epoch in which the caller may ask the store; None: it may not.

        Whoever gets a number must end with `succeeded`, `failed` or `abandoned`.
        """
        epoch = self.epoch
        if epoch % 2 == 0:
            return epoch
        if self._clock() < self._next_try or not self._turn.acquire(blocking=False):
            return None
        if self.epoch == epoch and self._clock() >= self._next_try:
            return epoch
        self._turn.release()  # another caller's attempt ended just now
        return None

    def succeeded(self, epoch: int) -> int:
        """Note that the store has answered, and return the epoch of its answer."""
        if epoch % 2 == 0:
            return epoch
        with self.lock:
            self.epoch += 1
            gone = self._clock() - self._since
            epoch = self.epoch
        self._turn.release()
        logger.info("The circuit breakers' store is back after %.1f s: %s", gone, self._what)
        return epoch

    def failed(self, epoch: int, error: StoreUnavailableError) -> None:
        """Note that the store did not answer."""
        with self.lock:
            self._next_try = self._clock() + RETRY_INTERVAL
            lost = self.epoch % 2 == 0
            if lost:
                self.epoch += 1
                self._since = self._clock()
        self.abandoned(epoch)
        if lost:
            logger.warning(
                "The circuit breakers' store is away, each process decides by itself: %s (%s)",
                self._what,
                error.__cause__ or error,
            )

    def abandoned(self, epoch: int) -> None:
        """Give the turn back: nobody knows how the attempt ended."""
        if epoch % 2:
            self._turn.release()

    def until_next_try(self) -> int:
        """Return the milliseconds until somebody will ask the store again."""
        return max(0, round((self._next_try - self._clock()) * 1000))


class StandIn:
    """One circuit whose store may be away: `apply` never raises for that.

    Args:
        outage: What is known of the store.
        fallback: The state in which to begin while it is away; `open` rejects until it is back.
    """

    def __init__(self, outage: Outage, fallback: str) -> None:
        self.outage = outage
        self._fallback = fallback
        self._local: tuple[int, CircuitMemoryStorage] | None = None

    def apply(self, attempt: Callable[[Event, Policy], Decision], event: Event, policy: Policy) -> Decision:
        """Apply the event by `attempt`, or locally when the store is away."""
        epoch = self.outage.begin()
        if epoch is None:
            return self.decide(event, policy)
        try:
            decision = attempt(for_epoch(event, 0), policy)
        except BaseException as error:
            if not self._lost(epoch, error):
                raise
            return self.decide(event, policy)
        return self._answered(epoch, decision)

    async def apply_async(
        self, attempt: Callable[[Event, Policy], Awaitable[Decision]], event: Event, policy: Policy
    ) -> Decision:
        """Apply the event by `attempt`, or locally when the store is away."""
        epoch = self.outage.begin()
        if epoch is None:
            return self.decide(event, policy)
        try:
            decision = await attempt(for_epoch(event, 0), policy)
        except BaseException as error:
            if not self._lost(epoch, error):
                raise
            return self.decide(event, policy)
        return self._answered(epoch, decision)

    def decide(self, event: Event, policy: Policy) -> Decision:
        """Decide without the store."""
        epoch = (self.outage.epoch - 1) | 1  # this outage's, or the last one's if it ended just now
        decision = self._machine(epoch).apply(for_epoch(event, epoch), policy)
        if self._fallback == OPEN and decision.retry_after == FOREVER:
            decision = decision._replace(retry_after=self.outage.until_next_try())
        return decision._replace(epoch=epoch)

    def _lost(self, epoch: int, error: BaseException) -> bool:
        """Tell whether the error means that the store is away."""
        if isinstance(error, StoreUnavailableError):
            self.outage.failed(epoch, error)
            return True
        self.outage.abandoned(epoch)
        return False

    def _answered(self, epoch: int, decision: Decision) -> Decision:
        epoch = self.outage.succeeded(epoch)
        return decision._replace(epoch=epoch) if epoch else decision

    def _machine(self, epoch: int) -> CircuitMemoryStorage:
        with self.outage.lock:
            if self._local is None or self._local[0] < epoch:
                self._local = (epoch, self._new_machine())
            return self._local[1]

    def _new_machine(self) -> CircuitMemoryStorage:
        machine = CircuitMemoryStorage(self._fallback)
        if self._fallback == OPEN:
            machine.begin_with(Record(OPEN, generation=1, open_until=FOREVER))
        return machine


def for_epoch(event: Event, epoch: int) -> Event:
    """Return the event, or a mere look when it reports on a permit of another machine."""
    if event.kind not in REPORTS or event.epoch == epoch or (event.epoch % 2 == 0 and epoch == 0):
        return event
    return READ
