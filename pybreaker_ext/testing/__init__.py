"""For the tests of programs that use circuit breakers: circuits in memory, and a clock that is advanced.

pytest has it as the fixture `circuit_breakers`; other frameworks make a `CircuitBreakers` themselves.
"""

from pybreaker_ext.testing.breakers import CircuitBreakers
from pybreaker_ext.testing.clock import Clock
from pybreaker_ext.testing.outcomes import Outcomes

__all__ = ("CircuitBreakers", "Clock", "Outcomes")
