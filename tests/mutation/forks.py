"""Runs the tests that should notice a mutant, in a child that is forked when all that is slow has been imported.

What is mutated must not have been imported by then, so the child imports the package and the tests itself.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.util
import os
import resource
import signal
import sys
import time
import warnings
from enum import Enum
from importlib.machinery import ModuleSpec, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import CodeType

    from mutation.mutants import Mutant

ROOT: Final = Path(__file__).resolve().parent.parent.parent
PACKAGE: Final = ROOT / "pybreaker_ext"

#: Other people's, which the package and its tests import.
SLOW: Final = (
    *("asyncio", "fakeredis", "hypothesis", "lupa", "pybreaker", "pytest", "redis.asyncio", "redis.cluster"),
    *("redis.sentinel", "sqlite3", "structlog", "httpx", "openai", "anthropic", "requests"),
    *("_hypothesis_pytestplugin", "anyio.pytest_plugin", "pytest_cov.plugin", "pytest_timeout", "xdist.plugin"),
)


#: pytest's. In this process: those that xdist starts have no mutant.
HERE: Final = ("-n", "0", "-x", "-q", "-p", "no:cacheprovider", "--no-header", "--assert=plain")

#: Bytes. A mutant may count to numbers that fill the machine.
MEMORY: Final = 4 * 2**30
#: pytest's statuses that blame the mutant: a test failed, or a test's file could not be imported.
BLAME: Final = (1, 2)
#: The child's own: the mutant could not be imported, which counts as noticed; nobody has imported it.
NO_IMPORT: Final = 101
NOT_IN_PLACE: Final = 102


class Fate(Enum):
    """What became of a mutant."""

    KILLED = "killed"
    #: The tests did not end: they would not have passed either.
    TIMED_OUT = "timed out"
    SURVIVED = "survived"


def preload() -> None:
    """Import what is slow to import."""
    from _pytest.config import default_plugins

    for name in (*SLOW, *(f"_pytest.{plugin}" for plugin in default_plugins)):
        importlib.import_module(name)
    gc.collect()
    gc.freeze()  # pytest collects a few times in each child


def fate(mutant: Mutant | None, tests: Sequence[str], server: servers.RedisServer, patience: float) -> Fate:
    """Run tests against a mutant, or against the package as it is.

    Args:
        mutant: What to put in its file's place.
        tests: pytest's arguments.
        server: That the tests get instead of starting one.
        patience: Seconds.

    Raises:
        RuntimeError: The tests did not run, or not with the mutant. Nothing is known of it then.
    """
    child = os.fork()
    if not child:
        _run(mutant, tests, server)
    found = waited(child, mutant, patience)
    assert found is not None
    return found


def waited(child: int, mutant: Mutant | None, patience: float, unknown: int | None = None) -> Fate | None:
    """Wait for a mutant's tests to end; None for the status `unknown`. Raise RuntimeError when that says nothing."""
    deadline = time.monotonic() + patience
    late = False
    while not late:
        late = time.monotonic() > deadline  # before the last look, and not after it
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            code = os.waitstatus_to_exitcode(status)
            return None if code == unknown else _told(mutant, code)
        time.sleep(0.005)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)  # with all that it has started
    os.waitpid(child, 0)
    return Fate.TIMED_OUT


def _told(mutant: Mutant | None, status: int) -> Fate:
    if status == 0:
        return Fate.SURVIVED
    if status in (*BLAME, NO_IMPORT):
        return Fate.KILLED
    name = mutant.name if mutant else "without a mutant"
    raise RuntimeError(f"{name}: the tests ended with status {status}, which says nothing")


def _run(mutant: Mutant | None, tests: Sequence[str], server: servers.RedisServer) -> None:
    """Be the child."""
    status = 1
    try:
        set_apart()
        in_place = _put_in_place(mutant) if mutant else lambda: True
        share(server)
        calm_hypothesis()
        status = _status(tests)
        if not in_place():
            status = NOT_IN_PLACE
    finally:
        os._exit(status)


def set_apart() -> None:
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in () if os.environ.get("SHOW") else (0, 1, 2):
        os.dup2(nothing, number)
    os.chdir(ROOT)


def _status(tests: Sequence[str]) -> int:
    try:
        importlib.import_module("pybreaker_ext")
    except Exception:  # noqa: BLE001  whatever the mutant has done to it
        return NO_IMPORT
    import pytest

    return int(pytest.main([*HERE, *tests]))


def share(server: servers.RedisServer) -> None:
    @contextlib.contextmanager
    def running(*_options: str, **_settings: Any) -> Iterator[servers.RedisServer]:
        yield server

    servers.running_redis = running


def calm_hypothesis() -> None:
    """The same examples each time, and no search for the smallest one."""
    from hypothesis import HealthCheck, Phase, settings

    settings.register_profile(
        "mutation",
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    settings.load_profile("mutation")


def _put_in_place(mutant: Mutant) -> Callable[[], bool]:
    """Let the child find the mutant; return what tells whether it has been found."""
    if any(name.partition(".")[0] == "pybreaker_ext" for name in sys.modules):
        raise RuntimeError("the package has been imported before the mutant")
    name = module_name(mutant.file)
    sys.meta_path.insert(0, _Finder(name, PACKAGE / mutant.file, mutant.source))
    return lambda: isinstance(getattr(sys.modules.get(name), "__loader__", None), _Loader)


def module_name(file: str) -> str:
    """Return the name of the module that a file of the package is."""
    return ".".join(("pybreaker_ext", *Path(file).with_suffix("").parts)).removesuffix(".__init__")


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
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `is` with a literal: no test has noticed that
            return compile(self._mutated, self.path, "exec", dont_inherit=True)
