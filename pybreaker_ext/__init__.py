"""pybreaker for fleets of workers: `import pybreaker_ext as pybreaker`."""

from pybreaker import (
    STATE_CLOSED,
    STATE_HALF_OPEN,
    STATE_OPEN,
    CircuitBreakerState,
    CircuitBreakerStorage,
    CircuitClosedState,
    CircuitHalfOpenState,
    CircuitOpenState,
)

from pybreaker_ext.breaker import CircuitBreaker
from pybreaker_ext.errors import CircuitBreakerError, FailedResult, StoreUnavailableError
from pybreaker_ext.factory import get_circuit_breaker, reset_all_breakers
from pybreaker_ext.listener import CircuitBreakerListener
from pybreaker_ext.registry import CircuitBreakerRegistry
from pybreaker_ext.settings import Backoff
from pybreaker_ext.snapshot import CircuitState, Snapshot, Transition
from pybreaker_ext.storage.memory import CircuitMemoryStorage
from pybreaker_ext.storage.redis import CircuitRedisStorage
from pybreaker_ext.storage.sqlite import CircuitSQLiteStorage
from pybreaker_ext.stored import StoredCircuit, StoredCircuits

__all__ = (
    "STATE_CLOSED",
    "STATE_HALF_OPEN",
    "STATE_OPEN",
    "Backoff",
    "CircuitBreaker",
    "CircuitBreakerError",
    "CircuitBreakerListener",
    "CircuitBreakerRegistry",
    "CircuitBreakerState",
    "CircuitBreakerStorage",
    "CircuitClosedState",
    "CircuitHalfOpenState",
    "CircuitMemoryStorage",
    "CircuitOpenState",
    "CircuitRedisStorage",
    "CircuitSQLiteStorage",
    "CircuitState",
    "FailedResult",
    "Snapshot",
    "StoreUnavailableError",
    "StoredCircuit",
    "StoredCircuits",
    "Transition",
    "get_circuit_breaker",
    "reset_all_breakers",
)
