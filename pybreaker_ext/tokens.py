"""Names for asks, unique in the fleet: a random part for each process, then a count."""

from __future__ import annotations

import itertools
import secrets

from pybreaker_ext.forks import renew_after_fork


class Tokens:
    """Makes tokens of letters and digits."""

    def __init__(self) -> None:
        self.renew_after_fork()
        renew_after_fork(self)

    def renew_after_fork(self) -> None:
        """Take another random part than the parent's."""
        self._process = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def new(self) -> str:
        """Return a token that nobody has."""
        return f"{self._process}{next(self._numbers):x}"


tokens = Tokens()
