"""The golden vectors, and the encoders that must match them."""

import base64
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog
from umekomi.encoders import build_encoder
from umekomi.encoders.base import Encoder
from umekomi.encoders.transformer.encoder import COMPOSITION_OPTIONS
from umekomi.settings import current

from .texts import TEXTS

NAMES = ("all-MiniLM-L6-v2", "all-mpnet-base-v2", "multilingual-e5-small")
MIN_COSINE = {"fp32": 0.9999, "bf16": 0.999, "fp16": 0.9999}


def load_golden(name: str) -> np.ndarray:
    rows = json.loads((Path(__file__).parent / f"{name}.json").read_text("utf-8"))["vectors"]
    return np.stack([np.frombuffer(base64.b64decode(row), dtype="<f4") for row in rows])


def load_encoder(name: str, store: AssetStore, **options: str) -> Encoder:
    catalog = load_catalog()
    # Without the options that our models add to the original encoder.
    spec = catalog.encoders[name]
    spec = replace(spec, options={key: value for key, value in spec.options.items() if key not in COMPOSITION_OPTIONS})
    part = replace(
        next(part for card in catalog.models.values() for part in card.parts if part.encoder == name), options={}
    )
    files = {purpose: store.path(catalog.assets[row]) for purpose, row in spec.assets.items()}
    return build_encoder(spec, part, files, replace(current(), **options))  # type: ignore[arg-type]


def assert_golden(
    name: str, vectors: np.ndarray, indices: Sequence[int] = range(len(TEXTS)), *, precision: str
) -> None:
    """Assert that the vectors of the texts at these indices match the golden vectors."""
    cosines = (vectors * load_golden(name)[list(indices)]).sum(axis=1)
    worst = int(cosines.argmin())
    assert cosines[worst] >= MIN_COSINE[precision], f"{TEXTS[indices[worst]][:60]!r}: {cosines[worst]:.6f}"
