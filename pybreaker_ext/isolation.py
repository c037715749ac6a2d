"""Many calls side by side, none of which harms another: an error is that call's own, and so is a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import inspect
import logging
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple, TypeVar, cast

from pybreaker_ext import settings
from pybreaker_ext.kinds import COROUTINE, kind_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Iterable, Iterator

__all__ = ("Outcome", "run_isolated", "run_isolated_async")

R = TypeVar("R")

logger = logging.getLogger("pybreaker_ext.isolation")

_WRONG_COLOUR: Final = "it is for asyncio: use run_isolated_async"


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """What one of many calls came to.

    Attributes:
        index: Its place among the calls, from 0.
        value: What it returned; None if it didn't.
        error: What it raised, an `asyncio.CancelledError` when it was cancelled; None if it returned.
        seconds: How long it ran.
    """

    index: int
    value: R | None = None
    error: BaseException | None = None
    seconds: float = 0.0

    def unwrap(self) -> R:
        """Return the value, or raise the error."""
        if self.error is None:
            return cast("R", self.value)
        try:
            raise self.error
        finally:
            del self  # or the error's traceback and this would keep each other alive


def run_isolated(
    calls: Iterable[Callable[[], R]],
    *,
    limit: int,
    backend_of: Callable[[Any], Hashable] | None = None,
    progress: Callable[[Outcome[R]], object] | None = None,
) -> list[Outcome[R]]:
    """Make many calls in threads, at most `limit` of them at once, and return what each came to.

    An error of one call is its own: all others are made. Ctrl-C, and whatever else is no
    `Exception`, ends the whole: no further call begins, those that run are waited for, because
    nothing can end a thread, and the error is raised. So is an error of `calls` itself.

    Args:
        calls: Functions without arguments, such as `functools.partial(ask, question)`. Read as there
            is place, so it may be a generator of any length.
        limit: Calls at once, 1 or more.
        backend_of: Tells which backend a call is for, as anything hashable. A free place is then
            given to the backend with the fewest calls running, so that one that hangs doesn't keep
            the others waiting. `calls` is read to its end first.
        progress: Told each outcome when it is there, in this thread. An `Exception` that it raises
            is logged.

    Returns:
        One outcome for each call, in the order of the calls.

    Raises:
        TypeError: `limit` is no whole number, or one of the calls can't be called, or is for asyncio.
        ValueError: `limit` is below 1.
    """
    plan = _Plan(calls, limit, backend_of, progress)
    ended: SimpleQueue[Outcome[R]] = SimpleQueue()
    with ThreadPoolExecutor(plan.limit, "pybreaker_ext.isolation") as pool:
        while True:
            for job in plan.startable():
                if kind_of(job.call) is COROUTINE:
                    message = f"{job.call!r} can't run in a thread; {_WRONG_COLOUR}"
                    raise TypeError(message)
                pool.submit(contextvars.copy_context().run, _run, job, ended)
            if not plan.running:
                return plan.outcomes()
            plan.end(ended.get())


async def run_isolated_async(
    calls: Iterable[Callable[[], Awaitable[R]]],
    *,
    limit: int,
    backend_of: Callable[[Any], Hashable] | None = None,
    progress: Callable[[Outcome[R]], object] | None = None,
) -> list[Outcome[R]]:
    """Make many calls in tasks of their own, at most `limit` of them at once, and return what each came to.

    An error or a cancellation of one call is its own: all others are made. Cancelling the whole
    cancels all that run and waits for them; nothing else begins. The same happens when one ends
    with Ctrl-C, or whatever else is neither an `Exception` nor a cancellation, or when `calls`
    itself raises; the error is raised then.

    Args:
        calls: Functions without arguments that return something to await, such as
            `functools.partial(ask, question)`. Read as there is place, so it may be a generator of
            any length.
        limit: Calls at once, 1 or more.
        backend_of: Tells which backend a call is for, as anything hashable. A free place is then
            given to the backend with the fewest calls running, so that one that hangs doesn't keep
            the others waiting. `calls` is read to its end first.
        progress: Told each outcome when it is there. An `Exception` that it raises is logged.

    Returns:
        One outcome for each call, in the order of the calls.

    Raises:
        TypeError: `limit` is no whole number, or one of the calls can't be called.
        ValueError: `limit` is below 1.
    """
    plan = _Plan(calls, limit, backend_of, progress)
    ended: asyncio.Queue[Outcome[Any]] = asyncio.Queue()
    tasks: set[asyncio.Task[Outcome[Any]]] = set()

    def begin(job: _Job) -> None:
        task = asyncio.create_task(_run_async(job))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        task.add_done_callback(lambda task: ended.put_nowait(_outcome_of(task, job)))

    try:
        while True:
            for job in plan.startable():
                begin(job)
            if not plan.running:
                return plan.outcomes()
            plan.end(await ended.get())
    finally:
        await _cancelled(tasks)


class _Job(NamedTuple):
    """One call, and its place among all."""

    place: int
    backend: Hashable
    call: Callable[[], Any]


class _Plan(Generic[R]):
    """What waits, how much runs, and what has ended. Nothing here waits."""

    def __init__(
        self,
        calls: Iterable[Callable[[], Any]],
        limit: int,
        backend_of: Callable[[Any], Hashable] | None,
        progress: Callable[[Outcome[R]], object] | None,
    ) -> None:
        self.limit = settings.whole_number("limit", limit)
        self.running = 0
        settings.function("backend_of", backend_of)
        self._progress = settings.function("progress", progress)
        #: Calls that run, by backend.
        self._places: Counter[Hashable] = Counter()
        self._waiting = _in_turns(calls, backend_of, self._places)
        self._jobs: dict[int, _Job] = {}
        self._ended: dict[int, Outcome[R]] = {}

    def startable(self) -> Iterator[_Job]:
        """Yield the calls for which there is place."""
        while self.running < self.limit and (job := next(self._waiting, None)) is not None:
            if not callable(job.call):
                _close(job.call)
                message = f"calls must hold functions without arguments only, not {job.call!r}"
                raise TypeError(message)
            self.running += 1
            self._places[job.backend] += 1
            self._jobs[job.place] = job
            yield job

    def end(self, outcome: Outcome[R]) -> None:
        """Note what a call came to, and tell it; raise what is more than that call's own."""
        error = outcome.error
        if error is not None and not issubclass(type(error), (Exception, asyncio.CancelledError)):
            raise error
        self.running -= 1
        self._places[self._jobs.pop(outcome.index).backend] -= 1
        self._ended[outcome.index] = outcome
        if self._progress is None:
            return
        try:
            self._progress(outcome)
        except Exception:
            logger.exception("The progress callback %r failed", self._progress)

    def outcomes(self) -> list[Outcome[R]]:
        """Return what has ended, in the order of the calls."""
        return [self._ended[index] for index in range(len(self._ended))]


