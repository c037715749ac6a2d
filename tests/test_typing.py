"""The decorator keeps signatures: mypy and pyright, both strict, read `tests/typing/`."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import servers

SAMPLES = Path(__file__).parent / "typing"
ROOT = Path(__file__).parent.parent


def read_by(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=110)


#: Some Pythons have no mypy that is new enough. In CI one that is missing is a failure.
with_mypy = pytest.mark.skipif(
    importlib.util.find_spec("mypy") is None and not servers.missing_server_is_a_failure(),
    reason="mypy is not installed",
)


@with_mypy
def test_mypy(tmp_path: Path) -> None:
    run = read_by(sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", str(SAMPLES))
    assert run.returncode == 0, run.stdout + run.stderr


@with_mypy
def test_mypy_does_look(tmp_path: Path) -> None:
    sample = tmp_path / "wrong.py"
    text = (SAMPLES / "signatures.py").read_text()
    sample.write_text(text.replace('assert_type(bare(1, b="x"), float)', 'assert_type(bare(1, b="x"), int)'))
    run = read_by(sys.executable, "-m", "mypy", "--strict", f"--cache-dir={tmp_path}", str(sample))
    assert "assert-type" in run.stdout


def test_pyright(tmp_path: Path) -> None:
    """pyright is a program for Node, which its Python package fetches at the first use."""
    if shutil.which("node") is None and not servers.missing_server_is_a_failure():
        pytest.skip("no node to run pyright with")
    settings = tmp_path / "pyrightconfig.json"
    wanted = {
        "include": [str(SAMPLES)],
        "pythonVersion": "3.11",
        "reportMissingTypeStubs": False,
        "reportUnnecessaryTypeIgnoreComment": "error",
        "typeCheckingMode": "strict",
    }
    settings.write_text(json.dumps(wanted))
    version = read_by(sys.executable, "-m", "pyright", "--version")
    if version.returncode != 0 and not os.environ.get("CI"):
        pytest.skip("pyright could not be fetched")
    run = read_by(sys.executable, "-m", "pyright", "--project", str(settings), "--pythonpath", sys.executable)
    assert run.returncode == 0, run.stdout + run.stderr
