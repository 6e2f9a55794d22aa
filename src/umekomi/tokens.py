"""Tokens: count, split, truncate, decode, and what they would cost.

The vocabularies are those of OpenAI's models (cl100k_base, GPT-2), exact, read from assets and run by tiktoken.

>>> tokenizer = load_tokenizer("bytes")
>>> tokenizer.count("beans")
5
>>> tokenizer.truncate("beans", 3)
'bea'
"""

from __future__ import annotations

import base64
import json
import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import tiktoken

from .assets.store import AssetStore
from .catalog import Catalog, ModelCard, load_catalog
from .errors import AssetCorruptError, InputError
from .long_runs import WINDOW, encode_long
from .machine import available_cores
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

# Where a text may be cut before it is encoded, with the same ids as a whole. Both patterns begin a new piece at a space that
# follows something else, and at punctuation that follows a letter; the two halves of a place decide it, so that it stays one
# however the text goes on. cl100k_base lets punctuation swallow the ends of lines after it, and ends a run of spaces at the
# last of them. Unicode's spaces, as tiktoken's \s has them (Python's also counts four control characters).
_SPACES = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_AFTER_LETTER = r"(?<=[A-Za-z])(?=[.,;:!?)])|(?<=[ぁ-ゖァ-ヺ\u4e00-\u9fa5])(?=[、。」！？])"
_GPT2_PLACE = re.compile(rf"(?<=[^{_SPACES}])(?=[{_SPACES}])|{_AFTER_LETTER}")
_CL100K_PLACE = re.compile(rf"(?<=[^{_SPACES}])(?![\r\n])(?=[{_SPACES}])|(?<=[\r\n])(?=[^{_SPACES}])|{_AFTER_LETTER}")
_ANY_PLACE = re.compile("")

SEGMENT = 16_384
"""Longer texts, in characters, are encoded a segment at a time."""

_LONG_RUN = 1_000
_LONG_RUNS = re.compile(rf"(?<![{_SPACES}])[{_SPACES}]{{{_LONG_RUN},}}+(?=[^{_SPACES}])")
_REACH = 128
_WORTH_THREADS = 200_000


def no_check() -> None:
    """Do nothing: the default of the checks that callers may pass."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The number of tokens of a text."""

    #: The number of tokens, or at least so many if it is not exact.
    n_tokens: int
    is_exact: bool = True


