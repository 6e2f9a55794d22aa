"""An encoder for tests and dry runs: hashed words, deterministic, without dependencies and without meaning.

Texts that share words are similar, so search results look plausible.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from ..catalog import EncoderSpec, Part
from ..progress import Progress
from ..settings import Settings
from ..vectors.arithmetic import FloatArray, normalize
from .base import Encoder


class FakeEncoder(Encoder):
    """Gives each word a fixed random vector and sums the words of a text."""

    def __init__(self, dims: int = 64) -> None:
        self.name = "fake"
        self.dims = dims

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        vectors = np.empty((len(texts), self.dims), dtype=np.float32)
        for row, text in enumerate(texts):
            words = text.lower().split() or [""]
            vectors[row] = sum(_word_vector(word, self.dims) for word in words)
            progress(1)
        return normalize(vectors)

    def identity(self) -> dict[str, object]:
        return {"kind": "fake", "dims": self.dims}


@lru_cache(maxsize=16_384)
def _word_vector(word: str, dims: int) -> FloatArray:
    seed = int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
    return np.random.default_rng(seed).standard_normal(dims, dtype=np.float32)


def build(spec: EncoderSpec, part: Part, files: Mapping[str, Path], settings: Settings) -> FakeEncoder:
    """Build the encoder of a row of the catalog."""
    return FakeEncoder(part.options.get("dims", spec.dims))
