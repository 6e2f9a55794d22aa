"""The GPU's vectors against the same golden ones as the CPU's: one space, whose vectors may be mixed."""

import importlib
import random
from importlib.util import find_spec

import pytest

from tests.conftest import require_device, require_files, unavailable
from umekomi.assets.store import AssetStore
from umekomi.encoders.transformer.backends import base as backends

from .texts import TEXTS
from .vectors import NAMES, assert_golden, encoder


@pytest.fixture(autouse=True)
def torch_here() -> None:
    if find_spec("torch") is None:
        unavailable("torch is not here: pip install 'umekomi[gpu]'")


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("name", NAMES)
def test_vectors_on_a_gpu_are_those_of_the_cpu(name: str, precision: str, assets_here: AssetStore) -> None:
    require_device("cuda")
    require_files(name, assets_here)
    ours = encoder(name, assets_here, device="cuda", precision=precision).encode(TEXTS)
    assert_golden(name, ours, precision=precision)


@pytest.mark.parametrize("name", NAMES[::2])
def test_a_text_has_the_same_bytes_on_a_gpu_whatever_its_neighbours(name: str, assets_here: AssetStore) -> None:
    require_device("cuda")
    encode = encoder(name, assets_here, device="cuda", precision="auto").encode
    alone = {text: encode([text])[0].tobytes() for text in TEXTS}
    choose = random.Random(5)
    for count in (2, 9, 70, 500, 3000):
        some = choose.choices(TEXTS, k=count)
        assert [text for text, vector in zip(some, encode(some), strict=True) if vector.tobytes() != alone[text]] == []


@pytest.mark.parametrize("name", NAMES[::2])
def test_the_torch_backend_has_the_golden_vectors_on_the_cpu_too(
    name: str, assets_here: AssetStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(backends.BACKENDS, "cpu", backends.BACKENDS["cuda"])
    # Batches that suit a CPU.
    monkeypatch.setattr(importlib.import_module(backends.BACKENDS["cuda"]), "MAX_TOKENS", 512)
    some = random.Random(2).sample(range(len(TEXTS)), 20)
    ours = encoder(name, assets_here, precision="fp32").encode([TEXTS[place] for place in some])
    assert_golden(name, ours, some, precision="fp32")