class Tokenizer(ABC):
    """A vocabulary. Ids are whole numbers from 0; a text that looks like a special token is ordinary text.

    Half a surrogate pair, which no UTF-8 text holds, counts and comes back as U+FFFD: see :func:`well_formed`.
    """

    name: str
    _place: re.Pattern[str]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """The ids of a text.

        >>> load_tokenizer("bytes").encode("hi")
        [104, 105]
        """

    @abstractmethod
    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """The UTF-8 bytes that ids stand for. InputError names an id that is not in the vocabulary.

        >>> load_tokenizer("bytes").decode_bytes([104, 105])
        b'hi'
        """

    def count(self, text: str) -> int:
        """How many tokens a text has.

        >>> load_tokenizer("bytes").count("梅")
        3
        """
        return len(self.encode(text))

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """How many tokens each text has; in threads where there is enough to do.

        >>> load_tokenizer("bytes").count_many(["one", "three"])
        [3, 5]
        """
        if sum(map(len, texts)) < _WORTH_THREADS:
            return [self.count(text) for text in texts]
        # tiktoken lets other threads run while it works, so that threads divide long texts among the cores.
        with ThreadPoolExecutor(available_cores()) as pool:
            return list(pool.map(self.count, texts))

    def count_within(self, text: str, limit: int, *, check: Callable[[], None] = no_check) -> TokenCount:
        """Count the tokens of a text, but give up on a text that certainly has more than ``limit``.

        The work is bounded by the limit, not by the text: megabytes of any text are rejected within milliseconds.

        Args:
            text: Any text.
            limit: The number of tokens that the caller accepts.
            check: Called between parts of a long text. It may raise an exception to stop.

        >>> load_tokenizer("bytes").count_within("beans", 8191)
        TokenCount(n_tokens=5, is_exact=True)
        """
        return TokenCount(self.count(text))

    def exceeds(self, text: str, limit: int) -> bool:
        """Return whether a text has more than ``limit`` tokens, without counting them all.

        >>> load_tokenizer("bytes").exceeds("beans", 4)
        True
        """
        return self.count_within(text, limit).n_tokens > limit

    def decode(self, ids: Sequence[int]) -> str:
        """The text that ids stand for; bytes that are not UTF-8 become U+FFFD.

        >>> load_tokenizer("bytes").decode([104, 105, 255])
        'hi\ufffd'

        Raises:
            InputError: an id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def truncate(self, text: str, max_tokens: int) -> str:
        """The longest beginning of a text that has at most ``max_tokens`` tokens; no character is cut in half.

        In a run of more than 128 characters without a space or the end of a line, it may be a few characters shorter
        than the longest.

        >>> load_tokenizer("bytes").truncate("梅干し", 7)
        '梅干'
        """
        text = well_formed(text)
        return text[: self._fit(text, 0, max_tokens)]

    def split(self, text: str, max_tokens: int, *, overlap: int = 0) -> list[str]:
        """Pieces of at most ``max_tokens`` tokens, each as long as can be; no character is cut in half.

        Joined, the pieces are the text. With ``overlap``, each begins with up to so many tokens of the one before it.
        An empty text has no pieces.

        >>> load_tokenizer("bytes").split("umeboshi", 3)
        ['ume', 'bos', 'hi']
        >>> load_tokenizer("bytes").split("umeboshi", 4, overlap=2)
        ['umeb', 'ebos', 'oshi']

        Raises:
            InputError: a single character has more tokens than ``max_tokens``, or ``overlap`` is not below it.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens is {max_tokens}; it must be at least 1.")
        if not 0 <= overlap < max_tokens:
            raise InputError(f"overlap is {overlap}; it must be at least 0 and below max_tokens, {max_tokens}.")
        text = well_formed(text)
        pieces: list[str] = []
        start = stop = 0
        while stop < len(text):
            end = self._fit(text, start, max_tokens)
            if end <= stop and start < stop:
                # The overlap leaves no room for one more character here: begin without it.
                start = stop
                continue
            if end <= start:
                raise InputError(f"{text[start]!r} alone has more than {max_tokens} tokens; allow more in one piece.")
            pieces.append(text[start:end])
            start, stop = self._back(text, start, end, overlap), end
        return pieces

    def _fit(self, text: str, start: int, limit: int) -> int:
        """The end of the longest piece from ``start`` that has at most ``limit`` tokens."""
        if limit <= 0:
            return start
        size = 4 * limit + _REACH
        while True:
            ids = self.encode(text[start : start + size])
            if len(ids) > limit:
                break
            if start + size >= len(text):
                return len(text)
            size *= 2
        guess = start + len(self.decode_bytes(ids[:limit]).decode("utf-8", errors="ignore"))
        # A prefix of the ids is a prefix of the text, but its own ids may be others: fewer, or more. Between two sure places
        # around the guess every end is tried, the longest first.
        places = [found.start() for found in self._place.finditer(text, max(start, guess - _REACH), guess)]
        after = self._place.search(text, guess + 1, guess + 1 + _REACH)
        low = places[-1] if places and places[-1] > start else start if guess - start <= _REACH else None
        high = after.start() if after else len(text) if len(text) - guess <= _REACH else None
        if low is None or high is None:
            while guess > start and self.exceeds(text[start:guess], limit):
                guess -= 1
            return guess
        left = limit - self.count(text[start:low])
        return next((end for end in range(high, low, -1) if self.count(text[low:end]) <= left), low)

    def _back(self, text: str, start: int, end: int, overlap: int) -> int:
        """Where the last ``overlap`` tokens before ``end`` begin, or a character or so later."""
        if overlap == 0:
            return end
        tail = self.decode_bytes(self.encode(text[start:end])[-overlap:]).decode("utf-8", errors="ignore")
        place = max(start + 1, end - len(tail))
        while place < end and self.count(text[place:end]) > overlap:
            place += 1
        return place


class ByteTokenizer(Tokenizer):
    """One token a byte of UTF-8: for tests and dry runs, nothing to fetch."""

    name = "bytes"
    _place = _ANY_PLACE

    def encode(self, text: str) -> list[int]:
        return list(well_formed(text).encode("utf-8"))

    def count(self, text: str) -> int:
        return len(well_formed(text).encode("utf-8"))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return bytes(checked_ids(ids, 256, self.name))


