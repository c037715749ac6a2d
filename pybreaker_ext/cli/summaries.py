"""What each command does, in a line: known also where the extra `cli` isn't installed."""

from __future__ import annotations

from typing import Final

SUMMARIES: Final = {
    "list": "Print the circuits in the store, one in a line.",
    "show": "Print all that the store knows of circuits.",
    "watch": "Show the circuits of the store in a live table.",
    "history": "Draw a circuit's past: when it changed, why, and by whom.",
    "check": "Tell monitoring by the exit code whether circuits are well.",
    "open": "Open circuits: all calls are rejected.",
    "half-open": "Half-open circuits: probes are let through.",
    "close": "Close circuits: all calls go through, counters start again.",
    "reset": "Make circuits as if never used.",
    "demo": "See worker processes share one circuit through an outage.",
    "bench": "Measure what a call through a circuit costs here.",
}

#: Commands that need nothing but the package itself.
WITHOUT_EXTRA: Final = frozenset({"demo"})
