"""What `keys.lua` answers, taken apart."""

from __future__ import annotations

from typing import NamedTuple

from pybreaker_ext.machine import REASONS, STATES, Record
from pybreaker_ext.storage import permits


class Found(NamedTuple):
    """What an answer says of the circuit. `Decision` says what the first four mean."""

    old_state: str
    old_generation: int
    after: Record
    stored: int | None
    #: Names of stored values that were not understood, separated by commas.
    strange: str


def found_in(words_of_record: str) -> Found:
    """Return what an answer says behind verdict, wait and time.

    Raises:
        ValueError: keys.lua has not said that.
    """
    words = words_of_record.split(" ")
    failures, successes, generation, open_until, opened_at, trips = map(int, words[3:9])
    reason, held, stored, strange = words[9:]
    after = Record(
        words[2], generation, failures, successes, opened_at, open_until, trips, reason, permits.from_text(held)
    )
    before = words[0] or after.state
    if before not in STATES or after.state not in STATES or reason not in REASONS:
        message = "an answer tells of a state or a reason that there isn't"
        raise ValueError(message)
    return Found(before, int(words[1] or generation), after, int(stored) if stored else None, strange)
