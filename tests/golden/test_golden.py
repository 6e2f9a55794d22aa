"""Our vectors against what torch computes in fp32 from the same weights; see generate.py."""

import pytest

from tests.conftest import require_files
from umekomi.assets.store import AssetStore
from umekomi.encoders.transformer.backends.openvino import choose_precision

from .texts import TEXTS
from .vectors import NAMES, assert_golden, encoder


@pytest.mark.parametrize("precision", sorted({"fp32", choose_precision("auto")}))
@pytest.mark.parametrize("name", NAMES)
def test_vectors_are_those_of_torch(name: str, precision: str, assets_here: AssetStore) -> None:
    require_files(name, assets_here)
    ours = encoder(name, assets_here, precision=precision).encode(TEXTS)
    assert_golden(name, ours, precision=precision)


def test_there_are_enough_texts_and_all_differ() -> None:
    assert len(TEXTS) >= 50
    assert len(set(TEXTS)) == len(TEXTS)
