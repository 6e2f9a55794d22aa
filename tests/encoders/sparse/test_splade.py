"""SPLADE models: every model type matches sentence-transformers, and other folders are rejected."""

import json
import pickle
import random
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.conftest import require_device, unavailable
from umekomi import Embedder, InputError, SparseEmbedder, SparseVectors, UmekomiError
from umekomi.encoders.transformer.backends import base as backends
from umekomi.settings import Settings

from ..cross_encoder.tiny import LONG
from ..transformer.tiny import make_folder as make_dense_model
from .tiny import ACTIVATIONS, MODEL_TYPES, TEXTS, load_golden, make_folder, write_modules

GOLDEN = load_golden()


def dense(vectors: SparseVectors) -> np.ndarray:
    matrix = np.zeros((len(vectors), vectors.dims), dtype=np.float32)
    for row, values in enumerate(matrix):
        for index, value in vectors.row(row).items():
            values[index] = value
    return matrix


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return make_folder(tmp_path / "model", "bert", GOLDEN["bert"])


@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("model_type", MODEL_TYPES)
def test_weights_match_sentence_transformers(
    model_type: str, activation: str, tmp_path: Path, settings: Settings
) -> None:
    golden = GOLDEN[model_type]
    embedder = SparseEmbedder(
        str(make_folder(tmp_path / "model", model_type, golden, activation=activation)), settings=settings
    )
    assert dense(embedder.embed(TEXTS)) == pytest.approx(np.array(golden[activation]), abs=1e-5)
    if activation == "log1p_relu":
        assert dense(embedder.embed(TEXTS, role="query")) == pytest.approx(np.array(golden["query"]), abs=1e-5)


def test_a_folder_of_transformers_is_a_model_too(tmp_path: Path, settings: Settings) -> None:
    folder = make_folder(tmp_path / "model", "distilbert", GOLDEN["distilbert"], activation=None)
    vectors = SparseEmbedder(str(folder), settings=settings).embed(TEXTS)
    assert dense(vectors) == pytest.approx(np.array(GOLDEN["distilbert"]["relu"]), abs=1e-5)


