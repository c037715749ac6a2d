"""What a breaker may be called."""

from __future__ import annotations

from typing import Final

from pybreaker_ext.storage.classic import check_namespace

#: Characters.
LONGEST: Final = 1024


def check_name(name: str) -> str:
    """Return `name`; raise TypeError or ValueError if no breaker can be called so."""
    check_namespace(name, argument="name")
    if len(name) > LONGEST:
        message = f"name must have at most {LONGEST} characters, not {len(name)}"
        raise ValueError(message)
    return name
