"""Every card's vectors against those written in cards.json; see cards.py."""

import json
from typing import Any

import numpy as np
import pytest

from tests.conftest import require_files, unavailable
from umekomi.assets.store import AssetStore

from .cards import FILE, HEAD, PROJECTED, TEXTS, digest, embed, exact, visible

# A vector has length 1. The products are sums over all dimensions; what machines differ by in fp32 stays far below these.
TOLERANCE = {"head": 1e-4, "projected": 2e-3, "length": 1e-5}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    if not FILE.is_file():
        unavailable("the cards' golden vectors are not written: run `python tests/golden/cards.py`")
    found: dict[str, Any] = json.loads(FILE.read_text("utf-8"))
    return found


def test_every_card_has_golden_vectors(golden: dict[str, Any]) -> None:
    assert list(golden) == visible()
    for sides in golden.values():
        for kept in sides.values():
            assert np.shape(kept["head"]) == (len(TEXTS), HEAD)
            assert np.shape(kept["projected"]) == (len(TEXTS), PROJECTED)
            assert kept["length"] == pytest.approx([1] * len(TEXTS), abs=TOLERANCE["length"])


@pytest.mark.parametrize("model", visible())
def test_vectors_are_those_written_here(model: str, golden: dict[str, Any], assets_here: AssetStore) -> None:
    require_files(model, assets_here)
    found = {side: digest(vectors) for side, vectors in embed(model, exact()).items()}
    assert found.keys() == golden[model].keys()
    for side, kept in found.items():
        for what, tolerance in TOLERANCE.items():
            apart = np.abs(np.array(kept[what]) - np.array(golden[model][side][what])).max()
            assert apart <= tolerance, (
                f"{model}, {side}: the {what} are {apart:.5f} apart; tests/golden/cards.py says why"
            )


def test_a_change_of_any_dimension_shows() -> None:
    vectors = np.full((len(TEXTS), 12288), 12288**-0.5, dtype=np.float32)
    before = np.array(digest(vectors)["projected"])
    for place in (9, 700, 12287):
        changed = vectors.copy()
        changed[:, place] = 0.05
        assert np.abs(np.array(digest(changed)["projected"]) - before).max() > 10 * TOLERANCE["projected"]
