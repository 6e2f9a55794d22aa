"""A matrix that customizes the vectors of a model for one task; :mod:`umekomi.tasks.customize` learns it.

A vector ``v`` becomes ``v (I + L R)`` or ``v M``, scaled to length 1. The file is in safetensors format, with a tensor ``matrix``
``(dims, new dims)`` or the tensors ``left`` ``(dims, rank)`` and ``right`` ``(rank, dims)``. Its metadata name the model and the
fingerprint of the vectors that it was learned for.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from ..errors import InputError, SpaceMismatchError
from ..files.outputs import atomic_write
from .arithmetic import DoubleArray, FloatArray, as_matrix, normalize
from .directions import split_model
from .exact import matrix_step, multiply_exactly, next_power, round_to

SEPARATOR = "+"
"""Separates a model's id from the path of a matrix: ``text-embedding-ada-002+my.safetensors``."""

SUFFIX = ".safetensors"
VERSION = 2
"""Increases whenever the same file gives other vectors."""
_FORMAT = "umekomi-matrix-1"
_TENSORS = ({"matrix"}, {"left", "right"})
_BLOCK = 1024
_VECTOR_STEP = 2.0**-24


@dataclass(frozen=True)
class Matrix:
    """A linear map of vectors."""

    #: ``matrix`` of ``(dims, new dims) float32``, or ``left`` ``(dims, rank)`` and ``right`` ``(rank, dims)``.
    tensors: Mapping[str, FloatArray] = field(repr=False)
    #: Model and fingerprint of the vectors that the matrix was learned for. Empty if they are unknown.
    model: str = ""
    fingerprint: str = ""
    #: SHA-256 of the data that it was learned from.
    data: str = ""
    #: Path of the file, as the user gave it.
    path: str = ""

    @classmethod
    def from_array(cls, values: npt.ArrayLike) -> Matrix:
        """Return the matrix of an array ``(dims, new dims)``.

        Raises:
            InputError: The array does not have two axes, or has values that are not finite.
        """
        return cls({"matrix": as_matrix(values)})

    @property
    def dims_in(self) -> int:
        """The dimensions of the vectors that the matrix can be applied to."""
        return len(self.tensors["left" if "left" in self.tensors else "matrix"])

    @property
    def dims_out(self) -> int:
        """The dimensions of the new vectors."""
        return int(self.tensors["right" if "right" in self.tensors else "matrix"].shape[1])

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that identify the values of the matrix."""
        state = hashlib.sha256(f"{VERSION}".encode())
        for name, values in sorted(self.tensors.items()):
            state.update(f"{name}{values.shape}".encode())
            state.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
        return state.hexdigest()[:16]

    @property
    def name(self) -> str:
        """The path of the file, or a name made of the digest."""
        return self.path or f"{self.digest}{SUFFIX}"

    def combined_fingerprint(self, fingerprint: str) -> str:
        """Return the fingerprint of the new vectors, given that of the model's own."""
        return hashlib.sha256(f"{fingerprint}{SEPARATOR}{self.digest}".encode()).hexdigest()[:16]

    def require_space(self, model: str, fingerprint: str, dims: int) -> None:
        """Raise SpaceMismatchError unless the matrix was learned for vectors of this space."""
        if self.fingerprint and self.fingerprint != fingerprint:
            raise SpaceMismatchError(
                f"{self.name} was learned for vectors of {self.model} ({self.fingerprint}), not of {model} ({fingerprint}). "
                "Use it with that model, or learn a new one with `umekomi customize`."
            )
        if dims != self.dims_in:
            raise SpaceMismatchError(
                f"{self.name} applies to vectors of {self.dims_in} dimensions, and those of {model} have {dims}."
            )

    def apply(self, vectors: FloatArray) -> FloatArray:
        """Return the new vectors, of length 1: ``(n, dims) -> (n, new dims) float32``.

        The products are exact, so that a vector has the same bytes in every batch.
        """
        result = np.empty((len(vectors), self.dims_out), dtype=np.float32)
        for start in range(0, len(vectors), _BLOCK):
            rows = normalize(vectors[start : start + _BLOCK])
            products: FloatArray | DoubleArray = rows
            for factor, step in self._factors:
                products = multiply_exactly(products, factor, step)
            result[start : start + _BLOCK] = products if "matrix" in self.tensors else rows + products
        return normalize(result)

    @cached_property
    def _factors(self) -> list[tuple[DoubleArray, float]]:
        """Return the rounded matrices to multiply by, one after the other, each with the step of the vectors before it."""
        factors, length = [], 1.0
        for name in ("matrix", "left", "right"):
            if name in self.tensors:
                values, step = self.tensors[name], length * _VECTOR_STEP
                factors.append((round_to(values, matrix_step(values, step, length)), step))
                length = next_power(length * float(np.linalg.norm(values.astype(np.float64))))
        return factors

    def save(self, path: str | Path) -> None:
        """Write the matrix as a safetensors file.

        Raises:
            InputError: The file cannot be written.
        """
        metadata = {"format": _FORMAT, "version": VERSION, "model": self.model, "fingerprint": self.fingerprint}
        content = save(
            {name: np.ascontiguousarray(values) for name, values in self.tensors.items()},
            metadata={"umekomi": json.dumps({**metadata, "data": self.data}, ensure_ascii=False)},
        )
        with atomic_write(path) as temporary:
            temporary.write_bytes(content)


