"""What a worker notes of each call, and what may never be found in such notes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

OK, FAILED, TRIPPED, REJECTED = "ok", "failed", "tripped", "rejected"
#: The function ran, and its caller got neither its result nor its error.
LOST: Final = "lost"
#: The process was killed before the caller got anything: what the backend did may have been counted, or not.
UNENDED: Final = "unended"
ALLOWED: Final = frozenset({OK, FAILED, TRIPPED, REJECTED, UNENDED})

#: Seconds for which a worker may rely on what it has seen.
STALENESS: Final = 0.1
#: Seconds by which a rejection's `retry_after` may be rounded up.
ROUNDED: Final = 0.002


class Call(NamedTuple):
    """One call. Instants are seconds on the machine's monotonic clock, which all processes share."""

    worker: int
    began: float
    #: When the function began, 0.0 if it didn't run.
    ran: float
    #: Infinite if it hasn't.
    ended: float
    #: Seconds that the call took beyond its function, so far.
    delay: float
    #: One of ALLOWED, LOST, or an error that no caller should see.
    verdict: str
    #: Seconds for which an open circuit said that it will reject; 0.0 when it was none.
    open_for: float
    #: Who decided, before and after (see `storage/outage.py`): an even number is the store. Of a call that
    #: hasn't ended, "after" is when its function began.
    epochs: tuple[int, int]

    @property
    def alone(self) -> bool:
        """Whether the worker decided without the store all the time."""
        return self.epochs[0] == self.epochs[1] and self.epochs[0] % 2 == 1


def strange(calls: Iterable[Call]) -> Iterator[str]:
    """Tell of calls whose callers got what they never should."""
    for call in calls:
        if call.verdict not in ALLOWED:
            yield f"a caller of worker {call.worker} got: {call.verdict}"


def against_knowledge(calls: Sequence[Call]) -> Iterator[str]:
    """Tell of functions that ran although all who could decide knew of an open circuit.

    One worker that is turned away by the store tells that the circuit is open for so long. Whoever
    begins a call more than `max_staleness` later asks the store, and must be turned away, too,
    until that time is over. While the store is away, this holds for each worker by itself. A
    worker for which the store has just gone, or come back, may rely as long on what it knew before.
    """
    decided: dict[tuple[int, int], list[Call]] = {}
    for call in calls:
        decided.setdefault((call.worker, call.epochs[1]), []).append(call)
    together: list[Call] = []
    for (_worker, epoch), seen in decided.items():
        settled = min(call.ended for call in seen) + STALENESS if epoch else 0.0
        same = [call for call in seen if call.epochs[0] == epoch and call.began > settled]
        if epoch % 2:
            yield from _ran_while_open(same, 0.0)
        else:
            together += same
    yield from _ran_while_open(together, STALENESS)


def _ran_while_open(calls: list[Call], staleness: float) -> Iterator[str]:
    known = [
        (call.ended + staleness, call.began + call.open_for - ROUNDED)
        for call in calls
        if call.verdict == REJECTED and call.open_for
    ]
    closed = _joined(sorted(span for span in known if span[0] < span[1]))
    for call in calls:
        for start, end in closed:
            if call.ran and start < call.began and call.ran < end:
                after, early = 1000 * (call.began - start), 1000 * (end - call.ran)
                when = f"{after:.0f} ms after all knew, {early:.0f} ms too early"
                yield f"worker {call.worker} called the backend in an open circuit, {when}, epoch {call.epochs[0]}"


def _joined(spans: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return spans of time with those that overlap made one; there are thousands of equal ones."""
    joined: list[tuple[float, float]] = []
    for start, end in spans:
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        else:
            joined.append((start, end))
    return joined
