"""Tiny models of every architecture, whose weights are generated from their names, so that the repository stays small.

architectures.json has the configuration, the names and shapes of the tensors as transformers saves them, and its states.
"""

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..tiny import write_tokenizer

CASES: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "architectures.json").read_text("utf-8"))
N_WORDS = 64
LENGTHS = (1, 7, 40, 200)
"""Numbers of tokens of the texts: some are longer than the windows of local attention, and than the far buckets of T5."""
STORED = {"F32": "<f4", "F16": "<f2", "BF16": "<u2", "F64": "<f8"}


def token_ids() -> list[np.ndarray]:
    """Return the token ids of the texts."""
    random = np.random.default_rng(5)
    return [random.integers(4, N_WORDS, length).astype(np.int32) for length in LENGTHS]


def generate(name: str, shape: list[int]) -> np.ndarray:
    """Return the values of a tensor, which bfloat16 and float16 represent exactly."""
    random = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        values = random.normal(0, 0.3, shape)
    else:
        values = random.normal(1 if name.endswith(".weight") else 0, 0.1, shape)
    values = np.where(abs(values) < 1e-3, 0, values).astype(np.float32)
    return (values.view("<u4") & 0xFFFF0000).view("<f4")


def write_tensors(file: Path, shapes: Mapping[str, list[int]], dtype: str) -> None:
    """Write a safetensors file with generated values."""
    header: dict[str, object] = {}
    body = b""
    for name, shape in shapes.items():
        values = generate(name, shape)
        raw = (values.view("<u4") >> 16 if dtype == "BF16" else values).astype(STORED[dtype]).tobytes()
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(body), len(body) + len(raw)]}
        body += raw
    text = json.dumps(header).encode()
    file.write_bytes(len(text).to_bytes(8, "little") + text + body)


def make_model(folder: Path, case: str, *, dtype: str = "F32", **changed: object) -> Path:
    """Write the files of a tiny model and return their folder. ``changed`` replaces settings of its config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    write_tokenizer(folder)
    (folder / "config.json").write_text(json.dumps({**CASES[case]["config"], **changed}))
    write_tensors(folder / "model.safetensors", CASES[case]["shapes"], dtype)
    return folder
