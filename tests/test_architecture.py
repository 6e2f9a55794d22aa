"""The rooms of the house: each knows only those to its left."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import umekomi
from umekomi.cli.main import COMMANDS

SOURCE = Path(umekomi.__file__).parent
ROOMS = [
    "errors", "escaping", "extras", "machine", "ownership", "outputs", "tuning", "settings", "catalog", "vectors", "quantize",
    "scan", "vector_columns", "asset_sources", "asset_digests", "assets", "long_runs", "tokens", "encoders", "mitigation",
    "embedder", "tune", "readers", "records", "embedded_columns", "row_digest", "bulk",
    "places", "place_lock", "shard_inputs", "units", "lake", "planning", "cluster", "datasets",
    "stores", "code", "tasks", "embeddings_utils", "explore", "serve", "cli",
]  # fmt: skip
FILES = [
    path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py") or path.parent != SOURCE
]


def room(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """The rooms that a file imports from, however it writes it."""
    found = set()
    package = ["umekomi", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names = [*base, *(node.module.split(".") if node.module else [])]
            whole = [names] if node.module else [[*names, alias.name] for alias in node.names]
            found |= {name[1] for name in whole if name[0] == "umekomi" and len(name) > 1}
        elif isinstance(node, ast.Import):
            found |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("umekomi.")}
    return found & set(ROOMS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_left_only(path: Path) -> None:
    here = room(path)
    assert here in ROOMS, f"{here} is a new room: give it a place in the row"
    right = {other for other in imports(path) if ROOMS.index(other) > ROOMS.index(here)}
    assert not right, f"{here} imports {right}, which is to its right"


def test_the_command_line_and_the_server_do_not_know_each_other_but_for_serving() -> None:
    users = {path.name for path in FILES if room(path) == "cli" and "serve" in imports(path)}
    assert users == {"explore.py", "keys.py", "serve.py"}


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}; import sys; print(' '.join(sys.modules))"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split())


def test_importing_umekomi_loads_nothing_heavy() -> None:
    assert not loaded_by("import umekomi") & {
        "openvino",
        "sklearn",
        "fastapi",
        "pandas",
        "numpy",
        "pyarrow",
        "tiktoken",
        "torch",
    }


def test_help_loads_nothing_heavy() -> None:
    loaded = loaded_by("from umekomi.cli.main import run; run(['--help'])")
    assert not loaded & {"openvino", "sklearn", "fastapi", "pandas", "pyarrow", "tiktoken", "torch"}


def test_each_device_loads_its_own_library_alone() -> None:
    assert not loaded_by("import umekomi.encoders.transformer, umekomi.encoders.folder") & {"openvino", "torch"}
    assert "torch" not in loaded_by("import umekomi.encoders.openvino_engine")
    if find_spec("torch"):
        assert "openvino" not in loaded_by("import umekomi.encoders.torch_engine")


def test_no_commands_help_waits_for_a_heavy_library() -> None:
    calls = "; ".join(f"run(['{name}', '--help'])" for name in COMMANDS)
    loaded = loaded_by(f"from umekomi.cli.main import run; {calls}")
    assert not loaded & {"openvino", "sklearn", "scipy", "matplotlib", "pandas", "lancedb", "torch"}


def test_openvino_cannot_report_home() -> None:
    loaded = loaded_by("import umekomi.encoders.openvino_engine; import sys; del sys.modules['openvino_telemetry']")
    assert "openvino" in loaded
    assert not {name for name in loaded if name.startswith("openvino_telemetry")}


def test_no_file_is_long() -> None:
    long = {path.name: n for path in FILES if (n := len(path.read_text("utf-8").splitlines())) > 480}
    assert not long
