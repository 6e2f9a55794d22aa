"""Plugins: the example package in an environment of its own, and packages that are broken or collide."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import umekomi

EXAMPLE = Path(__file__).with_name("example")
Run = Callable[..., subprocess.CompletedProcess[str]]


def run(python: str | Path, *arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(python), *map(str, arguments)],
        capture_output=True,
        text=True,
        env={**os.environ, "UMEKOMI_OFFLINE": "1", **environment},
        stdin=subprocess.DEVNULL,
        timeout=300,
        check=False,
    )


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a fresh environment with the example plugin, Umekomi and its dependencies."""
    folder = tmp_path_factory.mktemp("plugin")
    venv.create(folder / "venv")
    executable = folder / "venv" / ("Scripts" if os.name == "nt" else "bin") / "python"
    site = Path(run(executable, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    paths = [Path(umekomi.__file__).parents[1], sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (site / "development.pth").write_text("\n".join(map(str, dict.fromkeys(paths))) + "\n", "utf-8")
    shutil.copytree(EXAMPLE, folder / "example")
    install = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", folder / "example")
    done = run(executable, *install, PYTHONPATH="", PIP_DISABLE_PIP_VERSION_CHECK="1")
    assert done.returncode == 0, done.stderr
    return executable


@pytest.fixture(scope="module")
def example(python: Path) -> Run:
    """Runs a command of Umekomi in the environment with the example plugin."""

    def run_command(*arguments: object) -> subprocess.CompletedProcess[str]:
        done = run(python, "-m", "umekomi", *arguments, PYTHONPATH="")
        assert (done.returncode, done.stderr.count("Error")) == (0, 0), done.stderr
        return done

    return run_command


def test_the_example_is_short() -> None:
    lines = [line for path in EXAMPLE.rglob("*.py") for line in path.read_text("utf-8").splitlines() if line.strip()]
    assert len(lines) <= 40


def test_the_documentation_shows_the_example() -> None:
    text = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text("utf-8")
    for path in ("pyproject.toml", "umekomi_example/__init__.py", "umekomi_example/catalog.toml"):
        assert (EXAMPLE / path).read_text("utf-8").strip() in text


def test_the_example_adds_a_command(example: Run) -> None:
    assert "From the package umekomi-example." in example("--help").stdout
    assert "Print the letter frequencies of a text." in example("letters", "--help").stdout
    assert len(example("letters", "a bean").stdout.split()) >= 26


def test_the_example_adds_a_model_with_its_encoder_and_a_store(example: Run, tmp_path: Path) -> None:
    assert "letters-and-words" in example("models", "list").stdout
    about = json.loads(example("models", "show", "letters-and-words", "--json").stdout)
    assert [(part["encoder"], part["dimensions"]) for part in about["parts"]] == [("letters", 26), ("fake", 64)]
    (tmp_path / "in.jsonl").write_text("".join(f'{{"text": "{text}"}}\n' for text in ("aaa", "bbb", "ccc")), "utf-8")
    example("embed", tmp_path / "in.jsonl", "-m", "letters-and-words", "-o", tmp_path / "out.parquet")
    url = f"example://{tmp_path}/letters.parquet"
    example("store", "load", tmp_path / "out.parquet", url)
    hits = json.loads(example("search", url, "bbbb b", "-n", "1", "--json").stdout)["hits"]
    assert hits[0]["record"]["text"] == "bbb"
    assert url in example("store", "list", f"example://{tmp_path}").stdout


def test_the_server_serves_the_model_of_the_example(python: Path) -> None:
    code = (
        "from fastapi.testclient import TestClient\n"
        "from umekomi.serve.app import create_app\n"
        "with TestClient(create_app(), base_url='http://127.0.0.1') as client:\n"
        "    body = {'model': 'letters-and-words', 'input': 'a bean', 'encoding_format': 'float'}\n"
        "    print(len(client.post('/v1/embeddings', json=body).json()['data'][0]['embedding']))\n"
    )
    done = run(python, "-c", code, PYTHONPATH="")
    assert done.stdout.strip() == "90", done.stderr


def test_the_fingerprint_depends_on_the_encoder(python: Path) -> None:
    code = (
        "from umekomi import Embedder; e = Embedder('letters-and-words'); print(e.fingerprint, e.embed(['a']).shape[1])"
    )
    first, second = run(python, "-c", code, PYTHONPATH="").stdout.split()
    assert len(first) == 16
    assert second == "90"


Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    """Writes the metadata and the modules of a package into a folder for PYTHONPATH."""

    def write(package: str, entry_points: Mapping[str, Mapping[str, str]], **files: str) -> Path:
        metadata = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n", "utf-8")
        groups = (
            f"[umekomi.{group}]\n" + "".join(f"{name} = {value}\n" for name, value in names.items())
            for group, names in entry_points.items()
        )
        (metadata / "entry_points.txt").write_text("\n".join(groups), "utf-8")
        for name, text in files.items():
            (tmp_path / name.replace("__", ".")).write_text(text, "utf-8")
        return tmp_path

    return write


def command(folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    source = Path(umekomi.__file__).parents[1]
    return run(sys.executable, "-m", "umekomi", *arguments, PYTHONPATH=os.pathsep.join(map(str, (folder, source))))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        ("raise RuntimeError('no\\nluck')", "cannot be imported (RuntimeError: no)"),
        ("import no_such_module", "cannot be imported (ModuleNotFoundError: No module named 'no_such_module')"),
        ("other = 1", "cannot be imported (AttributeError: module 'broken' has no attribute 'thing')"),
        ("thing = 1", "is not"),
    ],
)
def test_a_broken_plugin_is_one_line_that_names_the_package(install: Install, module: str, reason: str) -> None:
    groups = {group: {"broken": "broken:thing"} for group in ("commands", "stores")}
    folder = install("the-package", groups, broken__py=module)
    listing = command(folder, "--help")
    assert (listing.returncode, listing.stderr) == (0, "")
    assert "From the package the-package." in listing.stdout
    for arguments in (["broken"], ["store", "list", "broken://x"]):
        done = command(folder, *arguments)
        assert done.returncode == 2
        assert done.stderr.count("\n") == 1
        assert "'broken' of the package the-package" in done.stderr
        assert reason in done.stderr
    assert command(folder, "tokens", "-m", "umekomi-fake", "hello").returncode == 0


def test_an_encoder_that_cannot_be_imported_breaks_only_its_models(install: Install) -> None:
    catalog = (
        '[encoders.b]\ntype = "broken"\ndims = 3\n[models.b]\ntokenizer = "bytes"\nparts = [{encoder="b", weight=1}]\n'
    )
    groups = {"encoders": {"broken": "broken:build"}, "models": {"x": "broken:models.toml"}}
    folder = install("the-package", groups, broken__py="1 / 0", models__toml=catalog)
    done = command(folder, "bias", "seat", "-m", "b")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: The encoder type 'broken' of the package the-package cannot be imported")
    assert "ZeroDivisionError" in done.stderr
    assert command(folder, "models", "show", "umekomi-fake").returncode == 0


def test_a_plugin_never_replaces_what_umekomi_has(install: Install) -> None:
    folder = install(
        "the-package", {"commands": {"tokens": "evil:x"}, "stores": {"memory": "evil:x"}}, evil__py="1 / 0"
    )
    done = command(folder, "tokens", "-m", "umekomi-fake", "hello")
    assert done.returncode == 0
    assert done.stderr == (
        "The command 'tokens' of the package the-package is ignored, because Umekomi has one of the same name. "
        "Update or uninstall the package.\n"
    )


def test_two_packages_with_one_name_are_an_error_that_names_both(install: Install) -> None:
    install("one", {"commands": {"same": "a:x"}, "stores": {"same": "a:x"}})
    folder = install("two", {"commands": {"same": "b:x"}, "stores": {"same": "b:x"}})
    for arguments in (["same"], ["store", "list", "same://x"]):
        done = command(folder, *arguments)
        assert done.returncode == 2
        assert "'same' of the package one and two is ignored, because two packages define it." in done.stderr
    assert command(folder, "--help").returncode == 0


def test_an_unknown_entry_point_is_one_line_that_names_the_package(install: Install) -> None:
    folder = install("the-package", {"comands": {"hello": "a:x"}, "commands": {"other": "a:x"}})
    done = command(folder, "--help")
    assert done.returncode == 0
    assert "other " in done.stdout
    assert done.stderr.count("\n") == 1
    assert (
        "'hello' of the package the-package is ignored, because the group 'umekomi.comands' is unknown" in done.stderr
    )


def test_unknown_names_list_those_of_plugins(install: Install) -> None:
    folder = install("the-package", {"stores": {"mine": "x:y"}, "commands": {"mine": "x:y"}})
    assert "mine://" in command(folder, "store", "list", "other://x").stderr
    assert "Did you mean 'mine'?" in command(folder, "mime").stderr


@pytest.mark.parametrize(
    ("catalog", "reason"),
    [
        ("[models", "is not a TOML file"),
        ("[models.umekomi-fake]\nparts = []\n", "defines 'umekomi-fake' in [models], which exists already"),
        ('[models.x]\nparts = [{encoder = "none", weight = 1}]\n', "its encoders none are not in the catalog"),
    ],
)
def test_a_broken_catalog_of_a_plugin_is_ignored(install: Install, catalog: str, reason: str) -> None:
    folder = install("the-package", {"models": {"x": "a:a.toml"}}, a__py="", a__toml=catalog)
    done = command(folder, "tokens", "-m", "umekomi-fake", "hello")
    assert done.returncode == 0
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("The package the-package ")
    assert reason in done.stderr


def test_a_catalog_that_is_not_there_is_ignored(install: Install) -> None:
    folder = install("the-package", {"models": {"x": "a:a.toml"}}, a__py="")
    done = command(folder, "tokens", "-m", "umekomi-fake", "hello")
    assert done.returncode == 0
    assert "The catalog 'x' of the package the-package has no file 'a.toml' in a." in done.stderr


def test_help_imports_no_plugin(python: Path) -> None:
    code = "import sys; from umekomi.cli.main import run; run(['--help']); sys.exit('umekomi_example' in sys.modules)"
    assert run(python, "-c", code, PYTHONPATH="").returncode == 0