class BytePairTokenizer(Tokenizer):
    """A byte-pair vocabulary, run by tiktoken. ``place`` finds where a text may be cut without changing its ids."""

    def __init__(self, encoding: tiktoken.Encoding, *, place: re.Pattern[str], ends_at_line: bool) -> None:
        self.name = encoding.name
        self._encoding = encoding
        self._place = place
        self._ends_at_line = ends_at_line
        self._longest = max(map(len, encoding.token_byte_values()))

    def encode(self, text: str) -> list[int]:
        text = well_formed(text)
        if len(text) <= SEGMENT:
            return self._encoding.encode_ordinary(text)
        return [token for segment in self._segments(text) for token in self._encode_segment(segment)]

    def count_within(self, text: str, limit: int, *, check: Callable[[], None] = no_check) -> TokenCount:
        text = well_formed(text)
        fewest = self._fewest_tokens(text, limit)
        if fewest > limit:
            return TokenCount(fewest, is_exact=False)
        total = n_characters = 0
        for segment in self._segments(text):
            check()
            total += len(self._encode_segment(segment))
            n_characters += len(segment)
            # Most texts that are too long are only a little too long: their exact length is worth the time.
            if total > 4 * max(0, limit) and n_characters < len(text):
                return TokenCount(total, is_exact=False)
        return TokenCount(total)

    def exceeds(self, text: str, limit: int) -> bool:
        # A character has at most four bytes, and a byte at most one token.
        return 4 * len(text) > limit and super().exceeds(text, limit)

    def _fewest_tokens(self, text: str, limit: int) -> int:
        """Return a number of tokens that a text has at least; 0 if it is short enough to be counted."""
        if len(text) > max(0, limit) * self._longest:
            return -(-len(text) // self._longest)
        if len(text) <= 16 * limit:
            return 0
        # A token of n bytes counts as n times 1/n. A byte is in no token that is longer than the longest one with this byte.
        data = text.encode("utf-8")
        shares = (data.count(byte) / self._longest_with[byte] for byte in set(data))
        return math.ceil(sum(shares) - 1e-6)

    @cached_property
    def _longest_with(self) -> list[int]:
        """For each of the 256 bytes, the length of the longest token that contains it."""
        longest = [0] * 256
        # The longest tokens come last, so that the last length written for a byte is the greatest.
        for token in sorted(self._encoding.token_byte_values(), key=len):
            for byte in token:
                longest[byte] = len(token)
        return longest

    def _encode_segment(self, segment: str) -> list[int]:
        # Only a segment that holds no place for a cut is so long.
        if len(segment) <= SEGMENT + WINDOW:
            return self._encoding.encode_ordinary(segment)
        return encode_long(self._encoding, segment, digits_are_one_piece=not self._ends_at_line)

    def _segments(self, text: str) -> Iterator[str]:
        """The text in parts whose ids, joined, are the ids of the whole."""
        start = 0
        while start < len(text):
            stop = self._next_place(text, start + SEGMENT)
            for left, right in pairwise([start, *self._run_cuts(text, start, stop), stop]):
                yield text[left:right]
            start = stop

    def _next_place(self, text: str, start: int) -> int:
        """Return the first position from ``start`` where the text may be cut, or the text's length."""
        # In steps: a regular expression lets no other thread run while it searches.
        for begin in range(start, len(text), SEGMENT):
            found = self._place.search(text, begin, begin + SEGMENT)
            if found is not None:
                return found.start()
        return len(text)

    def _run_cuts(self, text: str, start: int, stop: int) -> Iterator[int]:
        """Cuts around long runs of spaces: tiktoken's regular expressions overflow their stack on a million of them."""
        for run in _LONG_RUNS.finditer(text, start, stop):
            last_line = max(run[0].rfind("\n"), run[0].rfind("\r")) + 1 if self._ends_at_line else 0
            if last_line:
                yield run.start() + last_line
            # The pattern leaves the run's last space to what follows it.
            if len(run[0]) - last_line > 1:
                yield run.end() - 1

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        checked = checked_ids(ids, self._encoding.max_token_value + 1, self.name)
        try:
            return self._encoding.decode_bytes(checked)
        except KeyError as error:
            # The vocabulary has gaps; what the error itself says differs between versions of tiktoken.
            gap = next(token for token in checked if not self._knows(token))
            raise InputError(f"The token id {gap} is not in the vocabulary {self.name}.", param="input") from error

    def _knows(self, token: int) -> bool:
        try:
            self._encoding.decode_single_token_bytes(token)
        except KeyError:
            return False
        return True


def well_formed(text: str) -> str:
    """The text with each half of a surrogate pair that stands alone replaced by U+FFFD, as UTF-8 has no bytes for it."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def format_usd(amount: float) -> str:
    """An amount in US dollars: to the cent from one cent on, and with three significant digits below, never in powers of ten.

    >>> format_usd(0.0000004), format_usd(0.00013), format_usd(0.4), format_usd(1234.5)
    ('$0.0000004', '$0.00013', '$0.40', '$1,234.50')
    """
    if abs(amount) >= 0.995 or amount == 0:
        return f"${amount:,.2f}"
    digits = f"{Decimal(f'{amount:.3g}'):f}".rstrip("0").rstrip(".")
    return f"${digits}" if len(digits.partition(".")[2]) >= 2 else f"${amount:.2f}"


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
    files = {purpose: store.path(catalog.assets[row]) for purpose, row in catalog.tokenizers[name].items()}
    return _LOADERS[name](files)


# Not tiktoken's own readers: they keep a copy in the folder for temporary files, and believe it without a hash.
def _cl100k(files: dict[str, Path]) -> BytePairTokenizer:
    rows = (line.split() for line in files["ranks"].read_bytes().splitlines() if line)
    encoding = tiktoken.Encoding(
        "cl100k_base",
        pat_str=_CL100K_PATTERN,
        mergeable_ranks={base64.b64decode(token): int(rank) for token, rank in rows},
        special_tokens=_CL100K_SPECIAL,
    )
    return BytePairTokenizer(encoding, place=_CL100K_PLACE, ends_at_line=True)


def _gpt2(files: dict[str, Path]) -> BytePairTokenizer:
    """GPT-2's files write a byte as a printable character: itself if it is one, else one from U+0100 on."""
    order = [byte for byte in range(256) if chr(byte).isprintable() and byte != 0x20]
    others = [byte for byte in range(256) if byte not in order]
    letters = {chr(byte): byte for byte in order} | {chr(256 + place): byte for place, byte in enumerate(others)}

    def to_bytes(written: str) -> bytes:
        return bytes(letters[letter] for letter in written)

    tokens = [bytes([byte]) for byte in (*order, *others)]
    # The first line is a comment.
    for line in files["merges"].read_text("utf-8").split("\n")[1:-1]:
        left, right = line.split()
        tokens.append(to_bytes(left) + to_bytes(right))
    ranks = {token: rank for rank, token in enumerate(tokens)}
    vocabulary: dict[str, int] = json.loads(files["vocabulary"].read_text("utf-8"))
    end_of_text = vocabulary.pop("<|endoftext|>")
    if ranks != {to_bytes(written): rank for written, rank in vocabulary.items()}:
        raise AssetCorruptError("GPT-2's merges and its vocabulary disagree; run `umekomi models verify`.")
    encoding = tiktoken.Encoding(
        "gpt2",
        explicit_n_vocab=50257,
        pat_str=_GPT2_PATTERN,
        mergeable_ranks=ranks,
        special_tokens={"<|endoftext|>": end_of_text},
    )
    return BytePairTokenizer(encoding, place=_GPT2_PLACE, ends_at_line=False)


_LOADERS: dict[str, Callable[[dict[str, Path]], BytePairTokenizer]] = {"cl100k_base": _cl100k, "gpt2": _gpt2}


def checked_ids(ids: Sequence[int], size: int, name: str) -> list[int]:
    checked: list[int] = []
    for token in ids:
        try:
            number = operator.index(token)
        except TypeError:
            raise InputError(f"A token id is {type(token).__name__}, not a whole number.", param="input") from None
        if not 0 <= number < size:
            raise InputError(
                f"The token id {number} is not in the vocabulary {name}, which has ids 0 to {size - 1}.", param="input"
            )
        checked.append(number)
    return checked
