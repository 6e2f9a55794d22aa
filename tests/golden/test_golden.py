"""The vectors match those that torch computes in fp32 from the same weights; see generate.py."""

import pytest

from tests.conftest import require_files
from umekomi.assets.store import AssetStore
from umekomi.encoders.transformer.backends.openvino import choose_precision

from .texts import TEXTS
from .vectors import NAMES, assert_golden, load_encoder


@pytest.mark.parametrize("precision", sorted({"fp32", choose_precision("auto")}))
@pytest.mark.parametrize("name", NAMES)
def test_vectors_match_torch(name: str, precision: str, assets_here: AssetStore) -> None:
    require_files(name, assets_here)
    vectors = load_encoder(name, assets_here, precision=precision).encode(TEXTS)
    assert_golden(name, vectors, precision=precision)


def test_there_are_at_least_50_different_texts() -> None:
    assert len(TEXTS) >= 50
    assert len(set(TEXTS)) == len(TEXTS)
