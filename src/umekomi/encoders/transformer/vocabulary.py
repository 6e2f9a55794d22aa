"""Tokenizers of transformers: texts to ids of a model's vocabulary."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from tokenizers import Tokenizer

from ...errors import InputError
from ..forks import guard

if hasattr(os, "register_at_fork"):
    # The threads of the library do not exist in a forked child, which would wait for them forever.
    os.register_at_fork(after_in_child=lambda: os.environ.update(TOKENIZERS_PARALLELISM="false"))


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

    def counts(self, texts: list[str]) -> list[int]:
        """Return the number of ids of each text."""
        return [len(ids) for ids in self.ids(texts)]

    @property
    def size(self) -> int:
        """The number of ids. The first id is 0."""
        return self._tokenizer.get_vocab_size()

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of some ids, including special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=False)


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
