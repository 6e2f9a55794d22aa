"""A trained classifier or regressor as plain arrays: it predicts, and is saved and read without pickle (safetensors and JSON)."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..data.embedded_file import Space
from ..errors import InputError, SpaceMismatchError
from ..files.outputs import atomic_write
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, require_nonzero

Label = str | int | float | bool
_FORMAT = "umekomi-predictor-1"
_BLOCK = 8192


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """What the last, linear step sees of a vector: the vector itself (``gamma`` is 0), or its Gaussian similarity,
    ``exp(-gamma |x - l|²)``, to each of ``landmarks (m, dims)``. ``shift (dims,)`` is taken off first."""

    gamma: float
    shift: FloatArray
    landmarks: FloatArray

    def apply(self, vectors: FloatArray) -> DoubleArray:
        """``(n, dims) -> (n, features) float64``."""
        moved = (vectors - self.shift).astype(np.float64)
        if not self.gamma:
            return moved
        landmarks = (self.landmarks - self.shift).astype(np.float64)
        squares = (moved**2).sum(1)[:, None] + (landmarks**2).sum(1)[None] - 2 * moved @ landmarks.T
        features: DoubleArray = np.exp(-self.gamma * np.maximum(squares, 0.0))
        return features


@dataclass(frozen=True, slots=True)
class Predictor:
    """A trained model.

    Attributes:
        column: the name of what it predicts.
        labels: the classes, sorted; empty for a regressor.
        weights: ``(features, outputs) float64``; ``bias`` is ``(outputs,)``.
        offsets: ``(classes,)``, added to the logarithms of the probabilities before the greatest is taken: how far rare
            classes are preferred. Zeros for a regressor.
        low, high: a regressor's predictions stay within what it was trained on.
        space: the vector space that it was trained in, where that is known.
    """

    column: str
    labels: tuple[Label, ...]
    features: FeatureMap
    weights: DoubleArray
    bias: DoubleArray
    offsets: DoubleArray
    low: float
    high: float
    space: Space | None

    @property
    def is_classifier(self) -> bool:
        """Whether it gives classes rather than numbers."""
        return bool(self.labels)

    def _outputs(self, vectors: npt.ArrayLike) -> DoubleArray:
        rows = require_nonzero(vectors)
        if rows.shape[1] != len(self.features.shift):
            raise InputError(
                f"The model was trained on vectors of {len(self.features.shift)} dimensions; these have {rows.shape[1]}."
            )
        blocks = [rows[start : start + _BLOCK] for start in range(0, len(rows), _BLOCK)]
        outputs: DoubleArray = np.concatenate(
            [self.features.apply(block) @ self.weights + self.bias for block in blocks]
        )
        return outputs

    def probabilities(self, vectors: npt.ArrayLike) -> DoubleArray:
        """Calibrated probabilities of the classes, ``(n, classes) float64``, in the order of ``labels``."""
        if not self.is_classifier:
            raise InputError("This model predicts a number; it has no probabilities.")
        return softmax(self._outputs(vectors))

    def predict(self, vectors: npt.ArrayLike) -> list[Label]:
        """One class, or one number, a row."""
        if not self.is_classifier:
            return [float(value) for value in np.clip(self._outputs(vectors)[:, 0], self.low, self.high)]
        return [self.labels[place] for place in choose(self.probabilities(vectors), self.offsets)]

    def require_space(self, space: Space) -> None:
        """Raise SpaceMismatchError unless vectors of this space are what the model was trained on."""
        if self.space is not None and self.space.fingerprint != space.fingerprint:
            raise SpaceMismatchError(
                f"The model was trained on vectors of {self.space.model} ({self.space.fingerprint}); these are of "
                f"{space.model} ({space.fingerprint}). Embed with that model, or train again."
            )

    def save(self, path: str | Path) -> None:
        """Write the model as one safetensors file with its facts as JSON in the header; nothing in it can run."""
        facts = {
            "format": _FORMAT,
            "column": self.column,
            "labels": list(self.labels),
            "gamma": self.features.gamma,
            "low": self.low,
            "high": self.high,
            "space": asdict(self.space) if self.space else None,
        }
        tensors = {
            "shift": self.features.shift,
            "landmarks": self.features.landmarks,
            "weights": self.weights,
            "bias": self.bias,
            "offsets": self.offsets,
        }
        content = save(
            {name: np.ascontiguousarray(value) for name, value in tensors.items()},
            metadata={"umekomi": json.dumps(facts, ensure_ascii=False)},
        )
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)


def softmax(outputs: DoubleArray) -> DoubleArray:
    """Rows of scores to rows of probabilities."""
    powers = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    shares: DoubleArray = powers / powers.sum(axis=1, keepdims=True)
    return shares


def choose(probabilities: DoubleArray, offsets: DoubleArray) -> IntArray:
    """The class of each row: the greatest of the logarithms of the probabilities plus the offsets."""
    places: IntArray = (np.log(np.maximum(probabilities, 1e-300)) + offsets).argmax(axis=1)
    return places


def load_predictor(path: str | Path) -> Predictor:
    """A model that :meth:`Predictor.save` wrote.

    Raises:
        InputError: the file is not there, or is not such a model.
    """
    if not Path(path).is_file():
        raise InputError(
            f"There is no file {path}. Make it with `umekomi classify EMBEDDED.parquet --label COLUMN --save {path}`."
        )
    try:
        with safe_open(path, framework="np") as file:
            facts: dict[str, Any] = json.loads((file.metadata() or {})["umekomi"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        if facts["format"] != _FORMAT:
            raise KeyError(facts["format"])
        predictor = Predictor(
            column=str(facts["column"]),
            labels=tuple(facts["labels"]),
            features=FeatureMap(float(facts["gamma"]), tensors["shift"], tensors["landmarks"]),
            weights=tensors["weights"],
            bias=tensors["bias"],
            offsets=tensors["offsets"],
            low=float(facts["low"]),
            high=float(facts["high"]),
            space=Space(**facts["space"]) if facts["space"] else None,
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a model that `umekomi classify` or `umekomi regress` saved.") from error
    n_features = len(predictor.features.landmarks) if predictor.features.gamma else len(predictor.features.shift)
    if predictor.weights.shape != (n_features, len(predictor.bias)) or len(predictor.offsets) != len(predictor.bias):
        raise InputError(f"{path} is damaged: its arrays do not fit each other.")
    return predictor
