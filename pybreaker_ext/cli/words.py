"""Words for people: durations and instants, and names that do no harm to a terminal."""

from __future__ import annotations

import itertools
import math
import time
from typing import Final

#: Seconds of a unit, the largest first.
_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))

#: Of the larger unit, so few that the smaller one is worth telling.
_FEW: Final = 10


def printable(text: str) -> str:
    r"""Return a text from a store without anything that a terminal would obey.

    Control characters become what Python calls them, and so do characters that turn the direction of
    writing, or that nobody can see. Blanks alone are put between quotes.

    >>> printable("a\x1b[31m\u202e")
    'a\\x1b[31m\\u202e'
    """
    if text.isspace():
        return ascii(text)
    if text.isprintable():
        return text
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)


def duration(seconds: float) -> str:
    """Return a duration in at most two units, and no more than six characters below some years.

    >>> duration(0.2), duration(65), duration(3600), duration(100_000), duration(math.inf)
    ('0s', '1m5s', '1h', '1d3h', 'ever')
    """
    if seconds == math.inf:
        return "ever"
    rest = max(0, int(seconds))
    for (unit, size), (smaller, its_size) in itertools.pairwise(_UNITS):
        if rest >= size:
            count, left = rest // size, rest % size // its_size
            return f"{count}{unit}{left}{smaller}" if left and count < _FEW else f"{count}{unit}"
    return f"{rest}s"


def moment(instant: float) -> str:
    """Return an instant as this machine's local time.

    >>> len(moment(1_800_000_000))
    19
    """
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(instant))


def quoted(name: str) -> str:
    """Return a name as it stands in a sentence; the one without a name in words."""
    return f"'{printable(name)}'" if name else "the circuit without a namespace"
