"""The words in which a store is described from outside: places, glances, and what is seen there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pybreaker_ext.machine import Decision
    from pybreaker_ext.storage import Storage
    from pybreaker_ext.storage.history import Change

#: Changes that a circuit keeps which is set from outside: how many its own workers keep, nobody here knows,
#: and theirs must not be cut. The next change by one of them cuts to its own number.
MOST_CHANGES: Final = 1_000_000

#: Seconds after which a circuit expires that is set from outside, if it was to expire at all.
EXPIRY: Final = 86_400


class Place(NamedTuple):
    """Where one circuit is kept."""

    #: What a registry calls it; the namespace itself if no registry would; empty without a namespace.
    name: str
    namespace: str | None
    #: What the circuit's Redis keys begin with; empty in SQLite.
    prefix: bytes = b""


class Glance(NamedTuple):
    """The least that tells circuits that are well from others."""

    state: str
    fail_counter: int


class Seen(NamedTuple):
    """A circuit as it was read."""

    decision: Decision
    #: The last one that its history tells.
    change: Change | None = None


class Listing(Protocol):
    """What a store holds. Every method but `storage_at` raises StoreUnavailableError when the store can't be asked."""

    #: The store, in words, without a password.
    where: str

    def search(self, pages: int | None = None) -> Sequence[Place]:
        """Return the places that are known.

        A search with a number of `pages` goes on where the one before has ended, and reads no more than
        that; without, it looks everywhere.
        """
        ...

    @property
    def complete(self) -> bool:
        """Whether a search has looked everywhere at least once."""
        ...

    def find(self, name: str) -> Place | None:
        """Return the place of one circuit, without a search where the store allows it; None: there is none.

        Circuits that no registry would call so are left to a search.
        """
        ...

    def glance(self, places: Iterable[Place]) -> dict[Place, Glance]:
        """Return a glance at each circuit that is still there."""
        ...

    def read(self, places: Iterable[Place]) -> dict[Place, Seen]:
        """Read circuits."""
        ...

    def history(self, place: Place, limit: int) -> list[Change]:
        """Return the last `limit` changes of a circuit's state, the oldest first."""
        ...

    def storage_at(self, place: Place, worker: str) -> Storage:
        """Return the storage by which somebody called `worker` may set a circuit.

        Raises:
            StoreUnavailableError: The store can't be asked.
            ValueError: The circuit's name is no text.
        """
        ...

    def close(self) -> None:
        """Give back connections; the next question makes new ones."""
        ...
