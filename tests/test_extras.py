"""Without extras, every command shows its help, and errors name the command that installs a missing extra."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from umekomi.errors import MissingExtraError
from umekomi.extras import EXTRAS, extra_of, import_optional

ROOT = Path(__file__).parent.parent
WITHOUT_EXTRAS = """
import sys
from umekomi.extras import EXTRAS, extra_of

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if extra_of(name):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Blocked())
"""


def without_extras(code: str, *arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT_EXTRAS + code, *arguments]
    environment = {**os.environ, "UMEKOMI_OFFLINE": "1"}
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_the_table_contains_every_extra_of_the_package() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    assert set(EXTRAS) == set(extras) - {"all", "dev"}


def test_every_command_shows_its_help_without_extras() -> None:
    result = without_extras(
        "from tests.cli.every_command import leaves\n"
        "from umekomi.cli.main import run\n"
        "names = leaves()\n"
        "assert len(names) > 40\n"
        "failed = [name for name in names if run([*name.split(), '--help']) != 0]\n"
        "sys.exit(', '.join(failed) or 0)"
    )
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serve",), "pip install 'umekomi[serve]'"),
        (("code", "index", "."), "pip install 'umekomi[lance]'"),
        (("code", "mcp"), "pip install 'umekomi[mcp]'"),
        (("search", "redis://127.0.0.1/x", "tea"), "pip install 'umekomi[redis]'"),
        (("search", "lance:///tmp/x/y", "tea"), "pip install 'umekomi[lance]'"),
        (("bias", "seat", "-m", "remote:x"), "pip install 'umekomi[remote]'"),
    ],
)
def test_a_missing_extra_prints_one_sentence(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    result = without_extras(
        "from umekomi.cli.main import run; sys.exit(run(sys.argv[1:]))", *arguments, folder=tmp_path
    )
    assert result.returncode == 2
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_module_that_no_extra_installs_is_an_ordinary_error() -> None:
    assert extra_of("no_such_module") is None
    with pytest.raises(ModuleNotFoundError):
        import_optional("no_such_module")


def test_the_error_names_the_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(
        MissingExtraError, match=r"^Loading needs the package pymilvus: pip install 'umekomi\[milvus\]'\.$"
    ):
        import_optional("pymilvus", "Loading")