def _in_turns(
    calls: Iterable[Callable[[], Any]], backend_of: Callable[[Any], Hashable] | None, running: Counter[Hashable]
) -> Iterator[_Job]:
    """Yield calls in their order, or next one of the backend that has the fewest running."""
    if backend_of is None:
        yield from (_Job(index, None, call) for index, call in enumerate(calls))
        return
    waiting: dict[Hashable, deque[_Job]] = {}
    for index, call in enumerate(calls):
        job = _Job(index, backend_of(call), call)
        waiting.setdefault(job.backend, deque()).append(job)
    while waiting:
        backend = min(waiting, key=running.__getitem__)
        yield waiting[backend].popleft()
        if not waiting[backend]:
            del waiting[backend]


def _run(job: _Job, ended: SimpleQueue[Outcome[Any]]) -> None:
    began = time.monotonic()
    try:
        value = job.call()
        if inspect.iscoroutine(value):
            _close(value)
            message = f"{job.call!r} returned a coroutine; {_WRONG_COLOUR}"
            raise TypeError(message)  # noqa: TRY301  it is the call's own
    except BaseException as error:  # noqa: BLE001  told to the thread that waits for it
        ended.put(Outcome(job.place, None, error, time.monotonic() - began))
    else:
        ended.put(Outcome(job.place, value, None, time.monotonic() - began))


async def _run_async(job: _Job) -> Outcome[Any]:
    began = time.monotonic()
    try:
        value = job.call()
        if inspect.isawaitable(value):
            value = await value
    except (Exception, asyncio.CancelledError) as error:  # noqa: BLE001  it is the call's own
        return Outcome(job.place, None, error, time.monotonic() - began)
    return Outcome(job.place, value, None, time.monotonic() - began)


def _outcome_of(task: asyncio.Task[Outcome[Any]], job: _Job) -> Outcome[Any]:
    if task.cancelled():  # before it began
        return Outcome(job.place, None, asyncio.CancelledError())
    error = task.exception()
    return task.result() if error is None else Outcome(job.place, None, error)


async def _cancelled(tasks: set[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait for them, however often somebody cancels this."""
    for task in list(tasks):
        task.cancel()
    while tasks:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait(list(tasks))
            await asyncio.sleep(0)  # their callbacks take them out of the set


def _close(found: Any) -> None:
    """Close a coroutine that nobody will await, or Python warns."""
    if inspect.iscoroutine(found):
        found.close()
