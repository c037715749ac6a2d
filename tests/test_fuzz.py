"""Input from outside, for a moment; `python tests/fuzz` goes on for as long as is wanted."""

from __future__ import annotations

import pytest
from fuzz import properties


@pytest.mark.parametrize("name", properties.TESTS)
def test_nothing_but_documented_errors(name: str) -> None:
    properties.TESTS[name]()
