"""The store that a command line names, and the circuits in it that it means."""

from __future__ import annotations

import contextlib
import difflib
import getpass
import os
import socket
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

from pybreaker_ext.cli.ending import NOTHING_DONE, UNREACHABLE, Refused
from pybreaker_ext.cli.words import printable, quoted
from pybreaker_ext.errors import StoreUnavailableError
from pybreaker_ext.storage.history import LONGEST_NAME
from pybreaker_ext.storage.listing import listing_of
from pybreaker_ext.storage.turns import TIMEOUTS
from pybreaker_ext.stored import circuit_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from pybreaker_ext.storage.places import Listing, Place
    from pybreaker_ext.stored import StoredCircuit

#: Seconds that somebody who waits for an answer gives a server, if the URL says nothing else: no calls wait behind it.
PATIENCE: Final = 2


class Store:
    """A store with circuits.

    Raises:
        ValueError: `url` is no URL of a store that several processes can share.
    """

    def __init__(self, url: str) -> None:
        listing_of(url)  # so that an error tells of the URL as it was given
        self.listing: Listing = listing_of(_patient(url))
        #: Without user and password, and fit for a terminal.
        self.where = printable(listing_of(url).where)

    @contextlib.contextmanager
    def asked(self) -> Iterator[Listing]:
        """Give the listing, and refuse to go on when the store can't be asked."""
        try:
            yield self.listing
        except StoreUnavailableError as error:
            message = f"can't use {self.where}: {printable(str(error))}"
            raise Refused(message, UNREACHABLE) from error

    def places(self, patterns: Sequence[str]) -> list[Place]:
        """Return the circuits of these names or globs, all for none; refuse one that means nothing."""
        with self.asked() as listing:
            if not patterns:
                return list(listing.search())
            named = {name: listing.find(name) for name in patterns}
            if all(named.values()):
                return list(dict.fromkeys(place for place in named.values() if place))
            known = listing.search()
        return list(dict.fromkeys(place for name in patterns for place in self._meant(name, named[name], known)))

    def read(self, places: Iterable[Place]) -> list[StoredCircuit]:
        """Return circuits as they are now."""
        with self.asked() as listing:
            return [circuit_of(place, seen) for place, seen in listing.read(places).items()]

    def _meant(self, pattern: str, named: Place | None, known: Sequence[Place]) -> list[Place]:
        found = [named] if named else [place for place in known if place.name == pattern]
        found = found or [place for place in known if fnmatchcase(place.name, pattern)]
        if found:
            return found
        names = {printable(place.name): place.name for place in known}
        near = difflib.get_close_matches(printable(pattern), names, 3)
        hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
        message = f"no circuit {quoted(pattern)} in {self.where}{hint}"
        raise Refused(message, NOTHING_DONE)


def operator() -> str:
    """Return what the history calls who works here: `user@host`."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a number without a name, as in many containers
        user = f"uid {os.getuid()}"
    return printable(f"{user}@{socket.gethostname()}")[:LONGEST_NAME]


def _patient(url: str) -> str:
    """Return a Redis URL with time-outs for a person, unless it has its own."""
    if url.startswith("sqlite:"):
        return url
    query = url.partition("#")[0].partition("?")[2]
    given = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    missing = urlencode({name: PATIENCE for name in TIMEOUTS if name not in given})
    return f"{url}{'&' if query else '' if url.endswith('?') else '?'}{missing}" if missing else url
