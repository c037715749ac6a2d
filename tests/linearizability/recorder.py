"""Writes down what one process does, around the storage's own way to its store."""

from __future__ import annotations

import contextvars
import itertools
import json
import os
import time
from typing import TYPE_CHECKING, Any, Final

from linearizability.history import LOCAL, STORE
from linearizability.orders import AFTER, BEFORE
from pybreaker_ext.machine import Policy
from pybreaker_ext.storage.outage import READ, StandIn
from pybreaker_ext.storage.sqlite_file import FileBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from linearizability.orders import Orders
    from pybreaker_ext.machine import Decision, Event
    from pybreaker_ext.storage.history import Change

#: Changes of state that the store keeps: more than a round makes.
KEPT: Final = 100_000

#: The call at hand; tasks that a call makes inherit it.
current: contextvars.ContextVar[int] = contextvars.ContextVar("current", default=0)


class Recorder:
    """One process's file. Every line is with the operating system before anything else happens.

    Args:
        path: The file.
        orders: Where the process shall stop itself, if it shall.
    """

    def __init__(self, path: Path, orders: Orders | None = None) -> None:
        self._orders = orders
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._numbers = itertools.count(1)

    def attach(self, storage: Any) -> None:
        """Record what a storage sends to its store, and what its stand-in decides."""
        storage._attempt = self._around(storage._attempt, STORE)
        storage._attempt_async = self._around_async(storage._attempt_async)
        if hasattr(storage, "_attempt_now"):
            storage._attempt_now = self._around(storage._attempt_now, STORE)
        # What comes before a command is sent, and what comes between a write to a file and its commit.
        last = "_arguments" if hasattr(storage, "_arguments") else "_remember"
        setattr(storage, last, self._stopping(getattr(storage, last)))
        stand_in = storage._stand_in
        stand_in.decide = self._around(stand_in.decide, LOCAL)
        stand_in.__class__ = self._forgetting()

    def call(self) -> int:
        """Note that a call begins, and return its number."""
        number = next(self._numbers)
        wall = time.time_ns() // 1_000_000  # read first: if the process is stopped in between, nothing seems later
        self._write("call", number, time.monotonic_ns(), wall)
        return number

    def ran(self, call: int) -> None:
        self._write("ran", call, time.monotonic_ns())

    def returned(self, call: int) -> None:
        self._write("returned", call, time.monotonic_ns())

    def end(self, call: int, outcome: str) -> None:
        self._write("end", call, time.monotonic_ns(), outcome)

    def lost(self, began: int, where: str) -> None:
        """Note that since `began` a record has been lost."""
        self._write("lost", next(self._numbers), began, time.monotonic_ns(), where)

    def kept(self, changes: list[Change]) -> None:
        """Note what the store has kept."""
        self._write("kept", changes)

    def _write(self, *line: Any) -> None:
        os.write(self._file, json.dumps(line).encode() + b"\n")

    def _begin(self, where: str, event: Event, policy: Policy) -> int:
        number = next(self._numbers)
        self._write("began", number, time.monotonic_ns(), where, current.get(), event, policy)
        return number

    def _end(self, number: int, decision: Decision | None) -> None:
        self._write("ended", number, time.monotonic_ns(), decision)

    def _around(self, attempt: Callable[[Event, Policy], Decision], where: str) -> Callable[[Event, Policy], Decision]:
        def recorded(event: Event, policy: Policy) -> Decision:
            number = self._begin(where, event, policy)
            try:
                decision = attempt(event, policy)
            except FileBusyError:  # which promises so
                self._write("unhappened", number, 0)
                raise
            if where == STORE:
                self._obey_after(decision)
            self._end(number, decision)
            return decision

        return recorded

    def _around_async(
        self, attempt: Callable[[Event, Policy], Coroutine[Any, Any, Decision]]
    ) -> Callable[[Event, Policy], Coroutine[Any, Any, Decision]]:
        async def recorded(event: Event, policy: Policy) -> Decision:
            number = self._begin(STORE, event, policy)
            decision = await attempt(event, policy)
            self._obey_after(decision)
            self._end(number, decision)
            return decision

        return recorded

    def _stopping(self, last: Callable[..., Any]) -> Callable[..., Any]:
        def stopping(*args: Any) -> Any:
            if self._orders is not None:
                self._orders.obey(BEFORE)
            return last(*args)

        return stopping

    def _obey_after(self, decision: Decision) -> None:
        if self._orders is not None and decision.after.generation != decision.old_generation:
            self._orders.obey(AFTER)

    def _forgetting(self) -> type[StandIn]:
        """Return a stand-in of which each end is recorded: not every answer of the store ends it."""
        recorder = self

        class Forgetting(StandIn):
            def __setattr__(self, name: str, value: Any) -> None:
                began = time.monotonic_ns()
                super().__setattr__(name, value)
                if name == "_local" and value is None:
                    recorder.lost(began, LOCAL)

        return Forgetting


class Observer:
    """Looks at a store, as the processes do, and knows what befalls it.

    Args:
        path: What it writes.
        storage: Of the circuit, and in no hurry.
    """

    def __init__(self, path: Path, storage: Any) -> None:
        self._recorder = Recorder(path)
        self._recorder.attach(storage)
        self._storage = storage

    def look(self) -> None:
        """Let all show that has happened."""
        self._storage.apply(READ, Policy())

    def lose_with(self, deed: Callable[[], list[Change]]) -> None:
        """Lose the record by a deed, which returns the changes of state that are lost with it."""
        began = time.monotonic_ns()
        changes = deed()
        self._recorder.lost(began, STORE)
        self._recorder.kept(changes)

    def end(self) -> None:
        """Look for the last time, and note what changes of state the store has kept."""
        self.look()
        self._recorder.kept(self._storage.history(KEPT))
