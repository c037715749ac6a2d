"""How long a server asks to be left alone: `Retry-After` (RFC 9110, 10.2.3) and `retry-after-ms`."""

from __future__ import annotations

import re
import time
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Seconds that are believed at most: a day.
LONGEST: Final = 86_400.0
#: Parts of one header that are looked at.
MAX_PARTS: Final = 100

_NUMBER: Final = re.compile(r"[0-9]+(\.[0-9]*)?")
_WANTED: Final = frozenset({"retry-after", "retry-after-ms", "date"})


def wait_of(headers: Iterable[tuple[str, str]]) -> float | None:
    """Return the seconds, 0 to `LONGEST`, that headers ask for, the longest of them; None: they don't.

    Dates count from the server's own `Date`, so that a wrong local clock does not matter.
    """
    found = [(name, part) for name, value in headers if name in _WANTED for part in _parts(value)]
    now = next((seconds for name, part in found if name == "date" and (seconds := _date(part)) is not None), None)
    waits = [_wait(name, part, now) for name, part in found if name != "date"]
    return max((wait for wait in waits if wait is not None), default=None)


def _parts(value: str) -> list[str]:
    """Take apart what some clients join, of a header that came more than once.

    Dates have a comma, too: what stands before it, the day of the week, is no part that says anything.
    """
    return [part.strip() for part in value.split(",")][:MAX_PARTS]


def _wait(name: str, part: str, now: float | None) -> float | None:
    if _NUMBER.fullmatch(part):
        return min(float(part) / (1000 if name == "retry-after-ms" else 1), LONGEST)
    date = _date(part) if name == "retry-after" else None
    if date is None:
        return None
    wait = date - (time.time() if now is None else now)
    return min(wait, LONGEST) if wait >= 0 else None


def _date(part: str) -> float | None:
    """Return a date as seconds since the epoch; one without a zone is UTC's."""
    try:
        date = parsedate_to_datetime(part)
        return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
