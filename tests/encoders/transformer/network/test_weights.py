"""Weights of every floating-point type become float32; quantized and damaged files are rejected."""

import json
import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from umekomi.encoders.transformer.network.weights import SafetensorsFiles
from umekomi.errors import InputError

VALUES = np.array([[1.5, -2.0, 0.0], [0.25, 3.0, -0.125]], dtype=np.float32)


def write(file: Path, tensors: Mapping[str, tuple[str, bytes, list[int]]]) -> Path:
    """Write a safetensors file with any types."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    body = b""
    for name, (dtype, raw, shape) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    file.write_bytes(struct.pack("<Q", len(text)) + text + body)
    return file


def bfloat16(values: np.ndarray) -> bytes:
    """Return the bytes of values that bfloat16 represents exactly."""
    return (values.astype("<f4").view("<u4") >> 16).astype("<u2").tobytes()


def test_every_floating_point_type_is_read_as_float32(tmp_path: Path) -> None:
    raw = {
        "F64": VALUES.astype("<f8").tobytes(),
        "F32": VALUES.tobytes(),
        "F16": VALUES.astype("<f2").tobytes(),
        "BF16": bfloat16(VALUES),
    }
    file = write(tmp_path / "a.safetensors", {dtype: (dtype, data, [2, 3]) for dtype, data in raw.items()})
    tensors = SafetensorsFiles([file])
    assert list(tensors) == list(raw)
    for tensor in tensors.values():
        assert tensor.dtype == np.float32
        assert (tensor == VALUES).all()


def test_the_tensors_of_several_files_are_one_mapping(tmp_path: Path) -> None:
    for name in "ab":
        save_file({name: VALUES}, tmp_path / f"{name}.safetensors")
    tensors = SafetensorsFiles([tmp_path / "a.safetensors", tmp_path / "b.safetensors"])
    assert {name: tensor.shape for name, tensor in tensors.items()} == {"a": (2, 3), "b": (2, 3)}


def test_buffers_of_integers_are_left_out(tmp_path: Path) -> None:
    save_file({"weight": VALUES, "position_ids": np.arange(4)}, tmp_path / "a.safetensors")
    assert list(SafetensorsFiles([tmp_path / "a.safetensors"])) == ["weight"]


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "I8", "U8", "F4"])
def test_quantized_weights_are_rejected(dtype: str, tmp_path: Path) -> None:
    file = write(tmp_path / "a.safetensors", {"layer.weight": (dtype, bytes(6), [6])})
    with pytest.raises(InputError, match=f"stores layer.weight as {dtype}; Umekomi reads F64, F32, F16, BF16"):
        SafetensorsFiles([file])


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x08",
        struct.pack("<Q", 1 << 60),
        struct.pack("<Q", 2) + b"[]",
        struct.pack("<Q", 4) + b"\xff\xfe\xfd\xfc",
        struct.pack("<Q", 8) + b'{"a": 1}',
        struct.pack("<Q", 20) + b'{"a":{"dtype":"F32"}',
    ],
)
def test_damaged_files_are_rejected(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(InputError, match=r"a\.safetensors is (truncated|not) .*"):
        SafetensorsFiles([tmp_path / "a.safetensors"])


@pytest.mark.parametrize("offsets", [[0, 23], [-24, 0], [0, 100], [8, 32]])
def test_tensors_outside_of_the_file_are_rejected(offsets: list[int], tmp_path: Path) -> None:
    text = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": offsets}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + VALUES.tobytes())
    with pytest.raises(InputError, match="a is not inside the file"):
        SafetensorsFiles([tmp_path / "a.safetensors"])
