"""The torch backend matches the CPU backend and gives the same bytes in every batch. The tests also run it on the CPU."""

import importlib
import json
import random
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from safetensors.numpy import save_file
from tests.conftest import require_device, unavailable

from umekomi.catalog import Part, load_catalog
from umekomi.encoders import share_encoder
from umekomi.encoders.transformer.backends import base as backends
from umekomi.encoders.transformer.checkpoint import read_safetensors
from umekomi.encoders.transformer.encoder import TransformerEncoder
from umekomi.encoders.transformer.folder.sentence_transformers import load_folder
from umekomi.encoders.transformer.network.weights import Blocks
from umekomi.errors import InputError, MissingExtraError, UmekomiError
from umekomi.settings import Settings
from umekomi.vectors.arithmetic import FloatArray

from .folder.folders import CASE_TEXTS, CASES, make_case
from .tiny import FAMILIES, TEXTS, WORDS, make_folder

FOLDERS = json.loads((Path(__file__).parent / "folder" / "folders.json").read_text("utf-8"))
GOLDEN = json.loads((Path(__file__).parent / "tiny.json").read_text("utf-8"))
Load = Callable[..., TransformerEncoder]


@pytest.fixture
def torch_backend(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The torch backend, which then also runs on the CPU, in small batches."""
    if find_spec("torch") is None:
        unavailable("torch is not installed: pip install 'umekomi[gpu]'")
    monkeypatch.setitem(backends.BACKENDS, "cpu", backends.BACKENDS["cuda"])
    module = importlib.import_module(backends.BACKENDS["cuda"])
    monkeypatch.setattr(module, "MAX_TOKENS", 1024)
    monkeypatch.setattr(module, "SLICE_SIZE", 40)
    return module


@pytest.fixture(params=["cpu", "cuda"])
def load(request: pytest.FixtureRequest, torch_backend: ModuleType, settings: Settings) -> Load:
    """Function that loads the model in a folder on a torch device."""
    require_device(request.param)
    base = replace(settings, device=request.param, precision="fp32")
    return lambda folder, **changed: load_folder(str(folder), replace(base, **changed))[0]


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_matches_transformers(family: str, pooling: str, load: Load, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / family, family, pooling=pooling)
    assert load(folder).encode(TEXTS) == pytest.approx(np.array(GOLDEN[family][pooling]), abs=2e-4)


@pytest.mark.parametrize("case", CASES)
def test_every_module_matches_sentence_transformers(case: str, load: Load, tmp_path: Path) -> None:
    encoder = load(make_case(tmp_path / "model", case))
    texts = [text.upper() for text in CASE_TEXTS] if "lowercase" in case else CASE_TEXTS
    for role, expected in FOLDERS[case].items():
        assert encoder.encode(texts, role=role or None) == pytest.approx(np.array(expected), abs=2e-4), role


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_half_precision_is_close_to_fp32(family: str, precision: str, load: Load, tmp_path: Path) -> None:
    encoder = load(make_folder(tmp_path / family, family), precision=precision)
    assert encoder.precision == precision
    assert (encoder.encode(TEXTS) * np.array(GOLDEN[family]["mean"])).sum(axis=1).min() > 0.999


def test_dense_layers_match_the_cpu_backend(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Settings
) -> None:
    if find_spec("openvino") is None:
        unavailable("OpenVINO is not installed")
    folder = make_folder(tmp_path / "m", "bert")
    modules = json.loads((folder / "modules.json").read_text())
    random_source = np.random.default_rng(3)
    for number, (name, n_in, n_out) in enumerate((("Tanh", 32, 48), ("ReLU", 48, 16))):
        (folder / f"{number}_Dense").mkdir()
        tensors = {
            "linear.weight": random_source.normal(0, 0.5, (n_out, n_in)),
            "linear.bias": random_source.normal(0, 0.5, n_out),
        }
        save_file(
            {key: values.astype(np.float32) for key, values in tensors.items()},
            folder / f"{number}_Dense" / "model.safetensors",
        )
        activation = f"torch.nn.modules.activation.{name}"
        (folder / f"{number}_Dense" / "config.json").write_text(
            json.dumps({"in_features": n_in, "out_features": n_out, "activation_function": activation})
        )
        modules.insert(-1, {"type": "sentence_transformers.models.Dense", "path": f"{number}_Dense"})
    (folder / "modules.json").write_text(json.dumps(modules))
    encoder = load(folder)
    monkeypatch.setitem(backends.BACKENDS, "cpu", "umekomi.encoders.transformer.backends.openvino")
    reference = load_folder(str(folder), replace(settings, precision="fp32"))[0]
    assert encoder.dims == reference.dims == 16
    assert encoder.encode(TEXTS) == pytest.approx(reference.encode(TEXTS), abs=1e-4)
    # Vectors of one backend can be searched with the other.
    assert encoder.identity() == reference.identity()


def test_a_quantized_embedding_table_is_unpacked(torch_backend: ModuleType, settings: Settings, tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m", "bert")
    checkpoint = read_safetensors(*(folder / name for name in ("model.safetensors", "config.json", "tokenizer.json")))
    random_source = np.random.default_rng(4)
    transformer = checkpoint.read()
    packed = random_source.integers(0, 256, (transformer.words.shape[0], 1, 16), dtype=np.uint8)
    blocks = Blocks(packed, random_source.normal(0, 0.1, packed.shape[:2]).astype(np.float16))
    lengths = np.array([4, 3], dtype=np.int32)
    batch = [([0, 1], (np.array([[0, 4, 5, 2]] * 2, dtype=np.int32), lengths, np.zeros_like(lengths)))]

    def vectors(words: FloatArray | Blocks) -> np.ndarray:
        changed = replace(checkpoint, read=lambda: replace(transformer, words=words))
        return next(torch_backend.TorchBackend(changed, settings).run(batch))[1]

    assert vectors(blocks) == pytest.approx(vectors(blocks.to_float()), abs=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "auto"])
@pytest.mark.parametrize("family", ["bert", "mpnet"])
def test_a_text_has_the_same_bytes_in_random_batches_and_from_several_threads(
    family: str, precision: str, load: Load, tmp_path: Path
) -> None:
    encoder = load(make_folder(tmp_path / family, family), precision=precision)
    random_source = random.Random(1)
    texts = [" ".join(random_source.choices(WORDS, k=random_source.randint(1, 90))) for _ in range(60)]
    alone = {text: encoder.encode([text])[0].tobytes() for text in texts}

    def find_differences(seed: int) -> list[str]:
        random_source = random.Random(seed)
        batch_texts = random_source.choices(texts, k=random_source.choice([2, 7, 60, 300]))
        vectors = encoder.encode(batch_texts)
        return [text for text, vector in zip(batch_texts, vectors, strict=True) if vector.tobytes() != alone[text]]

    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(find_differences, range(24))) == [[]] * 24


def test_a_call_can_be_interrupted(load: Load, tmp_path: Path) -> None:
    encoder = load(make_folder(tmp_path / "m", "bert"))
    texts = [word * count for word in WORDS for count in range(1, 30)] * 4
    expected = encoder.encode(texts)

    def stop(count: int) -> None:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        encoder.encode(texts, progress=stop)
    assert encoder.encode(texts).tobytes() == expected.tobytes()


def test_bucket_ends_are_stable_and_close_to_the_lengths(torch_backend: ModuleType) -> None:
    lengths = np.arange(1, 3000)
    ends = torch_backend.bucket_ends(lengths)
    assert (ends >= lengths).all()
    assert (torch_backend.bucket_ends(ends) == ends).all()
    assert (ends[lengths > 16] < 2 * lengths[lengths > 16]).all()
    assert len(set(ends[:512].tolist())) <= 12


@pytest.mark.parametrize("device", ["cuda:99", "mps"])
def test_a_missing_gpu_is_an_error(device: str, torch_backend: ModuleType, settings: Settings, tmp_path: Path) -> None:
    if device == "mps" and torch_backend.torch.backends.mps.is_available():
        return
    with pytest.raises(InputError, match=f"UMEKOMI_DEVICE is {device}.*torch.*unset it to run on the CPU"):
        load_folder(str(make_folder(tmp_path / "m", "bert")), replace(settings, device=device))


def test_a_gpu_without_free_memory_is_an_error(
    torch_backend: ModuleType, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise torch_backend.torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 96.00 MiB.")

    monkeypatch.setattr(torch_backend, "Network", full)
    with pytest.raises(UmekomiError, match="The memory of cpu is full"):
        load_folder(str(make_folder(tmp_path / "m", "bert")), settings)


def test_missing_torch_is_an_error_that_names_the_extra(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("torch", "torch_network", "torch_steps"):
        monkeypatch.delitem(sys.modules, f"umekomi.encoders.transformer.backends.{name}", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"UMEKOMI_DEVICE=cuda needs .* torch: pip install 'umekomi\[gpu\]'\."):
        load_folder(str(make_folder(tmp_path / "m", "bert")), replace(settings, device="cuda"))


def test_an_unknown_device_is_rejected(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no device 'tpu'; use one of cpu, cuda, mps"):
        load_folder(str(make_folder(tmp_path / "m", "bert")), replace(settings, device="tpu"))


def test_models_on_different_devices_have_different_encoders(settings: Settings) -> None:
    spec = load_catalog().encoders["fake"]
    encoder, same, reference = (
        share_encoder(spec, Part("fake", 1.0), {}, replace(settings, device=device))
        for device in ("cpu", "cpu", "cuda")
    )
    assert encoder is same
    assert encoder is not reference
