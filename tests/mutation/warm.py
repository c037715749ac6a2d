"""Runs the tests that should notice a mutant, in a child that is forked when they have been collected.

That takes a fraction of the time. It can be done with what is read when it is first used, as Lua programs are, and
with the code of functions, which is replaced in place. Importers keep pieces of all else in a module: see `forks`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mutation import codes
from mutation.forks import HERE, NOT_IN_PLACE, PACKAGE, Fate, calm_hypothesis, set_apart, share, waited

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import pytest
    import servers

    from mutation.mutants import Mutant

#: The status of a child in which a mutant can't be put in place.
COLD: Final = 103


def fates(
    mutants: Sequence[Mutant], tests: Sequence[str], server: servers.RedisServer, patience: float
) -> Iterator[Fate | None]:
    """Yield what becomes of each mutant, None where that can't be found out like this; see `forks.fate`."""
    told, tell = os.pipe()
    child = os.fork()
    if not child:
        _collect(_Loop(mutants, patience, tell), tests, server)
    os.close(tell)
    with os.fdopen(told, encoding="utf-8") as lines:
        found = 0
        for line in lines:
            found += 1
            yield Fate(line.strip()) if line.strip() else None
    os.waitpid(child, 0)
    if found != len(mutants):
        raise RuntimeError(f"{mutants[found].name}: its tests ended in a way that says nothing")


def _collect(loop: _Loop, tests: Sequence[str], server: servers.RedisServer) -> None:
    """Be the child."""
    try:
        set_apart()
        share(server)
        calm_hypothesis()
        import pytest

        pytest.main([*HERE, *tests], plugins=[loop])
    finally:
        os._exit(0)


class _Loop:
    """A plugin of pytest's: its loop over tests, once for each mutant."""

    def __init__(self, mutants: Sequence[Mutant], patience: float, tell: int) -> None:
        self._mutants, self._patience, self._tell = mutants, patience, tell

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        for mutant in self._mutants:
            child = os.fork()
            if not child:
                _run(mutant, session)
            found = waited(child, mutant, self._patience, COLD)
            os.write(self._tell, f"{found.value if found else ''}\n".encode())
        return True


def _run(mutant: Mutant, session: pytest.Session) -> None:
    """Be the child's child."""
    status = 1
    try:
        os.setpgid(0, 0)
        in_place = _put_lua_in_place(mutant) if mutant.file.endswith(".lua") else codes.put_in_place(mutant)
        if in_place is None:
            os._exit(COLD)
        from _pytest.main import pytest_runtestloop

        try:
            pytest_runtestloop(session)
        except session.Failed:  # by -x
            pass
        else:
            status = int(session.testsfailed > 0)
        if not in_place():
            status = NOT_IN_PLACE
    finally:
        os._exit(status)


def _put_lua_in_place(mutant: Mutant) -> Callable[[], bool]:
    """Let the program be made with the mutant; return what tells whether that has been read."""
    from pybreaker_ext.storage.script import script

    script.cache_clear()
    read_text = Path.read_text
    place = PACKAGE / mutant.file
    reads: list[Path] = []

    def read(path: Path, *args: Any, **options: Any) -> str:
        if path != place:
            return read_text(path, *args, **options)
        reads.append(path)
        return mutant.source

    Path.read_text = read  # type: ignore[method-assign]
    return lambda: bool(reads)
