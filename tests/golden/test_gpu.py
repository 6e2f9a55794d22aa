"""GPU and CPU vectors match the same golden vectors, so both belong to one space."""

import importlib
import random
from importlib.util import find_spec

import pytest

from tests.conftest import require_device, require_files, unavailable
from umekomi.assets.store import AssetStore
from umekomi.encoders.transformer.backends import base as backends

from .texts import TEXTS
from .vectors import NAMES, assert_golden, load_encoder


@pytest.fixture(autouse=True)
def require_torch() -> None:
    if find_spec("torch") is None:
        unavailable("torch is not installed: pip install 'umekomi[gpu]'")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_vectors_on_a_gpu_match_the_golden_vectors(name: str, precision: str, assets_here: AssetStore) -> None:
    require_device("cuda")
    require_files(name, assets_here)
    vectors = load_encoder(name, assets_here, device="cuda", precision=precision).encode(TEXTS)
    assert_golden(name, vectors, precision=precision)


@pytest.mark.parametrize("name", NAMES[::2])
def test_a_text_has_the_same_bytes_in_every_batch_on_a_gpu(name: str, assets_here: AssetStore) -> None:
    require_device("cuda")
    encode = load_encoder(name, assets_here, device="cuda", precision="auto").encode
    alone = {text: encode([text])[0].tobytes() for text in TEXTS}
    random_source = random.Random(5)
    for count in (2, 9, 70, 500, 3000):
        texts = random_source.choices(TEXTS, k=count)
        assert [
            text for text, vector in zip(texts, encode(texts), strict=True) if vector.tobytes() != alone[text]
        ] == []


@pytest.mark.parametrize("name", NAMES[::2])
def test_the_torch_backend_matches_the_golden_vectors_on_the_cpu(
    name: str, assets_here: AssetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "cpu", backends.BACKENDS["cuda"])
    # Smaller batches are faster on a CPU.
    monkeypatch.setattr(importlib.import_module(backends.BACKENDS["cuda"]), "MAX_TOKENS", 512)
    indices = random.Random(2).sample(range(len(TEXTS)), 20)
    vectors = load_encoder(name, assets_here, precision="fp32").encode([TEXTS[index] for index in indices])
    assert_golden(name, vectors, indices, precision="fp32")
