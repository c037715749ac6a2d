"""Permits as text, the same in every store: `token:lease end` in milliseconds, joined by commas."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pybreaker_ext.machine import FOREVER

if TYPE_CHECKING:
    from collections.abc import Mapping


def to_text(permits: Mapping[str, int]) -> str:
    """Return the permits as one string."""
    return ",".join(f"{token}:{end}" for token, end in permits.items())


def from_text(text: str) -> dict[str, int]:
    """Return the permits that `to_text` wrote.

    Raises:
        ValueError: It didn't write this.
    """
    pairs = (pair.split(":") for pair in text.split(",") if pair)
    return {token: min(int(end), FOREVER) for token, end in pairs}
