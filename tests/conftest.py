"""Fixtures for all tests: models, data sets and commands. A test whose files are missing is skipped with a reason."""

import importlib
import io
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, cast

import pytest

from umekomi import Embedder
from umekomi.assets.store import AssetStore
from umekomi.catalog import DEFAULT_MODEL, Catalog, load_catalog, parse_catalog
from umekomi.settings import Settings, current

pytest_plugins = ["tests.rerun"]

# Tests that run in the background or under nohup ignore these signals, and so would the processes that they start.
SIGNALS = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
if hasattr(signal, "SIGHUP"):
    SIGNALS[signal.SIGHUP] = signal.SIG_DFL
for _number, _handler in SIGNALS.items():
    signal.signal(_number, _handler)

# Servers that tests start store their files and batches here, not in the home folder of the user.
os.environ.setdefault("UMEKOMI_STATE", tempfile.mkdtemp(prefix="umekomi-tests-"))

DATA = Path(__file__).parents[2] / "shared" / "data"


def unavailable(reason: str) -> NoReturn:
    """Skip the test, or fail if UMEKOMI_TEST_STRICT=1 requires all files."""
    if os.environ.get("UMEKOMI_TEST_STRICT") == "1":
        pytest.fail(f"{reason} (and UMEKOMI_TEST_STRICT is set)")
    pytest.skip(reason)


def require_device(device: str) -> None:
    """Skip the test if torch finds no such GPU, even with UMEKOMI_TEST_STRICT=1, because CI machines have none."""
    if device == "cuda" and not importlib.import_module("torch").cuda.is_available():
        pytest.skip("needs a GPU: torch finds none")


@pytest.fixture(scope="session")
def assets_here() -> AssetStore:
    """Return the asset store, which contains the files of the default model."""
    store, catalog = AssetStore(current()), load_catalog()
    missing = [asset.file for asset in catalog.assets_of(catalog.model(DEFAULT_MODEL)) if store.find(asset) is None]
    if missing:
        unavailable(f"the model files are missing ({missing[0]}, …): run `umekomi models pull`")
    return store


@pytest.fixture(scope="session")
def embedder_of(assets_here: AssetStore) -> Callable[[str], Embedder]:
    """Return a function that loads any model of the catalog whose files are on this machine."""

    def load(model: str) -> Embedder:
        require_files(model, assets_here)
        return Embedder(model)

    return load


def require_files(model: str, store: AssetStore) -> None:
    """Skip the test if files of a model are missing, and name the command that downloads them."""
    catalog = load_catalog()
    missing = [asset.file for asset in catalog.assets_of(catalog.model(model)) if store.find(asset) is None]
    if missing:
        unavailable(f"the files of {model} are missing ({missing[0]}, …): run `umekomi models pull {model}`")


@pytest.fixture(scope="session")
def ada(assets_here: AssetStore) -> Embedder:
    """Return text-embedding-ada-002, loaded once."""
    return Embedder(DEFAULT_MODEL)


@pytest.fixture(scope="session")
def fake() -> Embedder:
    """Return a model without meaning that needs no files."""
    return Embedder("umekomi-fake")


PAIR = """
[encoders.words]
type = "fake"
dims = 64
license = "Apache-2.0"
description = "-"
[models.fake-doc]
dimensions = 64
tokenizer = "bytes"
max_tokens = 8191
description = "-"
space = "fake-pair"
role = "document"
pair = "fake-query"
parts = [{ encoder = "words", weight = 1.0 }]
[models.fake-query]
like = "fake-doc"
role = "query"
pair = "fake-doc"
"""


@pytest.fixture(scope="session")
def pair_catalog() -> Catalog:
    """Return a catalog with a document model and its query model, which need no files."""
    return parse_catalog(PAIR)


@pytest.fixture(scope="session")
def data() -> Path:
    """Return the folder of development data sets."""
    if not DATA.is_dir():
        unavailable("the development data sets are missing (../shared/data)")
    return DATA


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Return settings with an empty cache and no network."""
    return Settings(cache=tmp_path / "cache", offline=True)


Run = Callable[..., subprocess.CompletedProcess[str]]


@contextmanager
def _stream(content: str = "") -> Iterator[io.TextIOWrapper]:
    """Return a standard stream on a temporary file with this content."""
    with tempfile.TemporaryFile() as raw:
        raw.write(content.encode())
        raw.seek(0)
        yield io.TextIOWrapper(cast(IO[bytes], raw), encoding="utf-8", write_through=True)


def _written(stream: io.TextIOWrapper) -> str:
    stream.flush()
    stream.buffer.seek(0)
    return stream.buffer.read().decode()


@pytest.fixture
def umekomi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs a command in an empty folder, such as ``umekomi("tokens", "hello")``.

    The command runs in this process, which is faster. :func:`umekomi_process` starts a new process.
    """
    main = importlib.import_module("umekomi.cli.main")

    def run(*arguments: object, input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:  # noqa: A002
        command = [str(argument) for argument in arguments]
        with monkeypatch.context() as patch, _stream(input or "") as standard_in, _stream() as out, _stream() as err:
            patch.chdir(tmp_path)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.setattr(sys, "stdin", standard_in)
            patch.setattr(sys, "stdout", out)
            patch.setattr(sys, "stderr", err)
            current.cache_clear()
            handlers = {number: signal.getsignal(number) for number in SIGNALS}
            log = logging.getLogger()
            before = (log.handlers[:], log.level)
            try:
                status = main.run(command)
            finally:
                current.cache_clear()
                log.handlers[:], level = before
                log.setLevel(level)
                for number, handler in handlers.items():
                    signal.signal(number, handler)
            return subprocess.CompletedProcess(command, status, _written(out), _written(err))

    return run


@pytest.fixture
def umekomi_process(tmp_path: Path) -> Run:
    """Return a function that runs a command in a new process, to test signals, file descriptors and the exit."""

    def run(*arguments: object, input: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:  # noqa: A002
        return subprocess.run(
            [sys.executable, "-m", "umekomi", *map(str, arguments)],
            cwd=tmp_path,
            env={**os.environ, **environment},
            input=input,
            stdin=None if input is not None else subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run
