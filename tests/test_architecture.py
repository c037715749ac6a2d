"""The house's floor plan: which module may know which."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pybreaker_ext

PACKAGE = Path(pybreaker_ext.__file__).parent

#: What a module may import of ours when the program runs; storages know the machine, not the breaker.
STORAGES = {"errors", "machine", "forks", "storage"}
ALLOWED = {
    "errors": set(),
    "machine": set(),
    "forks": set(),
    "kinds": set(),
    "quick": set(),
    "outcome": {"errors"},
    "settings": {"machine"},
    "snapshot": {"machine"},
    "tokens": {"forks"},
    "notifier": {"machine", "forks", "listener", "snapshot"},
    "storage": STORAGES,
    "stored": STORAGES | {"snapshot"},
    "tuning": {"machine", "settings"},
    "control": STORAGES | {"settings", "notifier", "snapshot", "tuning"},
    "admission": STORAGES | {"control", "outcome", "settings", "snapshot", "tokens"},
    "block": set(),
    "listener": {"errors"},
    "listeners": {"errors", "forks", "listener", "machine", "settings"},
    "names": {"storage"},
    "environment": {"storage"},
    "given": {"breaker", "settings"},
    "durations": set(),
    "tables": set(),
    "config_yaml": set(),
    "config_file": {"config_yaml"},
    "http": set(),
    "policies": {"http", "settings"},
    "config": {"config_file", "durations", "names", "policies", "settings", "storage", "tables"},
    "registry": STORAGES | {"breaker", "config", "environment", "given", "names", "settings", "stored", "tables"},
    "factory": {"environment", "forks", "registry"},
    "streams": {"errors", "forks", "kinds", "outcome", "settings"},
    "streaming": {"admission", "kinds", "streams"},
    "cancelling": set(),
    "isolation": {"kinds", "settings"},
    "ended": {"errors", "http", "machine", "outcome", "quick"},
    "notes": set(),
    "retry": {"breaker", "cancelling", "ended", "forks", "kinds", "machine", "notes", "settings"},
    "fallback": {"breaker", "cancelling", "ended", "errors", "kinds", "machine", "notes", "settings", "streams"},
    "testing": {"factory", "listener", "machine", "names", "registry", "settings", "storage"},
    "breaker": STORAGES | {"block", "kinds", "outcome", "quick", "settings", "streaming", "streams"},
}

#: Modules of the command line that are there with its extra only.
CLICKED = (
    *("app", "as_json", "bench", "checking", "choosing", "console", "options", "rows", "showing", "steering"),
    *("timeline", "watching"),
)

#: What an extra brings, and the module that is imported only by who has it.
EXTRAS = {
    "config": {"pydantic", "pydantic_core", "typing_extensions"},
    "config_yaml": {"yaml"},
    "demo.picture": {"matplotlib"},
    "listeners.opentelemetry": {"opentelemetry"},
    "listeners.prometheus": {"prometheus_client"},
    "retry.loop": {"tenacity"},
    "testing.pytest_plugin": {"pytest"},
    **{f"cli.{name}": {"click", "rich"} for name in CLICKED},
}


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts)


def imports_of(path: Path) -> set[str]:
    """Return the rooms of ours that a module imports, except for type checking only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "pybreaker_ext":
            names = [node.module] if "." in node.module else [f"pybreaker_ext.{alias.name}" for alias in node.names]
            found |= {name.split(".")[1] for name in names}
        elif isinstance(node, ast.Import):
            found |= {
                (alias.name + ".").split(".")[1] for alias in node.names if alias.name.startswith("pybreaker_ext")
            }
    return found


def test_arrows_point_one_way() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        room = room_of(path)
        if room in ALLOWED:
            assert imports_of(path) - {room} <= ALLOWED[room], path


def test_nothing_imports_the_package_itself() -> None:
    for path in sorted(PACKAGE.rglob("*.py")):
        if room_of(path) not in ("__main__", "cli", "demo"):
            assert "" not in imports_of(path), path


def test_the_core_needs_three_packages() -> None:
    others = set()
    for path in sorted(PACKAGE.rglob("*.py")):
        found = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                found |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                found.add(node.module.split(".")[0])
        others |= found - EXTRAS.get(module_of(path), set())
    assert others - set(sys.stdlib_module_names) - {"pybreaker_ext"} <= {"pybreaker", "redis", "structlog"}


def test_nothing_of_an_extra_is_imported_with_the_package() -> None:
    theirs = {"typing_extensions", "opentelemetry"}  # redis-py imports the latter where it is installed
    late = {"demo.picture"}  # which imports its extra when a picture is wanted
    unwanted = {f"pybreaker_ext.{module}" for module in EXTRAS.keys() - late}.union(*EXTRAS.values()) - theirs
    program = (
        f"import sys, pybreaker_ext, pybreaker_ext.listeners, pybreaker_ext.cli; print({unwanted} & {{*sys.modules}})"
    )
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert run.stdout.strip() == "set()"


def test_public_names_are_sorted_and_there() -> None:
    assert list(pybreaker_ext.__all__) == sorted(pybreaker_ext.__all__, key=lambda name: (not name.isupper(), name))
    for name in pybreaker_ext.__all__:
        assert getattr(pybreaker_ext, name).__doc__ or name.startswith("STATE_"), name
