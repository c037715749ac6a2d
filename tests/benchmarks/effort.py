"""How much is measured. Durations in seconds."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final


@dataclass(frozen=True)
class Effort:
    """The defaults are those of a full run.

    Args:
        rounds: Turns of each contestant in the cases of single calls, if it stays within the process.
        turn: Their length.
        trip_rounds: Turns of what makes round trips.
        trip_turn: Their length. Round trips are fast or slow for seconds or minutes, so short turns that
            follow each other are all of one kind.
        stream_rounds: Turns in the case of streams.
        streams: How many are open at once.
        thread_rounds: Turns in the cases with threads.
        thread_turn: Their length.
        fleet_rounds: Turns in the cases with processes.
        fleet_turn: Their length.
        traced_calls: Calls of each process while its commands are read.
        many_calls: Calls of which the commands are counted.
        many_calls_limit: How long that may take; what is left then is not done.
        curve_rounds: How often the picture's curves are drawn; the median counts.
        curve_calls: How far they go.
        curve_limit: How long one may take; it then ends earlier.
        breakers: How many are made to see how large one is.
    """

    rounds: int = 60
    turn: float = 0.005
    trip_rounds: int = 300
    trip_turn: float = 0.002
    stream_rounds: int = 9
    streams: int = 10_000
    thread_rounds: int = 9
    thread_turn: float = 0.2
    fleet_rounds: int = 7
    fleet_turn: float = 0.6
    traced_calls: int = 200
    many_calls: int = 1_000_000
    many_calls_limit: float = 10.0
    curve_rounds: int = 3
    curve_calls: int = 100_000
    curve_limit: float = 12.0
    breakers: int = 1000

    def with_rounds(self, rounds: int | None) -> Effort:
        return self if rounds is None else replace(self, rounds=rounds, trip_rounds=rounds)


FULL: Final = Effort()
QUICK: Final = Effort(
    rounds=15,
    turn=0.001,
    trip_rounds=50,
    trip_turn=0.001,
    stream_rounds=1,
    streams=1_000,
    thread_rounds=3,
    thread_turn=0.05,
    fleet_rounds=1,
    fleet_turn=0.25,
    traced_calls=100,
    many_calls=100_000,
    many_calls_limit=1.5,
    curve_rounds=1,
    curve_limit=0.5,
    breakers=200,
)
