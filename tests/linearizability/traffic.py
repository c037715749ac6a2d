"""What the recorded processes do: calls of all kinds and endings, streams, readings and manual control."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import pybreaker_ext
from linearizability.orders import ORDERS, Orders
from linearizability.recorder import KEPT, Recorder, current
from pybreaker_ext.storage import outage, sqlite_file
from pybreaker_ext.storage.urls import from_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

#: Short times, so that all states are seen many times in a second.
SETTINGS: Final[dict[str, Any]] = {
    "fail_max": 3,
    "reset_timeout": 0.02,
    "success_threshold": 2,
    "half_open_max_calls": 2,
    "probe_timeout": 0.06,
    "backoff": pybreaker_ext.Backoff(2.0, maximum=0.1, jitter=0.5),
}
#: What each thread or task does at least, however slow the machine is.
LEAST: Final = 10
#: Calls at once in one process.
THREADS: Final = 2
TASKS: Final = 4

SYNC: Final = "sync"
ASYNC: Final = "asyncio"


class BackendError(Exception):
    """A failure."""


class CallersError(Exception):
    """The caller's own mistake, which counts as nothing."""


class LaterError(Exception):
    """The backend asks to be left alone."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


@dataclass(frozen=True)
class Plan:
    """One process's part of a round."""

    url: str
    name: str
    path: Path
    colour: str
    max_staleness: float
    seed: int
    #: Seconds that an operation waits for its store, and from one look for a store that is away to the next.
    patience: float
    retry: float


@dataclass
class Player:
    """One thread or task: what it does is chance, and the same each time for the same seed."""

    breaker: Any
    recorder: Recorder
    luck: random.Random
    orders: Orders
    call: int = field(default=0, init=False)
    deeds: int = field(default=0, init=False)

    def goes_on(self) -> bool:
        return not self.orders.over or self.deeds < LEAST

    def begin(self) -> None:
        self.deeds += 1
        self.call = self.recorder.call()
        current.set(self.call)

    def backend(self) -> str:
        """Begin to run; return how this will end."""
        self.recorder.ran(self.call)
        (ending,) = self.luck.choices(["success", "failure", "neutral", "hold"], [60, 30, 6, 4])
        return ending

    def finish(self, ending: str) -> None:
        self.recorder.returned(self.call)
        if ending == "failure":
            raise BackendError
        if ending == "neutral":
            raise CallersError
        if ending == "hold":
            raise LaterError(self.luck.uniform(0.005, 0.05))

    def pause(self) -> float:
        """Seconds in the backend: seldom longer than a lease."""
        return self.luck.choice([0, 0, 0, 0.001, 0.003, 0.01, 0.08])

    def breath(self, outcome: str) -> float:
        """Seconds until the next call: a rejected caller doesn't hammer on."""
        return self.luck.uniform(0, 0.01) if outcome == "rejected" else 0

    def deed(self) -> str:
        names = ["call", "stream", "read", "open", "half_open", "close", "reset"]
        (chosen,) = self.luck.choices(names, [80, 12, 5, 1, 1, 0.5, 0.5])
        return chosen


def work(plan: Plan) -> int:
    """Do one process's part."""
    logging.disable(logging.WARNING)  # that a store is away is what is wanted here
    vars(sqlite_file).update(LOCK_TIMEOUT=plan.patience)
    vars(outage).update(RETRY_INTERVAL=plan.retry)
    storage = from_url(plan.url, plan.name, history=KEPT)
    orders = Orders(plan.path.with_name(ORDERS))
    recorder = Recorder(plan.path, orders)
    recorder.attach(storage)
    breaker = pybreaker_ext.CircuitBreaker(
        state_storage=storage,
        ignore=[CallersError],
        hold_for=lambda error: getattr(error, "seconds", None),
        max_staleness=plan.max_staleness,
        **SETTINGS,
    )
    number = TASKS if plan.colour == ASYNC else THREADS
    players = [Player(breaker, recorder, random.Random(f"{plan.seed} {n}"), orders) for n in range(number)]
    if plan.colour == ASYNC:
        asyncio.run(_all_async(players))
    else:
        _all(players)
    return os.getpid()


def _all(players: list[Player]) -> None:
    faults: list[BaseException] = []

    def played(player: Player) -> None:
        try:
            _play(player)
        except BaseException as error:  # noqa: BLE001  the round shall see it
            faults.append(error)

    threads = [threading.Thread(target=played, args=(player,)) for player in players]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


async def _all_async(players: list[Player]) -> None:
    async with asyncio.TaskGroup() as group:
        for player in players:
            group.create_task(_play_async(player))


def _play(player: Player) -> None:
    while player.goes_on():
        player.begin()
        deed = player.deed()
        if deed in ("call", "stream"):
            outcome = _ending(lambda: _consume(player) if deed == "stream" else player.breaker.call(_call, player))  # noqa: B023
            player.recorder.end(player.call, outcome)
            time.sleep(player.breath(outcome))
        elif deed == "read":
            player.breaker.snapshot()
        else:
            getattr(player.breaker, deed)()


async def _play_async(player: Player) -> None:
    while player.goes_on():
        player.begin()
        deed = player.deed()
        if deed in ("call", "stream"):
            made = player.breaker.call_async(_call_async, player) if deed == "call" else _consume_async(player)
            outcome = await _ending_async(made, player)
            player.recorder.end(player.call, outcome)
            await asyncio.sleep(player.breath(outcome))
        elif deed == "read":
            await player.breaker.snapshot_async()
        else:
            await getattr(player.breaker, f"{deed}_async")()


def _call(player: Player) -> None:
    ending = player.backend()
    time.sleep(player.pause())
    player.finish(ending)


async def _call_async(player: Player) -> None:
    ending = player.backend()
    await asyncio.sleep(player.pause())
    player.finish(ending)


def _chunks(player: Player) -> Iterator[str]:
    """Yield for longer than a lease lasts; each chunk renews it."""
    ending = player.backend()
    for _ in range(4):
        time.sleep(0.025)
        yield "chunk"
    player.finish(ending)


async def _chunks_async(player: Player) -> AsyncIterator[str]:
    """Yield for longer than a lease lasts; each chunk renews it."""
    ending = player.backend()
    for _ in range(4):
        await asyncio.sleep(0.025)
        yield "chunk"
    player.finish(ending)


def _consume(player: Player) -> None:
    for _ in player.breaker.stream(_chunks, player):
        pass


async def _consume_async(player: Player) -> None:
    async for _ in player.breaker.stream(_chunks_async, player):
        pass


def _ending(call: Callable[[], Any]) -> str:
    try:
        call()
    except pybreaker_ext.CircuitBreakerError as error:
        return "failure" if error.__cause__ is not None else "rejected"
    except (BackendError, CallersError, LaterError) as error:
        return _kind(error)
    return "success"


async def _ending_async(call: Any, player: Player) -> str:
    """Await a call; one in twenty is cancelled instead, wherever it is by then."""
    try:
        if player.luck.random() < 0.05:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(player.luck.uniform(0, 0.01)):
                    await call
            return ""
        await call
    except pybreaker_ext.CircuitBreakerError as error:
        return "failure" if error.__cause__ is not None else "rejected"
    except (BackendError, CallersError, LaterError) as error:
        return _kind(error)
    return "success"


def _kind(error: Exception) -> str:
    return {BackendError: "failure", CallersError: "neutral", LaterError: "hold"}[type(error)]
