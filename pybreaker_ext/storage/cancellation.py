"""Commands of asyncio tasks that may be cancelled: sent once, carried out to the end, and no permit lost."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pybreaker_ext.machine import ADMITTED, Decision, Event, Policy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    Apply = Callable[[Event, Policy], Coroutine[Any, Any, Decision]]

#: The event loop keeps only weak references to its tasks.
_running: set[asyncio.Task[Decision]] = set()


async def carried_out(apply: Apply, event: Event, policy: Policy) -> Decision:
    """Return `await apply(event, policy)`; if the caller is cancelled meanwhile, finish without it.

    A report then still arrives. An ask whose answer nobody waits for gives its permit back.
    """
    task = _start(apply(event, policy))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if event.kind == "ask":
            task.add_done_callback(lambda done: _give_back(done, apply, event, policy))
        raise


def _start(coroutine: Coroutine[Any, Any, Decision]) -> asyncio.Task[Decision]:
    task = asyncio.get_running_loop().create_task(coroutine)
    _running.add(task)
    task.add_done_callback(_running.discard)
    return task


def _give_back(asked: asyncio.Task[Decision], apply: Apply, event: Event, policy: Policy) -> None:
    if asked.cancelled() or asked.exception() is not None:
        return
    decision = asked.result()
    if decision.verdict == ADMITTED and event.token in decision.after.permits:
        report = Event("neutral", event.token, decision.after.generation, epoch=decision.epoch)
        _start(apply(report, policy))
