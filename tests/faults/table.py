"""All faults."""

from __future__ import annotations

from typing import Final

from faults import redis_faults, sqlite_faults

FAULTS: Final = (*redis_faults.FAULTS, *sqlite_faults.FAULTS)
