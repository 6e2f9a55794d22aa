"""The golden vectors of all models: short texts in English, Japanese and code, and digests of their vectors.

    python tests/golden/cards.py

creates cards.json from the model files on this machine. Run it after an intended change of the vectors, and mention the change
in the changelog: test_cards.py fails if the vectors of a model differ from cards.json.
"""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from umekomi import Embedder
from umekomi.catalog import Role, load_catalog
from umekomi.settings import Settings, current
from umekomi.vectors.arithmetic import FloatArray

FILE = Path(__file__).parent / "cards.json"
TEXTS = [
    "A cat sleeps on the warm roof.",
    "The friction of a flat plate grows\nwith the root of its length.",
    "猫が屋根の上で寝ている。",
    "東京の天気は晴れのち曇りです。",
    "def read_lines(path):\n    return path.read_text().splitlines()",
    "Read all lines of a file, getUserName and 日本語 among them: 3.5%!",
]
HEAD, PROJECTED = 8, 16


def visible_models() -> list[str]:
    """Return the ids of all models that are not hidden."""
    return [card.id for card in load_catalog().models.values() if not card.hidden]


@cache
def load(model: str, settings: Settings) -> Embedder:
    """Return an embedder, cached so that encoders that models share are loaded once."""
    return Embedder(model, settings=settings)


def embed(model: str, settings: Settings) -> dict[str, FloatArray]:
    """Return the vectors of the texts, ``(6, dims) float32``, for each role that the model supports."""
    embedder = load(model, settings)
    roles = [None] if embedder.card.role else [None, Role.QUERY, Role.DOCUMENT]
    return {str(role or "none"): embedder.embed(TEXTS, role=role) for role in roles}


def digest(vectors: FloatArray) -> dict[str, Any]:
    """Return the first values of each vector, its length, and its products with fixed waves over all dimensions.

    The waves have values of about 1, so that a change in any dimension changes the products.
    """
    positions, waves = np.arange(1, vectors.shape[1] + 1), np.arange(1, PROJECTED + 1)
    products = vectors.astype(np.float64) @ np.cos(np.outer(positions, waves) * 0.6180339887)
    return {
        "head": np.round(vectors[:, :HEAD].astype(float), 5).tolist(),
        "projected": np.round(products, 4).tolist(),
        "length": np.round(np.linalg.norm(vectors.astype(float), axis=1), 5).tolist(),
    }


def main() -> None:
    settings = golden_settings()
    rows = {}
    for model in visible_models():
        rows[model] = {role: digest(vectors) for role, vectors in embed(model, settings).items()}
        print(model, flush=True)
    lines = [f"{json.dumps(model)}: {json.dumps(row, separators=(',', ':'))}" for model, row in rows.items()]
    FILE.write_text("{\n" + ",\n".join(lines) + "\n}\n")


def golden_settings() -> Settings:
    """Return the settings of the golden vectors. In fp32, machines agree to five decimals; in bf16 they may not."""
    return replace(current(), precision="fp32")


if __name__ == "__main__":
    main()
