"""A breaker whose circuit is exchanged while a test runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybreaker_ext.machine import CLOSED
from pybreaker_ext.storage.view import STRICT
from pybreaker_ext.testing.outcomes import Recorder

if TYPE_CHECKING:
    from pybreaker_ext.breaker import CircuitBreaker
    from pybreaker_ext.storage.memory import CircuitMemoryStorage

_VERBS = ("apply", "apply_async", "history", "history_async")


class Takeover:
    """Puts a breaker onto another circuit, until it is given back.

    Functions that the breaker protects hold on to its view, and others may hold its storage. So both stay: the
    storage passes on what it is asked, and the view knows nothing, so that every call asks.

    Attributes:
        breaker: The breaker.
        recorder: What counts how the breaker's calls end.
    """

    def __init__(self, breaker: CircuitBreaker, storage: CircuitMemoryStorage) -> None:
        self.recorder = Recorder()
        self.breaker = breaker
        self._view = breaker._local.view
        self._verbs = {verb: vars(breaker._store)[verb] for verb in _VERBS if verb in vars(breaker._store)}
        for verb in _VERBS:
            setattr(breaker._store, verb, getattr(storage, verb))
        breaker._local.view = STRICT
        breaker.add_listener(self.recorder)
        self._forget(CLOSED)

    def give_back(self) -> None:
        """Put the breaker back onto its own circuit."""
        breaker: Any = self.breaker
        breaker.remove_listener(self.recorder)
        for verb in _VERBS:
            delattr(breaker._store, verb)
        vars(breaker._store).update(self._verbs)
        breaker._local.view = self._view
        self._forget(breaker._first_look())

    def _forget(self, state: str) -> None:
        """Forget what the breaker has heard of the circuit that it had; its listeners take it for `state`."""
        self.breaker._heard = None
        self.breaker._notifier.told = (-1, 0, state)
