"""What is mutated, and which tests should notice; the quick ones and those that notice most stand first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from mutation.forks import PACKAGE
from mutation.lua_mutants import lua_mutants
from mutation.mutants import numbered, python_mutants

if TYPE_CHECKING:
    from mutation.mutants import Mutant


class Target(NamedTuple):
    """Some files that the same tests hold."""

    name: str
    #: From the package's directory; may have wildcards.
    files: tuple[str, ...]
    #: pytest's arguments.
    tests: tuple[str, ...]
    #: Share of the mutants that tests must kill.
    bar: float

    def mutants(self) -> list[Mutant]:
        """Return all of its mutants."""
        found: list[Mutant] = []
        for path in sorted(path for pattern in self.files for path in PACKAGE.glob(pattern)):
            make = lua_mutants if path.suffix == ".lua" else python_mutants
            found += make(str(path.relative_to(PACKAGE)), path.read_text("utf-8"))
        return list(numbered(found))


TARGETS: Final = (
    Target(
        "outcome",
        ("outcome.py",),
        ("tests/test_breaker.py", "tests/test_http_errors.py::TestHolds", "tests/test_holds.py"),
        0.95,
    ),
    Target(
        "machine",
        ("machine.py",),
        (
            *("tests/test_contract.py", "tests/test_set_back_clocks.py", "tests/test_machines.py", "-k"),
            "((test_contract or set_back) and (memory or sqlite) and not asyncio) or (test_machines and not fakeredis)",
        ),
        0.95,
    ),
    Target(
        "lua",
        ("storage/quick.lua", "storage/machine.lua"),
        (
            *("tests/test_contract.py", "tests/test_set_back_clocks.py", "tests/test_quick_script.py"),
            *("tests/test_redis.py::TestForeignWriters", "tests/test_machines.py", "-k"),
            (
                "((test_contract or set_back or ForeignWriters) and redis and not (fakeredis or decoded or asyncio)) "
                "or quick or on_redis"
            ),
        ),
        1.0,
    ),
    Target(
        "streams",
        ("streaming.py", "streams/[!cp]*.py", "streams/course.py"),
        (
            *("tests/test_streams.py", "tests/test_stream_edges.py", "tests/test_stream_generators.py"),
            "tests/test_breaker.py::TestGenerators",
        ),
        0.95,
    ),
    Target(
        "connections",
        ("streams/connection.py", "streams/patience.py"),
        ("tests/test_stream_edges.py", "tests/test_stream_clients.py", "tests/test_streams.py"),
        0.95,
    ),
)