def load_matrix(path: str | Path) -> Matrix:
    """Read a matrix that :meth:`Matrix.save` wrote, or a safetensors file with a tensor ``matrix``.

    Raises:
        InputError: There is no such file, it is damaged, or its tensors are not those of a matrix.
    """
    file_path = Path(path).expanduser()
    if not file_path.is_file():
        raise InputError(f"There is no file {path} with a matrix. `umekomi customize` writes one.")
    try:
        with safe_open(file_path, framework="np") as file:
            metadata = json.loads((file.metadata() or {}).get("umekomi", "{}"))
            names = set(file.keys())
            tensors = {name: file.get_tensor(name) for name in names} if names in _TENSORS else {}
    except (SafetensorError, OSError, ValueError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged, or is not a safetensors file.") from error
    shapes = [tensors[name].shape for name in sorted(tensors)]
    is_valid = (
        isinstance(metadata, dict)
        and tensors
        and all(len(shape) == 2 and min(shape) > 0 for shape in shapes)
        and all(values.dtype.kind == "f" and np.isfinite(values).all() for values in tensors.values())
        and (len(shapes) == 1 or shapes[0] == shapes[1][::-1])
    )
    if not is_valid:
        raise InputError(f"{path} does not contain a matrix that `umekomi customize` wrote.")
    if metadata.get("version", VERSION) != VERSION:
        raise InputError(f"{path} was written by another version of Umekomi. Learn the matrix again.")
    model, fingerprint, data = (str(metadata.get(name, "")) for name in ("model", "fingerprint", "data"))
    return Matrix(
        {name: np.ascontiguousarray(values, dtype=np.float32) for name, values in tensors.items()},
        model, fingerprint, data, str(path),
    )  # fmt: skip


def as_learned(matrix: Matrix | str | Path | npt.ArrayLike) -> Matrix:
    """Return a matrix, or read it if it is a path, or make it of an array ``(dims, new dims)``."""
    if isinstance(matrix, Matrix):
        return matrix
    return load_matrix(matrix) if isinstance(matrix, str | Path) else Matrix.from_array(matrix)


def split_matrix(model: str) -> tuple[str, str]:
    """Split a model's id into the model and the path of a matrix, which may be empty.

    >>> split_matrix("text-embedding-ada-002+my.safetensors")
    ('text-embedding-ada-002', 'my.safetensors')
    """
    if not model.endswith(SUFFIX) or SEPARATOR not in model:
        return model, ""
    splits = [(model[:index], model[index + 1 :]) for index, letter in enumerate(model) if letter == SEPARATOR]
    # Folders and files may have a plus sign in their names too.
    return next(((base, path) for base, path in splits if Path(path).expanduser().is_file()), splits[-1])


def base_model(model: str) -> str:
    """Return a model's id without a direction and a matrix.

    >>> base_model("text-embedding-ada-002,without=gender+my.safetensors")
    'text-embedding-ada-002'
    """
    return split_model(split_matrix(model)[0])[0]
