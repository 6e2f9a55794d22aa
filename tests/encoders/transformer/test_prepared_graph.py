"""Compiled graphs in the cache folder: the same bytes, read by later processes, and never used if anything has changed."""

import mmap
import os
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from umekomi.encoders.transformer.backends import openvino, prepared_graph
from umekomi.encoders.transformer.folder.sentence_transformers import load_folder
from umekomi.settings import Settings

from .tiny import TEXTS, make_folder


@pytest.fixture(autouse=True)
def _prepare_small_models(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepared_graph, "MIN_BYTES", 0)


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the graphs that were compiled instead of read."""
    names: list[str] = []
    compile_graph = openvino._compile

    def record(graph: openvino.ov.Model, options: dict[str, str]) -> openvino.ov.CompiledModel:
        names.append(graph.friendly_name)
        return compile_graph(graph, options)

    monkeypatch.setattr(openvino, "_compile", record)
    return names


def encode(folder: Path, settings: Settings) -> np.ndarray:
    vectors = load_folder(str(folder), settings)[0].encode(TEXTS)
    for thread in threading.enumerate():
        if thread.name == "umekomi-prepare":
            thread.join()
    return vectors


@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_a_later_start_reads_the_graph_and_gives_the_same_bytes(
    family: str, tmp_path: Path, settings: Settings, compiled: list[str]
) -> None:
    folder = make_folder(tmp_path / "m", family)
    expected = encode(folder, settings)
    assert compiled
    compiled.clear()
    assert (encode(folder, settings) == expected).all()
    assert not compiled


def test_a_later_start_does_not_import_what_builds_graphs(tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    package = "umekomi.encoders.transformer"
    script = f"""
import sys
from umekomi import Embedder
from {package}.backends import prepared_graph
prepared_graph.MIN_BYTES = 0
Embedder({str(folder)!r}).embed(["one"])
print(*[name in sys.modules for name in ("{package}.network.assembly", "{package}.backends.openvino_graph")])
"""
    environment = {**os.environ, "UMEKOMI_CACHE": str(settings.cache)}
    starts = [
        subprocess.run(
            [sys.executable, "-c", script], env=environment, check=True, capture_output=True, text=True
        ).stdout
        for _ in range(2)
    ]
    assert starts == ["True True\n", "False False\n"]


def test_pages_are_released_after_the_import_and_the_first_batch(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    expected = encode(folder, settings)
    released: list[int] = []
    release = prepared_graph._release_pages
    monkeypatch.setattr(prepared_graph, "_release_pages", lambda *arguments: (released.append(1), release(*arguments)))
    encoder = load_folder(str(folder), settings)[0]
    assert len(released) == 1
    for _ in range(2):
        assert (encoder.encode(TEXTS) == expected).all()
        assert len(released) == 2


def test_other_weights_settings_or_versions_are_compiled(
    tmp_path: Path, settings: Settings, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    encode(folder, settings)

    def is_compiled(settings: Settings) -> bool:
        compiled.clear()
        encode(folder, settings)
        return bool(compiled)

    assert not is_compiled(settings)
    assert is_compiled(replace(settings, precision="fp32"))
    assert is_compiled(replace(settings, batch_tokens=64))
    monkeypatch.setattr(prepared_graph, "VERSION", 1_000_000)
    assert is_compiled(settings)
    make_folder(folder, "mpnet")
    assert is_compiled(settings)


@pytest.mark.parametrize("damage", ["truncated", "changed", "deleted", "description"])
def test_a_damaged_graph_is_compiled_again(
    damage: str, tmp_path: Path, settings: Settings, compiled: list[str]
) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    expected = encode(folder, settings)
    (blob,) = (settings.cache / "prepared").glob("*/model.blob")
    if damage == "truncated":
        blob.write_bytes(blob.read_bytes()[:100])
    elif damage == "changed":
        content = bytearray(blob.read_bytes())
        content[len(content) // 2] ^= 255
        blob.write_bytes(content)
    elif damage == "deleted":
        blob.unlink()
    else:
        (blob.parent / "model.json").write_text("{}")
    compiled.clear()
    assert (encode(folder, settings) == expected).all()
    assert compiled
    compiled.clear()
    assert (encode(folder, settings) == expected).all()
    assert not compiled


def test_nothing_is_stored_if_it_is_disabled_or_the_cache_cannot_be_written(tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    expected = encode(folder, replace(settings, prepare=False))
    assert not (settings.cache / "prepared").exists()
    settings.cache.mkdir(exist_ok=True)
    (settings.cache / "prepared").write_text("a file")
    assert (encode(folder, settings) == expected).all()


@pytest.mark.skipif(not Path("/proc/self/smaps").is_file(), reason="needs Linux")
@pytest.mark.parametrize("is_written", [False, True])
def test_pages_that_were_written_stay_in_memory(is_written: bool, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"a" * 100_000)
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    address = np.frombuffer(mapping, dtype=np.uint8).ctypes.data
    assert bytes(mapping) == path.read_bytes()
    if is_written:
        mapping[0:1] = b"b"
    assert (prepared_graph._count_written(address) == 0) is not is_written
    prepared_graph._release_pages(mapping, address)
    assert bytes(mapping) == (b"b" if is_written else b"a") + b"a" * 99_999
