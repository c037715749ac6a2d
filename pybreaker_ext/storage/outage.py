"""What happens while a store is away: each process goes on by itself, and asks again now and then.

`Outage` knows whether the store is away; everything that uses one client (or one file) shares it.
`StandIn` is one circuit's own machine meanwhile. Who decided is told by an epoch: even numbers are
the shared store, odd ones stand-ins, and each loss and each return adds one. A permit counts only
where it was issued: at the store if its epoch is even, else in the stand-in of that very epoch.
"""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
from typing import TYPE_CHECKING, Final

from pybreaker_ext.errors import StoreBusyError, StoreUnavailableError
from pybreaker_ext.forks import renew_after_fork
from pybreaker_ext.machine import FOREVER, OPEN, Decision, Event, Policy, Record
from pybreaker_ext.storage.memory import CircuitMemoryStorage

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pybreaker_ext.storage.history import Change

logger = logging.getLogger("pybreaker_ext.storage")

#: Seconds between two attempts to reach a store that is away.
RETRY_INTERVAL: Final = 1.0

#: Seconds after which an attempt counts as lost: its thread was stopped in a place where nothing could note it.
LOST_ATTEMPT: Final = 30.0

#: What a server says that doesn't know HELLO or AUTH, and what follows: user and password.
ARGUMENTS: Final = re.compile(r"(with args beginning with:).*", re.DOTALL)

#: How a server before Redis 5 refuses a script that writes after it has read the clock, as ours does.
TOO_OLD: Final = "non deterministic commands"

