"""The vectors of all models match cards.json; see cards.py."""

import json
from typing import Any

import numpy as np
import pytest

from tests.conftest import require_files, unavailable
from umekomi.assets.store import AssetStore

from .cards import FILE, HEAD, PROJECTED, TEXTS, digest, embed, golden_settings, visible_models

# A vector has length 1, and the products are sums over all dimensions. Machines differ far less than this in fp32.
TOLERANCE = {"head": 1e-4, "projected": 2e-3, "length": 1e-5}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    if not FILE.is_file():
        unavailable("cards.json does not exist: run `python tests/golden/cards.py`")
    digests: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return digests


def test_every_card_has_golden_vectors(golden: dict[str, Any]) -> None:
    assert list(golden) == visible_models()
    for roles in golden.values():
        for stored in roles.values():
            assert np.shape(stored["head"]) == (len(TEXTS), HEAD)
            assert np.shape(stored["projected"]) == (len(TEXTS), PROJECTED)
            assert stored["length"] == pytest.approx([1] * len(TEXTS), abs=TOLERANCE["length"])


@pytest.mark.parametrize("model", visible_models())
def test_vectors_match_the_golden_vectors(model: str, golden: dict[str, Any], assets_here: AssetStore) -> None:
    require_files(model, assets_here)
    digests = {role: digest(vectors) for role, vectors in embed(model, golden_settings()).items()}
    assert digests.keys() == golden[model].keys()
    for role, stored in digests.items():
        for part, tolerance in TOLERANCE.items():
            difference = np.abs(np.array(stored[part]) - np.array(golden[model][role][part])).max()
            assert difference <= tolerance, (
                f"{model}, {role}: the {part} differ by {difference:.5f}; see tests/golden/cards.py"
            )


def test_a_change_in_any_dimension_changes_the_digest() -> None:
    vectors = np.full((len(TEXTS), 12288), 12288**-0.5, dtype=np.float32)
    before = np.array(digest(vectors)["projected"])
    for dimension in (9, 700, 12287):
        changed = vectors.copy()
        changed[:, dimension] = 0.05
        assert np.abs(np.array(digest(changed)["projected"]) - before).max() > 10 * TOLERANCE["projected"]
