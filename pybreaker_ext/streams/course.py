"""One stream from its ask to its end: what is known of it, and what that means. Nothing here waits."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.errors import FailedResult, IncompleteStreamError
from pybreaker_ext.outcome import SUCCESS, Outcome
from pybreaker_ext.streams.rules import NO_RULES, Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.storage.view import Permit
    from pybreaker_ext.streaming import CircuitStreams
    from pybreaker_ext.streams.watchdog import Watch

logger = logging.getLogger("pybreaker_ext.streams")

#: A lease is renewed so many times while it would last.
RENEWALS: Final = 3

#: No outcome: a probe has sent, and isn't dead.
RENEWAL: Final = Outcome("renew")

#: The two colours.
SYNC: Final = "sync"
ASYNC: Final = "async"

_NO_CHUNK: Final = object()
_FAULT: Final = "A rule failed to judge a stream, which counts as a failure"


class Course:
    """One stream.

    Args:
        breaker: Through which it goes.
        func: The function that returns it.
        args: The function's arguments.
        kwargs: The function's keyword arguments.
        rules: What is asked of it.
        made: What the function has returned already.
    """

    __slots__ = (
        "_began",
        "_flows",
        "_last",
        "_renew_at",
        "_settled",
        "_verdict",
        "args",
        "begun",
        "breaker",
        "close",
        "func",
        "kwargs",
        "made",
        "permit",
        "rules",
        "stream",
        "watch",
    )

    permit: Permit
    #: When it was first asked for a chunk, if somebody looks at the clock.
    _began: float

    def __init__(
        self,
        breaker: CircuitStreams,
        func: Any,
        args: Any,
        kwargs: Any,
        rules: Rules = NO_RULES,
        made: Any = None,
    ) -> None:
        self.breaker = breaker
        self.func = func
        self.args = args
        self.kwargs = kwargs
        self.rules = rules
        self.made = made
        #: How it is iterated: `SYNC`, `ASYNC` or not yet.
        self.begun = ""
        #: What the function returned, or what its context manager gave.
        self.stream: Any = None
        #: What closes it, or returns an awaitable that does; takes the error with which it has ended.
        self.close: Callable[[BaseException | None], Any] | None = None
        #: What ends its waits, of threads.
        self.watch: Watch | None = None
        #: Whether its outcome is reported.
        self._settled = False
        self._renew_at = math.inf
        #: Whether a chunk has come.
        self._flows = False
        #: The last chunk that isn't blank.
        self._last: Any = _NO_CHUNK
        #: An error that nobody need judge, and what it is.
        self._verdict: tuple[BaseException, str] | None = None

    def begin(self, colour: str) -> None:
        """Note that it is iterated.

        Raises:
            RuntimeError: It was before.
        """
        if self.begun:
            message = "a stream can be iterated once; call the function again for another one"
            raise RuntimeError(message)
        self.begun = colour
        if self.rules.timed:
            self._began = time.monotonic()

    def call(self) -> Any:
        """Call the function, and return what it returns."""
        return self.func(*self.args, **self.kwargs) if self.made is None else self.made

    def admitted(self, permit: Permit) -> None:
        """Note its permit."""
        self.permit = permit
        if permit.token:
            self._renew_later()

    @property
    def watches(self) -> bool:
        """Whether chunks must be looked at, and not only passed on."""
        rules = self.rules
        return bool(self.permit.token) or rules.timed or rules.complete is not None or rules.failure_chunk is not None

    def news(self, chunk: Any) -> Outcome | None:
        """Note a chunk; return a failure that it tells of, or `RENEWAL` when a third of a lease is over."""
        self._flows = True
        kind = type(chunk)
        if (
            kind is not str and kind is not bytes
        ) or chunk.strip():  # blank lines part a stream's events, and end nothing
            self._last = chunk
        if self._settled:
            return None
        if self._has_failed(chunk):
            return Outcome("failure", FailedResult(chunk))
        if self._renew_at == math.inf or self.breaker._local.clock() < self._renew_at:
            return None
        self._renew_later()
        return RENEWAL

    def settles(self) -> bool:
        """Tell whether its outcome has still to be reported, which the caller then does."""
        settled, self._settled = self._settled, True
        return not settled

    def ended(self) -> Outcome:
        """Return what it means that the stream has ended by itself.

        Raises:
            IncompleteStreamError: It has ended too early.
        """
        self._verdict = None
        complete, last = self.rules.complete, self._last
        if complete is None:
            return SUCCESS
        try:
            whole = last is not _NO_CHUNK and bool(complete(last))
        except Exception:
            logger.exception(_FAULT)
            return Outcome("failure", FailedResult(last))
        if not whole:
            raise self.failed(IncompleteStreamError())
        return SUCCESS

    def failed(self, error: Exception) -> Exception:
        """Return an error of ours, which is a failure whatever the breaker's rules say."""
        self._know(error, "failure")
        return error

    def neutral(self, error: BaseException) -> BaseException:
        """Return an error that says nothing about the backend."""
        self._know(error, "neutral")
        return error

    def _know(self, error: BaseException, kind: str) -> None:
        if not self._settled:  # else nobody asks, and nobody would forget it
            self._verdict = (error, kind)

    def outcome(self, error: BaseException) -> Outcome:
        """Return what it means that the stream has ended with an error."""
        if self._verdict is not None:
            known, kind = self._verdict
            self._verdict = None  # or the error's frames and this would keep each other
            if any(each is known for each in _chain(error)):
                return Outcome(kind, error)
        return self.breaker._judged_error(self.permit, error)

    def patience(self) -> float:
        """Return the seconds for which the next chunk may be waited for."""
        if self._flows:
            return math.inf if self.rules.chunk_timeout is None else self.rules.chunk_timeout
        if self.rules.first_chunk_timeout is None:
            return math.inf
        return self._began + self.rules.first_chunk_timeout - time.monotonic()

    def stalled(self) -> Exception:
        """Return the error of a stream whose next chunk did not come in time."""
        which, name = ("next", "chunk_timeout") if self._flows else ("first", "first_chunk_timeout")
        message = f"the stream's {which} chunk did not come in {name}={getattr(self.rules, name):g} seconds"
        return self.failed(TimeoutError(message))

    def _renew_later(self) -> None:
        self._renew_at = self.breaker._local.clock() + self.breaker._probe_timeout / RENEWALS

    def _has_failed(self, chunk: Any) -> bool:
        failure_chunk = self.rules.failure_chunk
        if failure_chunk is None:
            return False
        try:
            return bool(failure_chunk(chunk))
        except Exception:
            logger.exception(_FAULT)
            return True


def _chain(error: BaseException) -> list[BaseException]:
    """Return an error, and those while which others were raised that led to it."""
    found = [error]
    while (cause := found[-1].__context__) is not None and not any(each is cause for each in found):
        found.append(cause)
    return found
