"""Our vectors against what torch computes in fp32 from the same weights; see generate.py."""

import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import require_files
from umekomi.assets import AssetStore
from umekomi.catalog import load_catalog
from umekomi.encoders import build_encoder
from umekomi.encoders.base import Encoder
from umekomi.encoders.engine import choose_precision
from umekomi.settings import current

from .texts import TEXTS

LEAST_COSINE = {"fp32": 0.9999, "bf16": 0.999}


def golden(name: str) -> np.ndarray:
    rows = json.loads((Path(__file__).parent / f"{name}.json").read_text("utf-8"))["vectors"]
    return np.stack([np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows])


def encoder(name: str, store: AssetStore, precision: str) -> Encoder:
    catalog = load_catalog()
    # As it was trained: without what a model of ours makes of its vectors afterwards.
    spec = catalog.encoders[name]
    spec = replace(spec, options={key: value for key, value in spec.options.items() if key not in ("center", "script")})
    part = replace(
        next(part for card in catalog.models.values() for part in card.parts if part.encoder == name), options={}
    )
    files = {purpose: store.path(catalog.assets[row]) for purpose, row in spec.assets.items()}
    return build_encoder(spec, part, files, replace(current(), precision=precision))


@pytest.mark.parametrize("precision", sorted({"fp32", choose_precision("auto")}))
@pytest.mark.parametrize("name", ["all-MiniLM-L6-v2", "all-mpnet-base-v2", "multilingual-e5-small"])
def test_vectors_are_those_of_torch(name: str, precision: str, assets_here: AssetStore) -> None:
    require_files(name, assets_here)
    ours = encoder(name, assets_here, precision).encode(TEXTS)
    cosines = (ours * golden(name)).sum(axis=1)
    worst = int(cosines.argmin())
    assert cosines[worst] >= LEAST_COSINE[precision], f"{TEXTS[worst][:60]!r}: {cosines[worst]:.6f}"


def test_there_are_enough_texts_and_all_differ() -> None:
    assert len(TEXTS) >= 50
    assert len(set(TEXTS)) == len(TEXTS)
