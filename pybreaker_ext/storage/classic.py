"""pybreaker's own storage API, for all storages that have our one verb.

Programs that look at `storage.state` or set `storage.opened_at`, and plain pybreaker breakers that
are given one of our storages, find what they expect. What they write is taken as a foreign write:
adopted, with a new generation.
"""

from __future__ import annotations

from abc import abstractmethod
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import pybreaker

from pybreaker_ext.errors import told
from pybreaker_ext.machine import STATES, Decision, Event, Policy, adopt

if TYPE_CHECKING:
    from collections.abc import Callable

    from pybreaker_ext.machine import Record

READ: Final = Event("read")
DEFAULTS: Final = Policy()


def check_state(argument: str, state: str) -> str:
    """Return `state` as a plain string; raise ValueError naming `argument` if it isn't one."""
    if state not in STATES:
        message = f"{argument} must be 'closed', 'open' or 'half-open', not {told(state)}"
        raise ValueError(message)
    return str(state)


def check_namespace(namespace: str, argument: str = "namespace") -> str:
    """Return `namespace`; raise TypeError or ValueError if it can't name a circuit."""
    if not isinstance(namespace, str):
        message = f"{argument} must be a text, not {told(namespace)}"
        raise TypeError(message)
    if not namespace:
        message = f"{argument} must have at least one character, and it is ''"
        raise ValueError(message)
    try:
        namespace.encode()
    except UnicodeEncodeError:
        message = f"{argument} must be a text that UTF-8 can encode, not {namespace!r}"
        raise ValueError(message) from None
    return namespace


class ReadableStorage(pybreaker.CircuitBreakerStorage):
    """pybreaker's getters, by one read that changes nothing; its setters are for subclasses."""

    @abstractmethod
    def apply(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""

    @abstractmethod
    async def apply_async(self, event: Event, policy: Policy) -> Decision:
        """Apply one event atomically and return the decision."""

    def _read(self) -> Record:
        return self.apply(READ, DEFAULTS).after

    @property
    def state(self) -> str:
        """The circuit's state, one of `closed`, `open` and `half-open`."""
        return self._read().state

    @state.setter
    def state(self, state: str) -> None:
        self._set_state(check_state("state", state))

    @property
    def counter(self) -> int:
        """Consecutive failures."""
        return self._read().fail_counter

    @property
    def success_counter(self) -> int:
        """Successes since the circuit went half-open."""
        return self._read().success_counter

    @property
    def opened_at(self) -> datetime | None:
        """When the circuit was opened last, or None; the store's clock is turned into the caller's."""
        decision = self.apply(READ, DEFAULTS)
        if not decision.after.opened_at:
            return None
        return datetime.now(UTC) - timedelta(milliseconds=decision.now - decision.after.opened_at)

    @opened_at.setter
    def opened_at(self, moment: datetime) -> None:
        self._set_opened_at(moment)

    @abstractmethod
    def _set_state(self, state: str) -> None:
        """Write the state."""

    @abstractmethod
    def _set_opened_at(self, moment: datetime) -> None:
        """Write when the circuit was opened."""


class ClassicStorage(ReadableStorage):
    """pybreaker's setters too, for storages whose record can be rewritten in one step."""

    #: The policy that was applied last; an opening by pybreaker's setters lasts its `reset_timeout`.
    _policy: Policy = DEFAULTS

    @abstractmethod
    def _rewrite(self, rewritten: Callable[[Record, int], Record]) -> None:
        """Replace the record by `rewritten(record, now in ms)`, atomically."""

    def _set_state(self, state: str) -> None:
        self._rewrite(lambda record, ms: adopt(record, state, record.opened_at, self._policy, ms))

    def _set_opened_at(self, moment: datetime) -> None:
        age = int((datetime.now(UTC) - moment).total_seconds() * 1000)
        self._rewrite(lambda record, ms: record._replace(opened_at=max(1, ms - age)))

    def increment_counter(self) -> None:
        """Increase the failure counter by one."""
        self._rewrite(lambda record, _: record._replace(fail_counter=record.fail_counter + 1))

    def reset_counter(self) -> None:
        """Set the failure counter to zero."""
        self._rewrite(lambda record, _: record._replace(fail_counter=0))

    def increment_success_counter(self) -> None:
        """Increase the success counter by one."""
        self._rewrite(lambda record, _: record._replace(success_counter=record.success_counter + 1))

    def reset_success_counter(self) -> None:
        """Set the success counter to zero."""
        self._rewrite(lambda record, _: record._replace(success_counter=0))
