"""The environment variables that tell a program where its circuits are, and how they are set."""

from __future__ import annotations

import os
from typing import Final

#: The store's URL, for who isn't given one.
URL: Final = "PYBREAKER_EXT_URL"

#: The path of the settings file.
CONFIG: Final = "PYBREAKER_EXT_CONFIG"


def variable(name: str) -> str | None:
    """Return what a variable holds; None when it is unset or empty."""
    return os.environ.get(name) or None
