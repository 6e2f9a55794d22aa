"""Tokenizers of transformers: texts to ids of a model's vocabulary."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, normalizers

from ...errors import InputError
from ..forks import guard

if hasattr(os, "register_at_fork"):
    # The threads of the library do not exist in a forked child, which would wait for them forever.
    os.register_at_fork(after_in_child=lambda: os.environ.update(TOKENIZERS_PARALLELISM="false"))

_LETTER = re.compile("[A-Za-z]")


def max_ids(text: str) -> int:
    """Return an upper bound of the number of ids of a text."""
    # An ASCII character is at most two ids: its own and that of the space mark before it. Other characters are normalized to at
    # most 18 characters of four bytes.
    return len(text) * (2 if text.isascii() else 72)


class TextTokenizer:
    """Converts texts to the ids of an encoder's vocabulary, without special tokens and without a maximum length.

    Args:
        tokenizer: Tokenizer of the library, whose truncation and padding are switched off. None if a subclass builds it later.
        before: Ids of the special tokens before each text.
        after: Ids of the special tokens after each text.
        replacements: Replacements of single characters.
        variant: What distinguishes the tokenizer from others with the same ``tokenizer.json``.
        special_ids: Ids of the tokens with a role, such as the end of a text. By default those before and after each text.
    """

    def __init__(
        self,
        tokenizer: Tokenizer | None,
        *,
        before: tuple[int, ...],
        after: tuple[int, ...],
        replacements: Mapping[int, str] | None = None,
        variant: str = "",
        special_ids: Collection[int] | None = None,
    ) -> None:
        if tokenizer is not None:
            tokenizer.no_truncation()
            tokenizer.no_padding()
        self._loaded = tokenizer
        self._replacements = replacements
        self.before = before
        self.after = after
        self.variant = variant
        self.special_ids = frozenset((*before, *after) if special_ids is None else special_ids)

    @property
    def _tokenizer(self) -> Tokenizer:
        # Without a lock, which another thread could hold while the process forks. Two threads may build it at the same time.
        if self._loaded is None:
            self._loaded = self._build()
        return self._loaded

    def _build(self) -> Tokenizer:
        """Return the tokenizer of the library, for subclasses that build it when it is first needed."""
        raise NotImplementedError

    def ids(self, texts: list[str]) -> list[list[int]]:
        """Return the ids of each text."""
        if self._replacements is not None:
            # The table maps single characters. NFC then combines characters, such as kana and their marks.
            texts = [unicodedata.normalize("NFC", text.translate(self._replacements)) for text in texts]
        return self._normalized_ids(texts)

    def _normalized_ids(self, texts: list[str]) -> list[list[int]]:
        thread = guard.enter()
        try:
            encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        finally:
            guard.leave(thread)
        return [encoding.ids for encoding in encodings]

    def counts(self, texts: list[str]) -> list[int]:
        """Return the number of ids of each text."""
        return [len(ids) for ids in self.ids(texts)]

    def may_exceed(self, text: str, limit: int) -> bool:
        """Return False if a text needs no counting: it certainly has at most ``limit`` ids, and one or more if that matters."""
        # Some characters have no id, but a letter always has one.
        return max_ids(text) > limit or _LETTER.search(text) is None

    def warm_up(self) -> None:
        """Load what is otherwise loaded when it is first needed. For processes that should answer quickly later."""

    @property
    def size(self) -> int:
        """The number of ids. The first id is 0."""
        return self._tokenizer.get_vocab_size()

    @property
    def normalizer(self) -> dict[str, Any]:
        """The description of the normalizer in ``tokenizer.json``; empty if there is none."""
        normalizer = self._tokenizer.normalizer
        return {} if normalizer is None else dict(json.loads(normalizer.__getstate__()))

    def text(self, ids: Sequence[int]) -> str:
        """Return the text of some ids. Special tokens are part of it, except those that the tokenizer adds to each text."""
        ids = list(ids)
        if self.before and tuple(ids[: len(self.before)]) == self.before:
            ids = ids[len(self.before) :]
        if self.after and tuple(ids[-len(self.after) :]) == self.after:
            ids = ids[: -len(self.after)]
        return self._tokenizer.decode(ids, skip_special_tokens=False)


def read_vocabulary(file: Path, *, name: str) -> TextTokenizer:
    """Read a ``tokenizer.json`` as it is. ``name`` is that of the model for messages.

    Raises:
        InputError: The file has another format.
    """
    return make_vocabulary(read_tokenizer(file, name=name), name=name)


def make_vocabulary(
    tokenizer: Tokenizer, *, name: str, variant: str = "", special_ids: Collection[int] | None = None
) -> TextTokenizer:
    """Return a tokenizer of the library with the special tokens that it adds. Raise InputError if it knows no letters."""
    before, after = _find_special_tokens(tokenizer, name)
    return TextTokenizer(tokenizer, before=before, after=after, variant=variant, special_ids=special_ids)


def read_tokenizer(file: Path, *, name: str) -> Tokenizer:
    """Return the library's tokenizer of a ``tokenizer.json``, without truncation and padding. See :func:`read_vocabulary`."""
    try:
        tokenizer = Tokenizer.from_file(str(file))
    # The library raises plain Exceptions.
    except Exception as error:
        raise InputError(f"The tokenizer of {name} cannot be read: {error}.", param="model") from error
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def add_lowercase(tokenizer: Tokenizer) -> None:
    """Convert texts to lower case before the other steps of the normalizer."""
    normalizer = tokenizer.normalizer
    if normalizer is None:
        tokenizer.normalizer = normalizers.Lowercase()
    else:
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizer])


def _find_special_tokens(tokenizer: Tokenizer, name: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the ids of the special tokens that the tokenizer adds before and after each text."""
    for text in ("a", "1", "."):
        encoding = tokenizer.encode(text)
        own = [index for index, is_special in enumerate(encoding.special_tokens_mask) if not is_special]
        if own:
            return tuple(encoding.ids[: own[0]]), tuple(encoding.ids[own[-1] + 1 :])
    raise InputError(f"The tokenizer of {name} has no tokens for letters, digits and full stops.", param="model")
