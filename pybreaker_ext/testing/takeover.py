"""A breaker whose circuit is exchanged while a test runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.view import STRICT, UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.breaker import CircuitBreaker


class Takeover:
    """Gives a breaker an unused circuit in memory, until it is given back.

    Functions that the breaker protects hold on to its view, so that stays. The view of a shared store is
    made to know nothing, so that every call asks. A storage in memory is its own view: it stays, too, and
    gets another clock and an unused record.

    Attributes:
        storage: Where the circuit is meanwhile.
    """

    def __init__(self, breaker: CircuitBreaker, clock: Callable[[], float]) -> None:
        self.breaker = breaker
        self.storage: CircuitMemoryStorage
        self._before: list[tuple[Any, str, Any]] = []
        store = breaker._store
        if type(store) is CircuitMemoryStorage:
            self.storage = store
            self._exchange(store, _clock=clock, _changes=None)
            self._exchange(store.shown, clock=clock, view=UNKNOWN)
        else:
            self.storage = CircuitMemoryStorage(clock=clock)
            self._exchange(breaker, _store=self.storage, _state_storage=self.storage)
            self._exchange(breaker._local, view=STRICT)
        self._exchange(breaker, _heard=None)
        self._exchange(breaker._notifier, told=(-1, 0, breaker._first_look()))

    def give_back(self) -> None:
        """Put the breaker back onto its own circuit."""
        for thing, attribute, value in reversed(self._before):
            setattr(thing, attribute, value)

    def _exchange(self, thing: Any, **attributes: Any) -> None:
        for attribute, value in attributes.items():
            self._before.append((thing, attribute, getattr(thing, attribute)))
            setattr(thing, attribute, value)
