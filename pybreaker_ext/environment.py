"""The environment variables that tell a program where its circuits are, and how they are set."""

from __future__ import annotations

import os
from typing import Final

from pybreaker_ext.storage.urls import from_url

#: The store's URL, for who isn't given one.
URL: Final = "PYBREAKER_EXT_URL"

#: The path of the settings file.
CONFIG: Final = "PYBREAKER_EXT_CONFIG"


def variable(name: str) -> str | None:
    """Return what a variable holds; None when it is unset or empty."""
    return os.environ.get(name) or None


def store_url() -> str | None:
    """Return the URL that the environment tells; None when it tells none.

    Raises:
        ValueError: It is no URL of a store.
    """
    found = variable(URL)
    if found is not None:
        try:
            from_url(found, "any")
        except ValueError as error:
            message = f"{URL}: {error}"
            raise ValueError(message) from None
    return found
