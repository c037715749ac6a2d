"""A disk of a few hundred kilobytes: a tmpfs of its own."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path  # which is only a type elsewhere

SIZE: Final = "256k"


@contextlib.contextmanager
def small_disk(directory: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", directory], check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", directory], check=True, capture_output=True)


def no_small_disk() -> str:
    """Return why there can be none."""
    from pathlib import Path

    with tempfile.TemporaryDirectory() as directory:
        try:
            with small_disk(Path(directory)):
                return ""
        except (OSError, subprocess.CalledProcessError):
            return "only root may mount a small tmpfs"
