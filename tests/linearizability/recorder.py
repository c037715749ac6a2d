"""Writes down what one process does, around the storage's own way to its store."""

from __future__ import annotations

import contextvars
import itertools
import json
import os
import time
from typing import TYPE_CHECKING, Any

from linearizability.history import LOCAL, STORE
from pybreaker_ext.storage.outage import StandIn
from pybreaker_ext.storage.sqlite_file import FileBusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from pathlib import Path

    from pybreaker_ext.machine import Decision, Event, Policy

#: The call at hand; tasks that a call makes inherit it.
current: contextvars.ContextVar[int] = contextvars.ContextVar("current", default=0)


class Recorder:
    """One process's file. Every line is with the operating system before anything else happens."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        self._numbers = itertools.count(1)

    def attach(self, storage: Any) -> None:
        """Record what a storage sends to its store, and what its stand-in decides."""
        storage._attempt = self._around(storage._attempt, STORE)
        storage._attempt_async = self._around_async(storage._attempt_async)
        if hasattr(storage, "_attempt_now"):
            storage._attempt_now = self._around(storage._attempt_now, STORE)
        stand_in = storage._stand_in
        stand_in.decide = self._around(stand_in.decide, LOCAL)
        stand_in.__class__ = self._forgetting()

    def call(self) -> int:
        """Note that a call begins, and return its number."""
        number = next(self._numbers)
        self._write("call", number, time.monotonic_ns(), time.time_ns() // 1_000_000)
        return number

    def ran(self, call: int) -> None:
        self._write("ran", call, time.monotonic_ns())

    def returned(self, call: int) -> None:
        self._write("returned", call, time.monotonic_ns())

    def end(self, call: int, outcome: str) -> None:
        self._write("end", call, time.monotonic_ns(), outcome)

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
            self._end(number, decision)
            return decision

        return recorded

    def _around_async(
        self, attempt: Callable[[Event, Policy], Coroutine[Any, Any, Decision]]
    ) -> Callable[[Event, Policy], Coroutine[Any, Any, Decision]]:
        async def recorded(event: Event, policy: Policy) -> Decision:
            number = self._begin(STORE, event, policy)
            decision = await attempt(event, policy)
            self._end(number, decision)
            return decision

        return recorded

    def _forgetting(self) -> type[StandIn]:
        """Return a stand-in of which each end is recorded: not every answer of the store ends it."""
        recorder = self

        class Forgetting(StandIn):
            def __setattr__(self, name: str, value: Any) -> None:
                began = time.monotonic_ns()
                super().__setattr__(name, value)
                if name == "_local" and value is None:
                    recorder._write("lost", next(recorder._numbers), began, time.monotonic_ns())

        return Forgetting
