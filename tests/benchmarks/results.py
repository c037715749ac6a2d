"""What was measured, as plain data that JSON can hold. Times are nanoseconds unless named otherwise."""

from __future__ import annotations

import json
import statistics
from dataclasses import asdict, dataclass, field, fields
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Calls:
    """One contestant in one case of single calls."""

    case: str
    library: str
    store: str
    #: Nanoseconds per call, the mean of a batch, one per round.
    samples: list[float]

    @property
    def best(self) -> float:
        return min(self.samples)

    @property
    def median(self) -> float:
        return statistics.median(self.samples)


@dataclass(frozen=True)
class Rates:
    """One contestant with some threads."""

    case: str
    library: str
    store: str
    threads: int
    #: Calls per second of all threads together, one per round.
    samples: list[float]


@dataclass(frozen=True)
class Chunks:
    """One contestant's streams."""

    case: str
    library: str
    store: str
    #: Nanoseconds per chunk, one per round.
    samples: list[float]


@dataclass(frozen=True)
class Fleet:
    """One contestant with some processes on one circuit."""

    case: str
    library: str
    store: str
    processes: int
    #: Share of calls that fail.
    failing: float
    #: Calls per second of all processes together, one per round.
    samples: list[float]
    p50: list[float]
    p99: list[float]
    #: Failures that the workers saw, and that the store did not count; None: not looked at.
    failures: int | None = None
    lost: int | None = None


@dataclass(frozen=True)
class Commands:
    """How many commands a process sent to Redis."""

    case: str
    library: str
    store: str
    calls: int
    seconds: float
    commands: int


@dataclass(frozen=True)
class Size:
    case: str
    library: str
    store: str
    #: Bytes per breaker.
    size: float


@dataclass(frozen=True)
class Curve:
    case: str
    library: str
    store: str
    #: Number of calls, and the mean nanoseconds of a call up to there.
    points: list[list[float]]


KINDS: dict[str, Any] = {
    "calls": Calls,
    "streams": Chunks,
    "threads": Rates,
    "processes": Fleet,
    "commands": Commands,
    "sizes": Size,
    "curves": Curve,
}


@dataclass
class Results:
    """Everything of one run."""

    machine: dict[str, str] = field(default_factory=dict)
    calls: list[Calls] = field(default_factory=list)
    streams: list[Chunks] = field(default_factory=list)
    threads: list[Rates] = field(default_factory=list)
    processes: list[Fleet] = field(default_factory=list)
    commands: list[Commands] = field(default_factory=list)
    sizes: list[Size] = field(default_factory=list)
    curves: list[Curve] = field(default_factory=list)

    def find(self, kind: str, case: str, library: str, store: str) -> Any:
        """Return what one contestant did in one case; None when that wasn't run."""
        for item in getattr(self, kind):
            if (item.case, item.library, item.store) == (case, library, store):
                return item
        return None

    def to_data(self) -> dict[str, Any]:
        data = asdict(self)
        for item, shown in zip(self.calls, data["calls"], strict=True):
            bare = self.find("calls", item.case, "bare call", "")
            shown |= {"best": item.best, "median": item.median}
            shown |= {"best_over_bare": item.best - bare.best, "median_over_bare": item.median - bare.median}
        return data


def load(path: Path) -> Results:
    """Read what `--json` wrote."""
    data = json.loads(path.read_text("utf-8"))
    results = Results(data["machine"])
    for name, cls in KINDS.items():
        wanted = [one.name for one in fields(cls)]
        setattr(results, name, [cls(**{key: item[key] for key in wanted}) for item in data.get(name, [])])
    return results
