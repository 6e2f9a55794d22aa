"""Every layer of the package imports only from layers before it, and imports load no heavy libraries."""

import ast
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

import umekomi
from umekomi.cli.main import COMMANDS

SOURCE = Path(umekomi.__file__).parent
# Every module imports only from its own layer and from layers before it.
LAYERS = [
    "errors", "progress", "escaping", "extras", "inputs", "registry", "long_runs", "files", "machine", "settings", "catalog",
    "vectors", "assets", "vocabulary_files", "tokens", "encoders", "embedder", "reranker", "sparse_embedder", "data", "pipeline",
    "stores", "codesearch", "evaluation", "tasks", "plots", "bias", "embeddings_utils", "explore", "serve", "cli",
]  # fmt: skip
FILES = [
    path
    for path in sorted(SOURCE.rglob("*.py"))
    if path.name not in ("__init__.py", "__main__.py") or path.parent != SOURCE
]


def layer(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imports(path: Path) -> set[str]:
    """Return the layers that a file imports from."""
    layers = set()
    package = ["umekomi", *path.relative_to(SOURCE).parts[:-1]]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            names = [*base, *(node.module.split(".") if node.module else [])]
            whole = [names] if node.module else [[*names, alias.name] for alias in node.names]
            layers |= {name[1] for name in whole if name[0] == "umekomi" and len(name) > 1}
        elif isinstance(node, ast.Import):
            layers |= {alias.name.split(".")[1] for alias in node.names if alias.name.startswith("umekomi.")}
    return layers & set(LAYERS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_follow_the_layers(path: Path) -> None:
    own = layer(path)
    assert own in LAYERS, f"{own} is a new layer: add it to LAYERS"
    later = {other for other in imports(path) if LAYERS.index(other) > LAYERS.index(own)}
    assert not later, f"{own} imports from {later}, which come after it"


def test_only_commands_that_serve_import_the_server() -> None:
    users = {path.name for path in FILES if layer(path) == "cli" and "serve" in imports(path)}
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


def test_a_device_loads_only_its_own_library() -> None:
    assert not loaded_by(
        "import umekomi.encoders.transformer.encoder, umekomi.encoders.transformer.folder.sentence_transformers"
    ) & {"openvino", "torch"}
    assert "torch" not in loaded_by("import umekomi.encoders.transformer.backends.openvino")
    if find_spec("torch"):
        assert "openvino" not in loaded_by("import umekomi.encoders.transformer.backends.torch")


def test_the_help_of_commands_loads_no_heavy_library() -> None:
    calls = "; ".join(f"run(['{name}', '--help'])" for name in COMMANDS)
    loaded = loaded_by(f"from umekomi.cli.main import run; {calls}")
    assert not loaded & {"openvino", "sklearn", "scipy", "matplotlib", "pandas", "lancedb", "torch"}


def test_openvino_does_not_load_its_telemetry() -> None:
    loaded = loaded_by(
        "import umekomi.encoders.transformer.backends.openvino; import sys; del sys.modules['openvino_telemetry']"
    )
    assert "openvino" in loaded
    assert not {name for name in loaded if name.startswith("openvino_telemetry")}


def test_openvino_loads_its_converter_only_when_it_is_called() -> None:
    backend = "import umekomi.encoders.transformer.backends.openvino as backend"
    assert "openvino.tools.ovc" not in loaded_by(backend)
    called = f"{backend}\ntry:\n    backend.ov.convert_model('nothing')\nexcept Exception:\n    pass"
    assert "openvino.tools.ovc" in loaded_by(f"exec({called!r})")


def test_a_command_loads_no_pandas() -> None:
    code = "import sys; sys.argv = ['umekomi', 'recommend', 'nothing.parquet', '0']; from umekomi.cli.main import main"
    exit_ = "try:\n    main()\nexcept SystemExit:\n    import pyarrow; pyarrow.array([1, 2])"
    loaded = loaded_by(f"{code}; exec({exit_!r})")
    assert "pyarrow" in loaded
    assert "pandas" not in loaded


def test_no_file_is_long() -> None:
    long = {path.name: n for path in FILES if (n := len(path.read_text("utf-8").splitlines())) > 480}
    assert not long