#: Characters of an error that the log gets.
ERROR_LENGTH: Final = 300

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
        #: What the store answered when it went away last, or the client said.
        self.error: BaseException | None = None
        #: Seconds for which it was away last.
        self.lasted = 0.0
        self._what = what
        self._clock = clock
        self._since = 0.0
        self._next_try = 0.0
        #: When the attempt began that is under way, or None.
        self._trying: float | None = None
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Replace the lock, and forget the attempt that a thread of the parent may have begun."""
        self.lock = threading.RLock()
        self._trying = None

    def begin(self) -> int | None:
        """Return the epoch in which the caller may ask the store; None: it may not.

        Whoever gets a number ends with `succeeded`, `failed` or `abandoned`.
        """
        epoch = self.epoch  # once: another thread may change it meanwhile
        if epoch % 2 == 0:
            return epoch
        with self.lock:
            now = self._clock()
            if self.epoch % 2 == 0:
                return self.epoch
            if now < self._next_try or (self._trying is not None and now < self._trying + LOST_ATTEMPT):
                return None
            self._trying = now
            return self.epoch

    def succeeded(self, epoch: int) -> int:
        """Note that the store has answered, and return the epoch of its answer."""
        if epoch % 2 == 0:
            return epoch
        with self.lock:
            self._trying = None
            if epoch != self.epoch:
                return epoch + 1
            self.epoch += 1
            self.lasted = self._clock() - self._since
        logger.info("The circuit breakers' store is back after %.1f s: %s", self.lasted, self._what)
        return epoch + 1

    def failed(self, epoch: int, error: StoreUnavailableError) -> None:
        """Note that the store did not answer. News of an epoch that is over change nothing."""
        with self.lock:
            self.abandoned(epoch)
            if epoch != self.epoch:
                return
            self._next_try = self._clock() + RETRY_INTERVAL
            if epoch % 2:
                return
            self.epoch += 1
            self.error = _bare(error.__cause__ or error)
            self._since = self._clock()
        if not sys.is_finalizing():
            logger.warning(
                "The circuit breakers' store is away, each process decides by itself: %s (%s)",
                self._what,
                _text(self.error),
            )

    def abandoned(self, epoch: int) -> None:
        """Note that an attempt is over, and nobody knows how it ended."""
        if epoch % 2:
            self._trying = None

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
        self._local: CircuitMemoryStorage | None = None

    def apply(self, attempt: Callable[[Event, Policy], Decision], event: Event, policy: Policy) -> Decision:
        """Apply the event by `attempt`, or locally when the store is away."""
        epoch = self.outage.begin()
        if epoch is None:
            return self.decide(event, policy)
        try:
            decision = attempt(for_store(event, epoch), policy)
        except BaseException as error:
            if not self._lost(epoch, error):
                raise
            return self._instead(error, event, policy)
        return self._answered(epoch, decision)

    async def apply_async(
        self, attempt: Callable[[Event, Policy], Awaitable[Decision]], event: Event, policy: Policy
    ) -> Decision:
        """Apply the event by `attempt`, or locally when the store is away."""
        epoch = self.outage.begin()
        if epoch is None:
            return self.decide(event, policy)
        try:
            decision = await attempt(for_store(event, epoch), policy)
        except BaseException as error:
            if not self._lost(epoch, error):
                raise
            return self._instead(error, event, policy)
        return self._answered(epoch, decision)

    def history(self, limit: int) -> list[Change]:
        """Return the last `limit` changes that were made without the store, since it answered last."""
        with self.outage.lock:
            return self._local.history(limit) if self._local is not None else []

    def decide(self, event: Event, policy: Policy) -> Decision:
        """Decide without the store."""
        epoch = (self.outage.epoch - 1) | 1  # this outage's, or the last one's if it ended just now
        decision = self._machine().apply(for_epoch(event, epoch), policy)
        if self._fallback == OPEN and decision.retry_after == FOREVER:
            decision = decision._replace(retry_after=self.outage.until_next_try())
        return decision._replace(epoch=epoch)

    def _instead(self, error: BaseException, event: Event, policy: Policy) -> Decision:
        """Decide what the store didn't: busy is not away, and the next one may be answered."""
        decision = self.decide(event, policy)
        return decision._replace(lasting=False) if isinstance(error, StoreBusyError) else decision

    def _lost(self, epoch: int, error: BaseException) -> bool:
        """Note the error, and tell whether this decision has to be made without the store."""
        if isinstance(error, StoreUnavailableError):
            self.outage.failed(epoch, error)
            return True
        self.outage.abandoned(epoch)
        return isinstance(error, StoreBusyError)

    def _answered(self, epoch: int, decision: Decision) -> Decision:
        epoch = self.outage.succeeded(epoch)
        if self._local is not None:
            with self.outage.lock:
                if epoch == self.outage.epoch:  # not an answer from before the store went away
                    self._local = None  # the shared record rules again
        return decision._replace(epoch=epoch) if epoch else decision

    def _machine(self) -> CircuitMemoryStorage:
        """Return this circuit's machine, the same one until the store has answered for this circuit."""
        with self.outage.lock:
            if self._local is None:
                self._local = self._new_machine()
            return self._local

    def _new_machine(self) -> CircuitMemoryStorage:
        machine = CircuitMemoryStorage(self._fallback)
        if self._fallback == OPEN:
            machine.go_on_with(Record(OPEN, generation=1, open_until=FOREVER))
        return machine


def for_epoch(event: Event, epoch: int) -> Event:
    """Return the event, or a mere look when it reports on a permit of another machine."""
    if event.kind not in REPORTS or event.epoch == epoch or (event.epoch % 2 == 0 and epoch == 0):
        return event
    return READ


def for_store(event: Event, epoch: int) -> Event:
    """Return the event as the store gets it; an odd epoch on it marks the trial that may end an outage."""
    if event.epoch == epoch and epoch % 2 == 0:  # as always while all is well
        return event
    return for_epoch(event, 0)._replace(epoch=epoch)


def _bare(error: BaseException) -> BaseException:
    """Return the error without what it holds on to: the frames in which it was raised, and their sockets."""
    error.__cause__ = error.__context__ = None
    return error.with_traceback(None)


def _text(error: BaseException) -> str:
    try:
        text = ARGUMENTS.sub(r"\1 ...", f"{type(error).__name__}: {error}")
    except Exception:  # noqa: BLE001  an error that can't be told must not become another one
        return type(error).__name__
    if TOO_OLD in text:
        text = f"needs Redis 5 or newer; {text}"
    return text if len(text) <= ERROR_LENGTH else f"{text[:ERROR_LENGTH]} ..."
