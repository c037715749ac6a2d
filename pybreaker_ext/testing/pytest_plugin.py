"""pytest's fixture `circuit_breakers`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pybreaker_ext.testing import CircuitBreakers

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def circuit_breakers() -> Iterator[CircuitBreakers]:
    """Circuits in memory, on a clock that you advance, instead of those in a store; for one test."""
    with CircuitBreakers() as breakers, breakers.installed():
        yield breakers
