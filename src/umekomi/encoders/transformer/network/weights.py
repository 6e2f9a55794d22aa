"""Read the weights of a model: safetensors files of every floating-point type, as float32 arrays."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ....errors import InputError
from ....vectors.arithmetic import FloatArray

Tensor = npt.NDArray[Any]

_FLOATS: dict[str, np.dtype[Any]] = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
}
_INTEGERS: dict[str, np.dtype[Any]] = {"I64": np.dtype("<i8"), "I32": np.dtype("<i4"), "I8": np.dtype("i1")}
_IGNORED = ("I64", "I32", "BOOL")
"""Types of buffers such as position ids, which are computed instead of read."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """A 4-bit matrix: each row consists of blocks of 32 numbers with a common scale."""

    #: ``(rows, columns / 32, 16)``. The low halves of the bytes are the first 16 numbers of a block plus 8,
    #: the high halves the others.
    packed: npt.NDArray[np.uint8]
    #: ``(rows, columns / 32)``.
    scales: npt.NDArray[np.float16]

    @property
    def shape(self) -> tuple[int, ...]:
        """``(rows, columns)``."""
        return len(self.packed), 32 * self.packed.shape[1]

    def to_float(self) -> FloatArray:
        """Return the matrix as ``(rows, columns) float32``."""
        numbers = np.concatenate([self.packed & np.uint8(15), self.packed >> np.uint8(4)], axis=2).astype(np.float32)
        numbers -= 8
        numbers *= self.scales.astype(np.float32)[:, :, None]
        return numbers.reshape(len(numbers), -1)


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a tensor is."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    #: In bytes from the start of the file.
    offset: int


class SafetensorsFiles(Mapping[str, Tensor]):
    """The tensors in one or more safetensors files, read each time they are looked up. All are float32.

    Tensors of integers and truth values are left out, except those in ``integers``.

    Args:
        files: Files.
        integers: Names of tensors that may be integers. Their type is not converted.

    Raises:
        InputError: A file has another format, is truncated, or has quantized tensors.
    """

    def __init__(self, files: Sequence[Path], *, integers: Collection[str] = ()) -> None:
        self._entries = {name: entry for file in files for name, entry in _read_entries(file, integers)}

    def __getitem__(self, name: str) -> Tensor:
        entry = self._entries[name]
        dtype = (_FLOATS | _INTEGERS)[entry.dtype]
        stored = np.fromfile(entry.file, dtype=dtype, count=math.prod(entry.shape), offset=entry.offset).reshape(
            entry.shape
        )
        if entry.dtype in _INTEGERS:
            return stored
        if entry.dtype == "BF16":
            # NumPy has no bfloat16, which is the first half of a float32.
            stored = (stored.astype(np.uint32) << 16).view(np.float32)
        tensor: FloatArray = stored.astype(np.float32, copy=False)
        return tensor

    @property
    def n_weights(self) -> int:
        """Number of weights, without reading them."""
        return sum(math.prod(entry.shape) for entry in self._entries.values())

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def count_weights(tensors: Mapping[str, Tensor | Blocks]) -> int:
    """Return the number of weights in tensors. Those of :class:`SafetensorsFiles` are not read."""
    if isinstance(tensors, SafetensorsFiles):
        return tensors.n_weights
    return sum(math.prod(tensor.shape) for tensor in tensors.values())


def _read_entries(file: Path, integers: Collection[str]) -> Iterator[tuple[str, _Entry]]:
    size = file.stat().st_size
    with file.open("rb") as stream:
        prefix = stream.read(8)
        length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else size
        if 8 + length > size:
            raise InputError(f"{file} is truncated or not a safetensors file.")
        try:
            header = json.loads(stream.read(length))
            for name, row in header.items():
                if name in integers or (name != "__metadata__" and row["dtype"] not in _IGNORED):
                    dtypes = _FLOATS | _INTEGERS if name in integers else _FLOATS
                    yield name, _read_entry(file, name, row, dtypes, start=8 + length, size=size)
        except InputError:
            raise
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{file} is not a safetensors file: its header is damaged.") from error


def _read_entry(
    file: Path, name: str, row: Mapping[str, Any], dtypes: Mapping[str, np.dtype[Any]], *, start: int, size: int
) -> _Entry:
    dtype, shape, (first, last) = str(row["dtype"]), tuple(map(int, row["shape"])), row["data_offsets"]
    if dtype not in dtypes:
        raise InputError(
            f"{file} stores {name} as {dtype}; Umekomi reads {', '.join(dtypes)}. Use the model's original weights, which are "
            "not quantized."
        )
    if last - first != math.prod(shape) * dtypes[dtype].itemsize or first < 0 or start + last > size:
        raise InputError(f"{file} is truncated, or its header is damaged: {name} is not inside the file.")
    return _Entry(file, dtype, shape, start + first)
