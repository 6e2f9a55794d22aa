"""A trained classifier or regressor as plain arrays, saved and loaded without pickle (safetensors and JSON)."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
    """Features that the linear model of a predictor is applied to."""

    #: 0 for the vector itself; otherwise the features are the Gaussian similarities ``exp(-gamma |x - l|²)`` to the
    #: landmarks.
    gamma: float
    #: ``(dims,)``, subtracted from every vector first.
    shift: FloatArray
    #: ``(m, dims)``; empty if ``gamma`` is 0.
    landmarks: FloatArray

    def apply(self, vectors: FloatArray) -> DoubleArray:
        """Compute the features: ``(n, dims) -> (n, features) float64``."""
        shifted = (vectors - self.shift).astype(np.float64)
        if not self.gamma:
            return shifted
        landmarks = (self.landmarks - self.shift).astype(np.float64)
        squares = (shifted**2).sum(1)[:, None] + (landmarks**2).sum(1)[None] - 2 * shifted @ landmarks.T
        features: DoubleArray = np.exp(-self.gamma * np.maximum(squares, 0.0))
        return features


@dataclass(frozen=True, slots=True)
class Predictor:
    """A trained classifier or regressor."""

    #: Name of the column that it predicts.
    column: str
    #: Classes in ascending order; empty for a regressor.
    labels: tuple[Label, ...]
    #: Features of a vector.
    features: FeatureMap
    #: ``(features, outputs) float64``.
    weights: DoubleArray
    #: ``(outputs,)``.
    bias: DoubleArray
    #: ``(classes,)``, added to the log probabilities before the class is chosen, so that rare classes can be preferred.
    #: Zeros for a regressor.
    offsets: DoubleArray
    #: Minimum of a regressor's predictions: the minimum of the training values.
    low: float
    #: Maximum of a regressor's predictions.
    high: float
    #: Vector space of the training vectors, if known.
    space: Space | None

    @property
    def is_classifier(self) -> bool:
        """Whether it predicts classes rather than numbers."""
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
        """Return calibrated probabilities of the classes, ``(n, classes) float64``, in the order of ``labels``."""
        if not self.is_classifier:
            raise InputError("This model predicts a number; it has no probabilities.")
        return softmax(self._outputs(vectors))

    def predict(self, vectors: npt.ArrayLike) -> list[Label]:
        """Return one class, or one number, per row."""
        if not self.is_classifier:
            return [float(value) for value in np.clip(self._outputs(vectors)[:, 0], self.low, self.high)]
        return [self.labels[index] for index in choose_classes(self.probabilities(vectors), self.offsets)]

    def require_space(self, space: Space) -> None:
        """Raise SpaceMismatchError unless the model was trained on vectors of this space."""
        if self.space is not None and self.space.fingerprint != space.fingerprint:
            raise SpaceMismatchError(
                f"The model was trained on vectors of {self.space.model} ({self.space.fingerprint}); these are of "
                f"{space.model} ({space.fingerprint}). Embed with that model, or train again."
            )

    def save(self, path: str | Path) -> None:
        """Write the model as one safetensors file with JSON metadata in its header. The file contains no code."""
        metadata = {
            "format": _FORMAT,
            "column": self.column,
            "labels": list(self.labels),
            "gamma": self.features.gamma,
            "low": self.low,
            "high": self.high,
            "space": self.space.to_dict() if self.space else None,
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
            metadata={"umekomi": json.dumps(metadata, ensure_ascii=False)},
        )
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)


def softmax(outputs: DoubleArray) -> DoubleArray:
    """Convert rows of scores to rows of probabilities."""
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    probabilities: DoubleArray = exponentials / exponentials.sum(axis=1, keepdims=True)
    return probabilities


def choose_classes(probabilities: DoubleArray, offsets: DoubleArray) -> IntArray:
    """Return the index of the class with the greatest sum of log probability and offset, for each row."""
    indices: IntArray = (np.log(np.maximum(probabilities, 1e-300)) + offsets).argmax(axis=1)
    return indices


def load_predictor(path: str | Path) -> Predictor:
    """Load a model that :meth:`Predictor.save` wrote.

    Raises:
        InputError: The file does not exist or is not such a model.
    """
    if not Path(path).is_file():
        raise InputError(
            f"There is no file {path}. Create it with `umekomi classify EMBEDDED.parquet --label COLUMN --save {path}`."
        )
    try:
        with safe_open(path, framework="np") as file:
            metadata: dict[str, Any] = json.loads((file.metadata() or {})["umekomi"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a dictionary
        if metadata["format"] != _FORMAT:
            raise KeyError(metadata["format"])
        predictor = Predictor(
            column=str(metadata["column"]),
            labels=tuple(metadata["labels"]),
            features=FeatureMap(float(metadata["gamma"]), tensors["shift"], tensors["landmarks"]),
            weights=tensors["weights"],
            bias=tensors["bias"],
            offsets=tensors["offsets"],
            low=float(metadata["low"]),
            high=float(metadata["high"]),
            space=Space.from_dict(metadata["space"]) if metadata["space"] else None,
        )
    except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{path} is not a model that `umekomi classify` or `umekomi regress` saved.") from error
    n_features = len(predictor.features.landmarks) if predictor.features.gamma else len(predictor.features.shift)
    if predictor.weights.shape != (n_features, len(predictor.bias)) or len(predictor.offsets) != len(predictor.bias):
        raise InputError(f"{path} is damaged: the shapes of its arrays do not match.")
    return predictor
