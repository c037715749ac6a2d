"""The mutants that no test can kill, with the reason, as `survivors.md` has them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

PAGE: Final = Path(__file__).with_name("survivors.md")

_ENTRY: Final = re.compile(r"^- `(.+)`$", re.MULTILINE)


def explained() -> set[str]:
    """Return the names of those that are explained."""
    return set(_ENTRY.findall(PAGE.read_text("utf-8")))