def test_a_folder_of_an_older_version_has_its_own_module(folder: Path, settings: Settings) -> None:
    package = "sparse_encoder.models"
    write_modules(folder, [f"{package}.MLMTransformer.MLMTransformer", f"{package}.SpladePooling.SpladePooling"])
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 48, "do_lower_case": False}))
    vectors = SparseEmbedder(str(folder), settings=settings).embed(TEXTS)
    assert dense(vectors) == pytest.approx(np.array(GOLDEN["bert"]["relu"]), abs=1e-5)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_torch_returns_the_same_weights(
    device: str, folder: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    if find_spec("torch") is None:
        unavailable("torch is not installed: pip install 'umekomi[gpu]'")
    require_device(device)
    monkeypatch.setitem(backends.BACKENDS, "cpu", backends.BACKENDS["cuda"])
    vectors = SparseEmbedder(str(folder), settings=replace(settings, device=device)).embed(TEXTS)
    assert dense(vectors) == pytest.approx(np.array(GOLDEN["bert"]["relu"]), abs=1e-5)


def test_a_text_has_the_same_bytes_among_other_texts(folder: Path, settings: Settings) -> None:
    embedder = SparseEmbedder(str(folder), settings=settings)
    texts = [*TEXTS, LONG]
    alone = {text: embedder.embed([text]) for text in texts}
    source = random.Random(5)
    for _ in range(6):
        batch = source.choices(texts, k=source.randint(2, 40))
        vectors = embedder.embed(batch)
        for row, text in enumerate(batch):
            assert vectors.take([row]).indices.tobytes() == alone[text].indices.tobytes()
            assert vectors.take([row]).values.tobytes() == alone[text].values.tobytes()


def test_a_long_text_has_the_largest_weight_of_its_pieces(folder: Path, settings: Settings) -> None:
    embedder = SparseEmbedder(str(folder), settings=settings)
    first, second = "one two " * 23, "nine eight " * 10
    pieces = dense(embedder.embed([first, second]))
    assert dense(embedder.embed([first + second])) == pytest.approx(pieces.max(axis=0)[None], abs=1e-6)


def test_max_active_dims_keeps_the_largest_weights(folder: Path, settings: Settings) -> None:
    everything = SparseEmbedder(str(folder), settings=settings).embed(["one two"]).row(0)
    edit(folder / "config_sentence_transformers.json", max_active_dims=3)
    few = SparseEmbedder(str(folder), settings=settings).embed(["one two"]).row(0)
    largest = sorted(everything, key=lambda index: -everything[index])[:3]
    assert few == {index: everything[index] for index in sorted(largest)}


def test_a_model_can_be_pickled_and_has_a_fingerprint_of_its_files(folder: Path, settings: Settings) -> None:
    embedder = SparseEmbedder(str(folder), settings=settings)
    copy = pickle.loads(pickle.dumps(embedder))
    assert repr(copy) == f"SparseEmbedder('{folder}', dims=17, fingerprint='{embedder.fingerprint}')"
    assert dense(copy.embed(["one"])).tobytes() == dense(embedder.embed(["one"])).tobytes()
    edit(folder / "1_SpladePooling" / "config.json", activation_function="log1p_relu")
    assert SparseEmbedder(str(folder), settings=settings).fingerprint != embedder.fingerprint


def test_no_texts_have_no_vectors(folder: Path, settings: Settings) -> None:
    assert len(SparseEmbedder(str(folder), settings=settings).embed([])) == 0


def test_damaged_weights_are_an_error(folder: Path, settings: Settings) -> None:
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.bias"][3] = np.inf
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(UmekomiError, match="a weight that is not a finite number"):
        SparseEmbedder(str(folder), settings=settings).embed(["one"])


def test_other_folders_are_rejected_with_the_reason(tmp_path: Path, folder: Path, settings: Settings) -> None:
    def assert_rejected(path: Path, match: str) -> None:
        with pytest.raises(InputError, match=match) as caught:
            SparseEmbedder(str(path), settings=settings)
        assert "\n" not in str(caught.value)

    assert_rejected(
        make_dense_model(tmp_path / "dense", "bert"), "after its first module it has Pooling, .*`umekomi embed -m`"
    )
    assert_rejected(tmp_path / "missing", "There is no folder")
    (tmp_path / "empty").mkdir()
    assert_rejected(tmp_path / "empty", "neither modules.json nor config.json")
    plain = make_folder(tmp_path / "plain", "bert", GOLDEN["bert"], activation=None)
    edit(plain / "config.json", architectures=["BertForSequenceClassification"])
    assert_rejected(plain, "its architecture is BertForSequenceClassification, not …ForMaskedLM")

    edit(folder / "1_SpladePooling" / "config.json", pooling_strategy="sum")
    assert_rejected(folder, '\'pooling_strategy\' is "sum"; Umekomi supports "max"')
    edit(folder / "1_SpladePooling" / "config.json", pooling_strategy="max", activation_function="exp")
    assert_rejected(folder, "'activation_function' is \"exp\"; Umekomi supports relu, log1p_relu")
    edit(folder / "1_SpladePooling" / "config.json", activation_function="relu", surprise=1)
    assert_rejected(folder, "'surprise'")
    make_folder(folder, "bert", GOLDEN["bert"])
    tensors = load_file(folder / "model.safetensors")
    save_file(
        {k: v for k, v in tensors.items() if "LayerNorm" not in k or "predictions" not in k},
        folder / "model.safetensors",
    )
    assert_rejected(
        folder, r"not a masked language model: its weights have no tensor 'cls\.predictions\.transform\.LayerNorm"
    )
    make_folder(folder, "bert", GOLDEN["bert"])
    edit(folder / "config_sentence_transformers.json", similarity_fn_name="euclidean")
    assert_rejected(folder, "by their dot product")
    write_modules(folder, ["base.modules.router.Router"])
    assert_rejected(folder, "a module 'Router', which routes queries and documents through different modules")


def test_a_dense_embedder_names_the_way_to_use_a_splade_model(folder: Path, settings: Settings) -> None:
    with pytest.raises(InputError, match=r"sparse encoder .*`umekomi embed --sparse`"):
        Embedder(str(folder), settings=settings)


@pytest.mark.parametrize("model", ["text-embedding-ada-002", "no-such-model", ""])
def test_a_name_that_is_no_sparse_encoder_is_rejected(model: str) -> None:
    with pytest.raises(InputError, match=r"is not a sparse encoder. Give bm25, the folder of a SPLADE model"):
        SparseEmbedder(model)


def test_an_unknown_role_is_rejected() -> None:
    with pytest.raises(InputError, match="There is no role 'passage'; use query or document"):
        SparseEmbedder("bm25").embed(["one"], role="passage")
