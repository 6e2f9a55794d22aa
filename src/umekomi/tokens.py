"""Tokens: count, split, truncate, decode, and what they would cost.

The vocabularies are those of OpenAI's models (cl100k_base, GPT-2), exact, read from assets and run by tiktoken.

>>> tokenizer = load_tokenizer("bytes")
>>> tokenizer.count("beans")
5
>>> tokenizer.truncate("beans", 3)
'bea'
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence

import tiktoken
from tiktoken.load import data_gym_to_mergeable_bpe_ranks, load_tiktoken_bpe

from .assets import AssetStore
from .catalog import Catalog, ModelCard, load_catalog
from .errors import InputError
from .settings import current

# The regular expressions that cut a text before its pieces are merged: facts of the two vocabularies.
_GPT2_PATTERN = r"""'(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s"""
_CL100K_PATTERN = (
    r"""'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"""
    r"""|\s+(?!\S)|\s"""
)
_CL100K_SPECIAL = {
    "<|endoftext|>": 100257,
    "<|fim_prefix|>": 100258,
    "<|fim_middle|>": 100259,
    "<|fim_suffix|>": 100260,
    "<|endofprompt|>": 100276,
}


class Tokenizer(ABC):
    """A vocabulary. Ids are whole numbers from 0; a text that looks like a special token is ordinary text."""

    name: str

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        >>> load_tokenizer("bytes").encode("hi")
        [104, 105]
        """

    @abstractmethod
    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The UTF-8 bytes that ids stand for. InputError names an id that is not in the vocabulary."""

    def count(self, text: str) -> int:
        """How many tokens a text has."""
        return len(self.encode(text))

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids stand for; bytes that are not UTF-8 become U+FFFD.

        Raises:
            InputError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def truncate(self, text: str, max_tokens: int) -> str:
        """The beginning of a text, of at most ``max_tokens`` tokens; no character is cut in half."""
        return self.split(text, max_tokens)[0] if text and max_tokens > 0 else ""

    def split(self, text: str, max_tokens: int) -> list[str]:
        """Pieces of at most ``max_tokens`` tokens that, joined, are the text; no character is cut in half.

        Raises:
            InputError: a single character has more tokens than ``max_tokens``.
        """
        pieces: list[str] = []
        rest = text
        while rest:
            piece = self._head(rest, max_tokens)
            pieces.append(piece)
            rest = rest[len(piece) :]
        return pieces or [""]

    def _head(self, text: str, max_tokens: int) -> str:
        ids = self.encode(text)
        if len(ids) <= max_tokens:
            return text
        # A prefix of the ids may end inside a character, and its text alone may have other tokens: step back until it fits.
        head = self.decode_bytes(ids[:max_tokens]).decode("utf-8", errors="ignore")
        while head and self.count(head) > max_tokens:
            head = head[:-1]
        if not head:
            raise InputError(f"A character of the text has more than {max_tokens} tokens; allow more in one piece.")
        return head


class ByteTokenizer(Tokenizer):
    """One token a byte of UTF-8: for tests and dry runs, nothing to fetch."""

    name = "bytes"

    def encode(self, text: str) -> list[int]:
        return list(well_formed(text).encode("utf-8"))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        _check_ids(ids, 256)
        return bytes(ids)


class BytePairTokenizer(Tokenizer):
    """A byte-pair vocabulary, run by tiktoken."""

    def __init__(self, encoding: tiktoken.Encoding) -> None:
        self.name = encoding.name
        self._encoding = encoding

    def encode(self, text: str) -> list[int]:
        return self._encoding.encode_ordinary(well_formed(text))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        _check_ids(ids, self._encoding.max_token_value + 1)
        try:
            return self._encoding.decode_bytes(ids)
        except KeyError as error:
            raise InputError(
                f"The token id {error.args[0]} is not in the vocabulary {self.name}.", param="input"
            ) from error


def well_formed(text: str) -> str:
    """The text with each half of a surrogate pair that stands alone replaced by U+FFFD, as UTF-8 has no bytes for it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def price(n_tokens: int, card: ModelCard) -> float | None:
    """What the hosted model of this name charged for so many tokens, in US dollars; None if it never had a price."""
    return None if card.price_per_1k is None else n_tokens / 1000 * card.price_per_1k


def load_tokenizer(name: str, *, assets: AssetStore | None = None, catalog: Catalog | None = None) -> Tokenizer:
    """A tokenizer by name: ``cl100k_base``, ``gpt2`` or ``bytes``. Its vocabulary is fetched if it is not here yet.

    Raises:
        InputError: no tokenizer has this name.
        AssetError: its vocabulary cannot be had.
    """
    if name == ByteTokenizer.name:
        return ByteTokenizer()
    catalog = catalog or load_catalog()
    if name not in _LOADERS or name not in catalog.tokenizers:
        raise InputError(f"No tokenizer is called {name!r}; there are bytes, {', '.join(_LOADERS)}.")
    store = assets or AssetStore(current())
    files = {purpose: str(store.path(catalog.assets[row])) for purpose, row in catalog.tokenizers[name].items()}
    return BytePairTokenizer(_LOADERS[name](files))


def _cl100k(files: dict[str, str]) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        "cl100k_base",
        pat_str=_CL100K_PATTERN,
        mergeable_ranks=load_tiktoken_bpe(files["ranks"]),
        special_tokens=_CL100K_SPECIAL,
    )


def _gpt2(files: dict[str, str]) -> tiktoken.Encoding:
    return tiktoken.Encoding(
        "gpt2",
        explicit_n_vocab=50257,
        pat_str=_GPT2_PATTERN,
        mergeable_ranks=data_gym_to_mergeable_bpe_ranks(files["merges"], files["vocabulary"]),
        special_tokens={"<|endoftext|>": 50256},
    )


_LOADERS: dict[str, Callable[[dict[str, str]], tiktoken.Encoding]] = {"cl100k_base": _cl100k, "gpt2": _gpt2}


def _check_ids(ids: Iterable[int], size: int) -> None:
    for token in ids:
        if not 0 <= token < size:
            raise InputError(
                f"The token id {token} is not in the vocabulary, which has ids 0 to {size - 1}.", param="input"
            )
