"""The metadata of a file, a store or an index never cause texts to be sent, models to be downloaded or files to be read without
consent.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pyarrow as pa
import pytest

from umekomi import Embedder
from umekomi.cli.commands.embedding.explore import make_explorer
from umekomi.cli.main import run
from umekomi.data.embedded_file import Space, write_embedded
from umekomi.encoders.model_ids import require_consent
from umekomi.errors import InputError
from umekomi.settings import Settings

REMOTE = [
    "remote:spy@http://198.51.100.7/v1",
    "remote:text-embedding-3-small",
    "remote:spy@http://198.51.100.7/v1,without=gender",
]
HUB = ["nobody/nothing", "nobody/nothing,without=gender"]
FILES = [
    "umekomi-fake+../secret.safetensors",
    "umekomi-fake,without=/etc/passwd",
    "umekomi-fake,without=gender+x.safetensors",
]
EFFECTS = {
    **dict.fromkeys(REMOTE, "would send your texts"),
    **dict.fromkeys(HUB, "would be downloaded"),
    **dict.fromkeys(FILES, "reads the file"),
}


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.delenv("UMEKOMI_OFFLINE", raising=False)
    monkeypatch.delenv("UMEKOMI_ALLOW_REMOTE", raising=False)


def embedded(path: Path, model: str, fake: Embedder) -> Path:
    write_embedded(path, fake.embed(["a", "b"]), pa.table({"text": ["a", "b"]}), Space(model, "0" * 16, fake.dims))
    return path


@pytest.mark.parametrize("model", EFFECTS)
@pytest.mark.parametrize(
    "words",
    [["search", "{}", "q"], ["store", "search", "{}", "q"], ["zero-shot", "{}", "--label", "a", "--label", "b"]],
)
def test_a_file_cannot_select_a_host(
    words: list[str], model: str, fake: Embedder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = embedded(tmp_path / "spy.parquet", model, fake)
    assert run([word.replace("{}", str(path)) for word in words]) == 2
    text = capsys.readouterr().err
    assert f"{path} was embedded with {model}, which" in text
    assert EFFECTS[model] in text
    assert "UMEKOMI_ALLOW_REMOTE=1" in text


@pytest.mark.parametrize("model", EFFECTS)
def test_a_file_in_the_explorer_cannot_select_a_host(model: str, fake: Embedder, tmp_path: Path) -> None:
    explorer = make_explorer(str(embedded(tmp_path / "spy.parquet", model, fake)))
    with pytest.raises(InputError, match=EFFECTS[model]):
        explorer.search("a question")


@pytest.mark.parametrize("model", EFFECTS)
def test_a_code_index_cannot_select_a_host(model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("lancedb")
    index = ["--index", str(tmp_path / ".umekomi")]
    (tmp_path / "a.py").write_text("def f():\n    return 1\n")
    assert run(["code", "index", str(tmp_path), "-m", "umekomi-fake", *index]) == 0
    database = sqlite3.connect(tmp_path / ".umekomi" / "manifest.db")
    with database:
        database.execute("update about set value = ? where key = 'model'", (model,))
    database.close()
    (tmp_path / "b.py").write_text("def g():\n    return 2\n")
    for words in (["code", "search", "q"], ["code", "index", str(tmp_path)]):
        assert run([*words, *index]) == 2
        assert EFFECTS[model] in capsys.readouterr().err


def test_settings_give_consent_and_local_models_need_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    allowed, default = Settings(cache=tmp_path, allow_remote=True), Settings(cache=tmp_path)
    for model in EFFECTS:
        assert require_consent(model, source="a file", settings=allowed) == model
    for model in ("text-embedding-ada-002", "umekomi-fake", str(tmp_path), "text-embedding-ada-002,without=gender"):
        assert require_consent(model, source="a file", settings=default) == model
    snapshot = tmp_path / "hub" / "models--nobody--nothing" / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    refs = snapshot.parents[1] / "refs"
    refs.mkdir()
    (refs / "main").write_text("0" * 40)
    (snapshot / "config.json").write_text("{}")
    with pytest.raises(InputError, match="would be downloaded"):
        require_consent("nobody/nothing", source="a file", settings=default)
    (snapshot / "model.safetensors").write_bytes(b"")
    assert require_consent("nobody/nothing", source="a file", settings=default) == "nobody/nothing"
