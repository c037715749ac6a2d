"""Commands of asyncio tasks that may be cancelled: sent once, carried out to the end, and no permit lost.

A command runs in a task of its own, so that its caller's cancellation doesn't cut it off. When the
loop itself ends, it cancels that task, too; what then matters to others, a probe's place, is given
back by a thread, which needs no loop. A token settles once, so nothing is counted twice.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from typing import TYPE_CHECKING, Any, Final

from pybreaker_ext.machine import ADMITTED, Decision, Event, Policy

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from pybreaker_ext.storage import Storage

#: Seconds that the end of a loop waits for commands under way.
ENDING_TIME: Final = 5.0

#: The event loop keeps only weak references to its tasks.
_running: set[asyncio.Task[Decision]] = set()


async def carried_out(
    command: Coroutine[Any, Any, Decision], storage: Storage, event: Event, policy: Policy
) -> Decision:
    """Return what `command` returns; if the caller is cancelled meanwhile, finish without it.

    A report then still arrives. An ask whose answer nobody waits for gives its permit back.

    Args:
        command: Applies the event; it is not awaited by anybody else.
        storage: What the command asks.
        event: The event.
        policy: The policy.
    """
    task = _start(command, storage, event, policy)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if event.kind == "ask":
            task.add_done_callback(lambda done: _give_back(done, storage, event, policy))
        raise


def in_background(storage: Storage, event: Event, policy: Policy) -> None:
    """Apply the event without waiting for it; for callers that are being cancelled."""
    if in_loop():
        _start(storage.apply_async(event, policy), storage, event, policy)
    else:  # a coroutine is closed after its loop
        _in_thread(storage, event, policy)


def unawaited(storage: Storage, event: Event, policy: Policy) -> None:
    """Apply the event; when an event loop is running, without waiting for it."""
    if in_loop():
        in_background(storage, event, policy)
    else:
        storage.apply(event, policy)


def in_loop() -> bool:
    """Tell whether this thread is running an event loop."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def finished() -> None:
    """Wait until the running loop's commands are done; called before its connections are closed."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(0)  # the loop closes all its generators at once, and streams among them report that
    mine = [task for task in list(_running) if task.get_loop() is loop]  # other loops' threads change the set
    if mine:
        await asyncio.wait(mine, timeout=ENDING_TIME)


def forget_closed_loops() -> None:
    """Let go of tasks that can't ever end, because somebody closed their loop."""
    for task in [task for task in list(_running) if task.get_loop().is_closed()]:
        _running.discard(task)


def _start(
    command: Coroutine[Any, Any, Decision], storage: Storage, event: Event, policy: Policy
) -> asyncio.Task[Decision]:
    task = asyncio.get_running_loop().create_task(command)
    _running.add(task)
    task.add_done_callback(_running.discard)
    task.add_done_callback(lambda done: _finish_elsewhere(done, storage, event, policy))
    return task


def _give_back(asked: asyncio.Task[Decision], storage: Storage, event: Event, policy: Policy) -> None:
    if asked.cancelled() or asked.exception() is not None:
        return
    report = _returned(event, asked.result())
    if report is not None:
        in_background(storage, report, policy)


def _finish_elsewhere(task: asyncio.Task[Decision], storage: Storage, event: Event, policy: Policy) -> None:
    """When a probe's command was cut off by the end of its loop: give its place back all the same."""
    if task.cancelled() and event.token:
        _in_thread(storage, event, policy)


def _in_thread(storage: Storage, event: Event, policy: Policy) -> None:
    thread = threading.Thread(target=_settle, args=(storage, event, policy), name="pybreaker_ext")
    with contextlib.suppress(RuntimeError):  # the interpreter is ending: the lease will have to do
        thread.start()


def _settle(storage: Storage, event: Event, policy: Policy) -> None:
    """Apply a report; ask again for an ask, whose token gets the same answer, and give the permit back."""
    decision = storage.apply(event, policy)
    report = _returned(event, decision)
    if report is not None:
        storage.apply(report, policy)


def _returned(event: Event, decision: Decision) -> Event | None:
    """Return the report that gives back the permit of an ask; None when it got none, or is no ask."""
    if event.kind != "ask" or decision.verdict != ADMITTED or event.token not in decision.after.permits:
        return None
    return Event("neutral", event.token, decision.after.generation, epoch=decision.epoch)
