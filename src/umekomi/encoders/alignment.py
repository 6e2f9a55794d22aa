"""Make the transformers of a composition independent of a text's language.

The vectors of a multilingual transformer, the *pivot*, contain directions that only encode the language. They hide translations
(LAReQA: Roy et al. 2020, arXiv:2004.05484). A fixed matrix projects them out (Yang et al. 2021, arXiv:2109.04727). A transformer
that knows English only would add noise for other languages. Its vectors of such texts are predicted from the pivot's by a
linear map (the linear case of Reimers & Gurevych 2020, arXiv:2004.09813), and the transformer does not run. Predicted vectors
are shorter than 1, so that the pivot, which they follow from, counts more. A share of the predicted vector is also blended into
the transformer's own vector of an English text, so that both sides of a translation contain it. How English a text is also
follows from the pivot's vector, by a linear classifier: a list of scripts is not enough, because German is in Latin script too.

The matrices are in one file, which benchmarks/alignment.py computes. All products are exact, so that the same vector gives the
same bytes in every batch and on every machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from ..errors import AssetCorruptError
from ..progress import Progress
from ..vectors.arithmetic import DoubleArray, FloatArray
from ..vectors.exact import multiply_exactly, round_to
from .base import Encoder

VERSION = 1
"""Increases whenever the same file gives other vectors."""
VECTOR_STEP = 2.0**-20
"""Vectors are rounded to multiples of this step. Sums of products with the matrices then have less than 53 bits."""
MATRIX_STEP = 2.0**-13
"""The values of the matrices are multiples of this step, and smaller than 8. 16-bit floats can store them."""


PIVOT = "multilingual-e5-small"
"""Name of the encoder whose vectors the matrices apply to."""


class Alignment:
    """The matrices of a pivot and of the transformers that know English only.

    Args:
        projection: ``(dims, dims)``; the pivot's vectors are multiplied by it.
        center: ``(dims,)``, subtracted from projected vectors of length 1.
        classifier: ``(dims + 1,)``: weights and, last, a bias. A text with a value of 1 or more is English, one with 0 or less
            is not. Between them it is partly English.
        predictions: ``(dims, d)`` for each other transformer: the map from the projected and centered vectors to its own.
        predicted_length: ``(1,)``; the length of predicted vectors.
        centered: Whether the pivot's own part is centered. Other transformers are always predicted from centered vectors.
        blend: Share of the predicted vector in the vectors of English texts.
    """

    def __init__(
        self,
        projection: FloatArray,
        center: FloatArray,
        classifier: FloatArray,
        predictions: Mapping[str, FloatArray],
        predicted_length: FloatArray,
        *,
        centered: bool = True,
        blend: float = 0.0,
    ) -> None:
        self._projection = round_to(projection, MATRIX_STEP)
        self._center = center.astype(np.float64)
        self._classifier = round_to(classifier, MATRIX_STEP)
        self._predictions = {name: round_to(matrix, MATRIX_STEP) for name, matrix in predictions.items()}
        self._predicted_length = float(predicted_length[0])
        self._centered = centered
        self._blend = blend

    @classmethod
    def read(cls, path: Path, *, centered: bool = True, blend: float = 0.0) -> Alignment:
        """Read the matrices from a safetensors file.

        Raises:
            AssetCorruptError: The file does not contain them.
        """
        try:
            tensors = {name: tensor.astype(np.float32) for name, tensor in load_file(path).items()}
            named = {name: tensors.pop(name) for name in ("projection", "center", "classifier", "predicted_length")}
        except (OSError, SafetensorError, KeyError) as error:
            raise AssetCorruptError(f"{path} does not contain an alignment. Run `umekomi models verify`.") from error
        return cls(**named, predictions=tensors, centered=centered, blend=blend)

    def encode(
        self, encoders: Sequence[Encoder], texts: Sequence[str], *, role: str | None, progress: Progress | None
    ) -> list[FloatArray]:
        """Encode texts with each encoder, one of which is the pivot: a list of ``(len(texts), dims) float32``."""
        (pivot,) = [encoder for encoder in encoders if encoder.name == PIVOT]
        pivot_vectors = pivot.encode(texts, role=role, progress=progress)
        shares, projected = self.english_shares(pivot_vectors), self.project(pivot_vectors)
        parts = []
        for encoder in encoders:
            if encoder is pivot:
                parts.append(projected if self._centered else self.project(pivot_vectors, centered=False))
            elif encoder.name in self._predictions:
                english = np.flatnonzero(shares > 0.0)
                vectors = np.zeros((len(texts), encoder.dims), dtype=np.float32)
                if progress is not None:
                    progress(len(texts) - len(english))
                if len(english):
                    selected = [texts[index] for index in english.tolist()]
                    vectors[english] = encoder.encode(selected, role=role, progress=progress)
                parts.append(self._add_predicted(encoder.name, vectors, shares, projected))
            else:
                parts.append(encoder.encode(texts, role=role, progress=progress))
        return parts

    def project(self, vectors: FloatArray, *, centered: bool = True) -> FloatArray:
        """Remove the directions of languages and the center: ``(n, dims) -> (n, dims) float32`` of length 1."""
        projected = _normalize(multiply_exactly(vectors, self._projection, VECTOR_STEP))
        return (_normalize(projected - self._center) if centered else projected).astype(np.float32)

    def english_shares(self, vectors: FloatArray) -> DoubleArray:
        """Return how English texts are, from 0 to 1, given the pivot's vectors: ``(n, dims) -> (n,) float64``."""
        scores = multiply_exactly(vectors, self._classifier[:-1, None], VECTOR_STEP)[:, 0] + self._classifier[-1]
        shares: DoubleArray = np.clip(scores, 0.0, 1.0)
        return shares

    def identity(self) -> dict[str, object]:
        """Return what the vectors depend on besides the file, as JSON data. It is part of the model's fingerprint."""
        return {"version": VERSION, "centered": self._centered, **({"blend": self._blend} if self._blend else {})}

    def _add_predicted(
        self, encoder: str, vectors: FloatArray, shares: DoubleArray, projected: FloatArray
    ) -> FloatArray:
        """Replace vectors by predicted ones to the extent to which the texts are not English, and blend them into the others."""
        rows = np.flatnonzero(shares < 1.0) if self._blend == 0.0 else np.arange(len(shares))
        predicted = _normalize(multiply_exactly(projected[rows], self._predictions[encoder], VECTOR_STEP))
        english = shares[rows, None]
        own = vectors[rows].astype(np.float64)
        if self._blend:
            own = _normalize((1.0 - self._blend) * own + self._blend * predicted)
        vectors[rows] = english * own + (1.0 - english) * (predicted * self._predicted_length)
        return vectors


def _normalize(vectors: DoubleArray) -> DoubleArray:
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    return vectors / np.where(lengths > 0.0, lengths, 1.0)[:, None]
