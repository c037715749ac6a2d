"""pytest's fixture `circuit_breakers`.

Apart from the package on purpose: pytest imports this module in every run, and importing the package
would make all of them slower, also those that have nothing to do with circuit breakers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pybreaker_ext.testing import CircuitBreakers


@pytest.fixture
def circuit_breakers() -> Iterator[CircuitBreakers]:
    """Circuits in memory, on a clock that you advance, instead of those in a store; for one test."""
    from pybreaker_ext.testing import CircuitBreakers  # noqa: PLC0415  at the first use, see above

    with CircuitBreakers() as breakers, breakers.installed():
        yield breakers
