"""Notes on errors, which tell their reader what was tried."""

from __future__ import annotations

from contextlib import suppress


def put_note(error: BaseException, author: str, text: str) -> None:
    """Put a note on the error, in the place of the author's older one: some errors are raised again and again."""
    with suppress(Exception):  # an error may be of a class that takes none
        notes = getattr(error, "__notes__", [])
        notes[:] = [note for note in notes if not str(note).startswith(f"{author}: ")]
        error.add_note(f"{author}: {text}")
