"""``umekomi models convert``: a folder with an ONNX file that gives the same vectors, and clear errors."""

import json
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Run, unavailable
from tests.encoders.cross_encoder.test_model import GOLDEN
from tests.encoders.cross_encoder.tiny import make_folder as make_reranker
from tests.encoders.sparse.tiny import load_golden as load_sparse_golden
from tests.encoders.sparse.tiny import make_folder as make_sparse
from tests.encoders.transformer.tiny import TEXTS, make_folder

from umekomi import Embedder
from umekomi.settings import Settings
from umekomi.vectors.arithmetic import cosine


def require_exporter() -> None:
    missing = [name for name in ("torch", "transformers", "onnxscript") if find_spec(name) is None]
    if missing:
        unavailable(f"{missing[0]} is not installed: run `pip install 'umekomi[convert]'`")


@pytest.mark.slow
def test_a_converted_folder_gives_the_vectors_of_the_source(
    tmp_path: Path, settings: Settings, umekomi_process: Run
) -> None:
    require_exporter()
    source = make_folder(tmp_path / "source", "bert", pooling="cls")
    done = umekomi_process("models", "convert", source, "-o", tmp_path / "converted", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["cosine"] > 0.9999
    assert Path(result["file"]).stat().st_size == result["bytes"]
    assert not list((tmp_path / "converted").rglob("*.safetensors"))
    vectors = [Embedder(str(tmp_path / name), settings=settings).embed(TEXTS) for name in ("source", "converted")]
    assert np.diag(cosine(*vectors)).min() > 0.999
    # A second run replaces the folder.
    assert umekomi_process("models", "convert", source, "-o", tmp_path / "converted").returncode == 0


@pytest.mark.slow
def test_the_encoder_of_t5_is_converted_without_a_decoder(tmp_path: Path, umekomi_process: Run) -> None:
    require_exporter()
    transformers = import_module("transformers")
    source = make_folder(tmp_path / "source", "bert")
    for name in ("model.safetensors", "config.json"):
        (source / name).unlink()
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 1, "num_heads": 2, "vocab_size": 16}
    transformers.T5EncoderModel(transformers.T5Config(**sizes)).save_pretrained(source)
    done = umekomi_process("models", "convert", source, "-o", tmp_path / "converted")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_a_model_without_some_weights_is_not_converted(tmp_path: Path, umekomi_process: Run) -> None:
    require_exporter()
    source = make_folder(tmp_path / "source", "bert")
    config = json.loads((source / "config.json").read_text())
    (source / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    done = umekomi_process("models", "convert", source, "-o", tmp_path / "converted")
    assert done.returncode == 2
    assert "have no tensor 'encoder.layer.2" in done.stderr.splitlines()[-1]
    assert not (tmp_path / "converted").exists()


def test_folders_that_umekomi_did_not_create_are_not_overwritten(tmp_path: Path, umekomi_process: Run) -> None:
    require_exporter()
    source = make_folder(tmp_path / "source", "bert")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file.txt").write_text("mine")
    for output in ("mine", "source", "source/inside"):
        done = umekomi_process("models", "convert", source, "-o", tmp_path / output)
        assert (done.returncode, done.stdout) == (2, "")
    assert (tmp_path / "mine" / "file.txt").read_text() == "mine"
    assert (source / "model.safetensors").exists()


def test_a_folder_without_a_transformer_is_an_error(tmp_path: Path, umekomi: Run) -> None:
    done = umekomi("models", "convert", tmp_path, "-o", tmp_path / "converted")
    assert done.returncode == 2
    assert "has no config.json" in done.stderr
    assert not (tmp_path / "converted").exists()


def test_rerankers_and_splade_models_are_rejected_because_their_last_layer_would_be_missing(
    tmp_path: Path, umekomi: Run
) -> None:
    reranker = make_reranker(tmp_path / "reranker", "bert", GOLDEN["bert"])
    splade = make_sparse(tmp_path / "splade", "bert", load_sparse_golden()["bert"])
    for folder, kind in ((reranker, "reranker"), (splade, "SPLADE model")):
        done = umekomi("models", "convert", folder, "-o", tmp_path / "converted")
        assert done.returncode == 2
        assert f"is a {kind}. Umekomi converts embedding models only" in done.stderr
        assert not (tmp_path / "converted").exists()


def test_without_the_extra_one_sentence_names_it(tmp_path: Path, umekomi: Run) -> None:
    if find_spec("onnxscript") is not None:
        # The message is the same as that of every other extra, whose tests need no such environment.
        return
    source = make_folder(tmp_path / "source", "bert")
    done = umekomi("models", "convert", source, "-o", tmp_path / "converted")
    assert done.returncode == 2
    assert "pip install 'umekomi[convert]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1
