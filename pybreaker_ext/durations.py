"""Durations as people write them: "250ms", "30s", "1m30s"."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any, Final

#: In seconds, and in the order in which a duration may have them. Decimal, so that 9ms is just what 0.009 is.
UNITS: Final = {"d": Decimal(86_400), "h": Decimal(3_600), "m": Decimal(60), "s": Decimal(1), "ms": Decimal("0.001")}

_PATTERN: Final = re.compile("".join(rf"(?:([0-9]+(?:\.[0-9]+)?){unit})?" for unit in UNITS))


def in_seconds(value: Any) -> Any:
    """Return the seconds, as a float, of a text that is a duration; anything else as it is."""
    found = _PATTERN.fullmatch(value) if isinstance(value, str) and value else None
    if found is None:
        return value
    numbers = zip(found.groups(default="0"), UNITS.values(), strict=True)
    return float(sum(Decimal(number) * seconds for number, seconds in numbers))
