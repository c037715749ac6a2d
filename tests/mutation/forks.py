"""Runs the tests that should notice a mutant, in a child that is forked when all that is slow has been imported.

What is mutated must not have been imported by then, so the child imports the package and the tests itself.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import signal
import sys
import time
from enum import Enum
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import servers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from types import CodeType

    from mutation.mutants import Mutant

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PACKAGE: Final = ROOT / "pybreaker_ext"

#: Other people's, which the package and its tests import.
SLOW: Final = (
    *("asyncio", "fakeredis", "hypothesis", "lupa", "pybreaker", "pytest", "redis.asyncio", "redis.cluster"),
    *("redis.sentinel", "sqlite3", "structlog", "anyio", "httpx", "pytest_timeout", "_pytest.assertion.rewrite"),
)


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    #: The tests did not end: they would not have passed either.
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


def preload() -> None:
    """Import what is slow to import."""
    for name in SLOW:
        importlib.import_module(name)


def fate(mutant: Mutant | None, tests: Sequence[str], server: servers.RedisServer, patience: float) -> Fate:
    """Run tests against a mutant, or against the package as it is.

    Args:
        mutant: What to put in its file's place.
        tests: pytest's arguments.
        server: That the tests get instead of starting one.
        patience: Seconds.
    """
    child = os.fork()
    if not child:
        _run(mutant, tests, server)
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return Fate.SURVIVED if status == 0 else Fate.KILLED
        time.sleep(0.01)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # with all that it has started
    os.waitpid(child, 0)
    return Fate.TIMED_OUT


def _run(mutant: Mutant | None, tests: Sequence[str], server: servers.RedisServer) -> None:
    """Be the child."""
    status = 1
    try:
        os.setpgid(0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in () if os.environ.get("SHOW") else (0, 1, 2):
            os.dup2(nothing, number)
        os.chdir(ROOT)
        if mutant is not None:
            _put_in_place(mutant)
        _share(server)
        _calm_hypothesis()
        import pytest  # noqa: PLC0415

        quiet = ("-x", "-q", "-p", "no:cacheprovider", "--no-header", "--assert=plain", "-W", "ignore")
        status = int(pytest.main([*quiet, *tests]))
    finally:
        os._exit(status)


def _share(server: servers.RedisServer) -> None:
    @contextlib.contextmanager
    def running(*_options: str, **_settings: Any) -> Iterator[servers.RedisServer]:
        yield server

    servers.running_redis = running


def _calm_hypothesis() -> None:
    """The same examples each time, and no search for the smallest one."""
    from hypothesis import HealthCheck, Phase, settings  # noqa: PLC0415

    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")


def _put_in_place(mutant: Mutant) -> None:
    if mutant.file.endswith(".lua"):
        _put_lua_in_place(mutant)
    else:
        name = ".".join(("pybreaker_ext", *Path(mutant.file).with_suffix("").parts)).removesuffix(".__init__")
        sys.meta_path.insert(0, _Finder(name, PACKAGE / mutant.file, mutant.source))


def _put_lua_in_place(mutant: Mutant) -> None:
    read_text = Path.read_text
    place = PACKAGE / mutant.file

    def read(path: Path, *args: Any, **options: Any) -> str:
        return mutant.source if path == place else read_text(path, *args, **options)

    Path.read_text = read  # type: ignore[method-assign]


class _Finder:
    """Finds the mutant where the module would be."""

    def __init__(self, name: str, path: Path, source: str) -> None:
        self._name, self._path, self._source = name, path, source

    def find_spec(self, name: str, _path: Any = None, _target: Any = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        return importlib.util.spec_from_file_location(
            name, self._path, loader=_Loader(name, str(self._path), self._source)
        )


class _Loader(SourceFileLoader):
    def __init__(self, name: str, path: str, source: str) -> None:
        super().__init__(name, path)
        self._mutated = source

    def get_code(self, fullname: str) -> CodeType | None:
        return compile(self._mutated, self.path, "exec", dont_inherit=True)
