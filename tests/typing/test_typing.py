"""mypy and pyright accept the calls in usage.py, and reject those in misuse.py."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import umekomi

FOLDER = Path(__file__).parent
SOURCE = Path(umekomi.__file__).parents[1]
MISUSE = {
    number
    for number, line in enumerate((FOLDER / "misuse.py").read_text("utf-8").splitlines(), start=1)
    if re.match(r"embedder\.|search\(", line)
}


def run(*command: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "MYPYPATH": str(SOURCE), "PYTHONPATH": str(SOURCE)}
    return subprocess.run(
        [sys.executable, "-m", *command], cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=600
    )


def run_mypy(name: str) -> dict[int, str]:
    """The errors of mypy by line."""
    cache = FOLDER.parents[1] / ".mypy_cache" / "typing"
    options = ("--strict", "--config-file", str(FOLDER / "mypy.ini"), "--cache-dir", str(cache), "--no-error-summary")
    done = run("mypy", *options, name)
    assert not done.stderr, done.stderr
    return {int(line.split(":")[1]): line for line in done.stdout.splitlines() if ": error:" in line}


def run_pyright(name: str) -> dict[int, str]:
    """The errors of pyright by line."""
    done = run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(FOLDER), name)
    diagnostics = json.loads(done.stdout)["generalDiagnostics"]
    return {one["range"]["start"]["line"] + 1: one["message"] for one in diagnostics if one["severity"] == "error"}


@pytest.mark.parametrize("check", [run_mypy, run_pyright])
def test_type_checkers_accept_what_works(check) -> None:  # type: ignore[no-untyped-def]
    if check is run_pyright and importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed: pip install 'pyright[nodejs]'")
    assert check("usage.py") == {}


@pytest.mark.parametrize("check", [run_mypy, run_pyright])
def test_type_checkers_reject_what_fails(check) -> None:  # type: ignore[no-untyped-def]
    if check is run_pyright and importlib.util.find_spec("pyright") is None:
        pytest.skip("pyright is not installed: pip install 'pyright[nodejs]'")
    assert set(check("misuse.py")) == MISUSE
