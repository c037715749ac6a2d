"""All faults."""

from __future__ import annotations

from typing import Final

from faults import clock_faults, failover_faults, proxy_faults, redis_faults, sqlite_faults, worker_faults

FAULTS: Final = (
    *redis_faults.FAULTS,
    *proxy_faults.FAULTS,
    *failover_faults.FAULTS,
    *sqlite_faults.FAULTS,
    *worker_faults.FAULTS,
    *clock_faults.FAULTS,
)
