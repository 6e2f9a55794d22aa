"""Count, split, truncate and decode tokens, and compute their price.

The vocabularies are exactly those of OpenAI's models (cl100k_base, GPT-2), read from assets and run by tiktoken.

>>> tokenizer = load_tokenizer("bytes")
>>> tokenizer.count("beans")
5
>>> tokenizer.truncate("beans", 3)
'bea'
"""

from __future__ import annotations

import math
import operator
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path

import tiktoken

from .assets.store import AssetStore
from .catalog import Catalog, ModelCard, load_catalog
from .errors import InputError
from .long_runs import WINDOW, encode_long
from .machine import available_cores
from .settings import current
from .vocabulary_files import read_cl100k, read_gpt2

# Positions where a text can be split without changing its ids. Both patterns begin a new piece at a space after another character
# and at punctuation after a letter. Two adjacent characters decide this, so the rest of the text does not matter. In cl100k_base,
# punctuation includes the line ends after it, and a run of spaces ends at its last line end. The spaces are those of tiktoken's
# \s; Python's \s also matches four control characters.
_SPACES = r"\t-\r \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_AFTER_LETTER = r"(?<=[A-Za-z])(?=[.,;:!?)])|(?<=[ぁ-ゖァ-ヺ\u4e00-\u9fa5])(?=[、。」！？])"
_GPT2_BOUNDARY = re.compile(rf"(?<=[^{_SPACES}])(?=[{_SPACES}])|{_AFTER_LETTER}")
_CL100K_BOUNDARY = re.compile(
    rf"(?<=[^{_SPACES}])(?![\r\n])(?=[{_SPACES}])|(?<=[\r\n])(?=[^{_SPACES}])|{_AFTER_LETTER}"
)
_ANY_BOUNDARY = re.compile("")

SEGMENT = 16_384
"""Number of characters above which a text is encoded in segments."""

_LONG_RUN = 1_000
_LONG_RUNS = re.compile(rf"(?<![{_SPACES}])[{_SPACES}]{{{_LONG_RUN},}}+(?=[^{_SPACES}])")
_MARGIN = 128
_MIN_THREADED_CHARACTERS = 200_000


def no_check() -> None:
    """Do nothing. This is the default of ``check`` arguments."""


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The number of tokens of a text."""

    #: Number of tokens; a lower bound if it is not exact.
    n_tokens: int
    is_exact: bool = True


class Tokenizer(ABC):
    """A vocabulary. Ids are integers from 0. Text that looks like a special token is encoded as ordinary text.

    Lone surrogates, which UTF-8 cannot represent, become U+FFFD: see :func:`well_formed`.
    """

    name: str
    _boundary: re.Pattern[str]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name!r})"

    @abstractmethod
    def encode(self, text: str) -> list[int]:
        """Return the ids of a text.

        >>> load_tokenizer("bytes").encode("hi")
        [104, 105]
        """

    @abstractmethod
    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """Return the UTF-8 bytes of ids. Raises InputError if an id is not in the vocabulary.

        >>> load_tokenizer("bytes").decode_bytes([104, 105])
        b'hi'
        """

    def count(self, text: str) -> int:
        """Return the number of tokens of a text.

        >>> load_tokenizer("bytes").count("梅")
        3
        """
        return len(self.encode(text))

    def count_many(self, texts: Sequence[str]) -> list[int]:
        """Return the number of tokens of each text. Many or long texts are counted in threads.

        >>> load_tokenizer("bytes").count_many(["one", "three"])
        [3, 5]
        """
        if sum(map(len, texts)) < _MIN_THREADED_CHARACTERS:
            return [self.count(text) for text in texts]
        # tiktoken releases the GIL, so threads use all cores.
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

    def count_many_within(self, texts: Sequence[str], limit: int) -> list[TokenCount]:
        """Return :meth:`count_within` of each text."""
        return [self.count_within(text, limit) for text in texts]

    def warm_up(self) -> None:  # noqa: B027  # most vocabularies have nothing to load later
        """Load what is otherwise loaded when it is first needed. For processes that should answer quickly later."""

    def may_exceed(self, text: str, limit: int) -> bool:
        """Return False if a text certainly has at most ``limit`` tokens, which some vocabularies know without counting."""
        return True

    def exceeds(self, text: str, limit: int) -> bool:
        """Return whether a text has more than ``limit`` tokens, without counting them all."""
        return self.count_within(text, limit).n_tokens > limit

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of ids. Bytes that are not UTF-8 become U+FFFD.

        >>> load_tokenizer("bytes").decode([104, 105, 255])
        'hi\ufffd'

        Raises:
            InputError: An id is not in the vocabulary.
        """
        return self.decode_bytes(ids).decode("utf-8", errors="replace")

    def truncate(self, text: str, max_tokens: int) -> str:
        """Return the longest prefix of a text with at most ``max_tokens`` tokens. Characters are not split.

        In a run of more than 128 characters without a space or line end, the result may be a few characters too short.

        >>> load_tokenizer("bytes").truncate("梅干し", 7)
        '梅干'
        """
        text = well_formed(text)
        return text[: self._fit(text, 0, max_tokens)]

    def split(self, text: str, max_tokens: int, *, overlap: int = 0) -> list[str]:
        """Split a text into the longest possible pieces of at most ``max_tokens`` tokens. Characters are not split.

        Args:
            text: Any text. An empty text has no pieces.
            max_tokens: Maximum number of tokens in a piece.
            overlap: Maximum number of tokens that a piece shares with the previous one. At 0, the joined pieces are the text.

        >>> load_tokenizer("bytes").split("umeboshi", 3)
        ['ume', 'bos', 'hi']
        >>> load_tokenizer("bytes").split("umeboshi", 4, overlap=2)
        ['umeb', 'ebos', 'oshi']

        Raises:
            InputError: A single character has more tokens than ``max_tokens``, or ``overlap`` is not less than it.
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
                # With the overlap, not even one more character fits: start without it.
                start = stop
                continue
            if end <= start:
                raise InputError(f"{text[start]!r} alone has more than {max_tokens} tokens. Increase the maximum.")
            pieces.append(text[start:end])
            start, stop = self._back(text, start, end, overlap), end
        return pieces

    def _fit(self, text: str, start: int, limit: int) -> int:
        """Return the end of the longest piece from ``start`` with at most ``limit`` tokens."""
        if limit <= 0:
            return start
        size = 4 * limit + _MARGIN
        while True:
            ids = self.encode(text[start : start + size])
            if len(ids) > limit:
                break
            if start + size >= len(text):
                return len(text)
            size *= 2
        guess = start + len(self.decode_bytes(ids[:limit]).decode("utf-8", errors="ignore"))
        # A prefix of the ids is a prefix of the text, but that prefix may have more or fewer ids of its own. So all ends between
        # the boundaries around the guess are tried, the longest first.
        boundaries = [match.start() for match in self._boundary.finditer(text, max(start, guess - _MARGIN), guess)]
        after = self._boundary.search(text, guess + 1, guess + 1 + _MARGIN)
        low = boundaries[-1] if boundaries and boundaries[-1] > start else start if guess - start <= _MARGIN else None
        high = after.start() if after else len(text) if len(text) - guess <= _MARGIN else None
        if low is None or high is None:
            while guess > start and self.exceeds(text[start:guess], limit):
                guess -= 1
            return guess
        left = limit - self.count(text[start:low])
        return next((end for end in range(high, low, -1) if self.count(text[low:end]) <= left), low)

    def _back(self, text: str, start: int, end: int, overlap: int) -> int:
        """Return the start of the last ``overlap`` tokens before ``end``, or a character or so later."""
        if overlap == 0:
            return end
        tail = self.decode_bytes(self.encode(text[start:end])[-overlap:]).decode("utf-8", errors="ignore")
        boundary = max(start + 1, end - len(tail))
        while boundary < end and self.count(text[boundary:end]) > overlap:
            boundary += 1
        return boundary


class ByteTokenizer(Tokenizer):
    """One token per UTF-8 byte, for tests and dry runs. Needs no download."""

    name = "bytes"
    _boundary = _ANY_BOUNDARY

    def encode(self, text: str) -> list[int]:
        return list(well_formed(text).encode("utf-8"))

    def count(self, text: str) -> int:
        return len(well_formed(text).encode("utf-8"))

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        return bytes(checked_ids(ids, 256, self.name))


class BytePairTokenizer(Tokenizer):
    """A byte-pair vocabulary that tiktoken runs.

    Args:
        name: Name of the vocabulary.
        load: Loads the vocabulary, which takes a fifth of a second, when it is first needed.
        boundary: Pattern of the positions where a text can be split without changing its ids.
        ends_at_line: Whether a run of spaces ends at its last line end.
    """

    def __init__(
        self, name: str, load: Callable[[], tiktoken.Encoding], *, boundary: re.Pattern[str], ends_at_line: bool
    ) -> None:
        self.name = name
        self._load = load
        self._loaded: tiktoken.Encoding | None = None
        self._boundary = boundary
        self._ends_at_line = ends_at_line

    @property
    def _encoding(self) -> tiktoken.Encoding:
        # Without a lock, which another thread could hold while the process forks. Two threads may load it at the same time.
        if self._loaded is None:
            self._loaded = self._load()
        return self._loaded

    def warm_up(self) -> None:
        self._encoding.encode_ordinary("")

    @cached_property
    def _longest(self) -> int:
        """The length of the longest token in bytes."""
        return max(map(len, self._encoding.token_byte_values()))

    def encode(self, text: str) -> list[int]:
        text = well_formed(text)
        if len(text) <= SEGMENT:
            return self._encoding.encode_ordinary(text)
        return [token for segment in self._segments(text) for token in self._encode_segment(segment)]

    def count_within(self, text: str, limit: int, *, check: Callable[[], None] = no_check) -> TokenCount:
        text = well_formed(text)
        lower_bound = self._min_tokens(text, limit)
        if lower_bound > limit:
            return TokenCount(lower_bound, is_exact=False)
        total = n_characters = 0
        for segment in self._segments(text):
            check()
            total += len(self._encode_segment(segment))
            n_characters += len(segment)
            # Most texts that are too long are only a little too long, so their exact length is computed.
            if total > 4 * max(0, limit) and n_characters < len(text):
                return TokenCount(total, is_exact=False)
        return TokenCount(total)

    def may_exceed(self, text: str, limit: int) -> bool:
        # A character has at most four bytes, and a byte at most one token.
        return 4 * len(text) > limit

    def exceeds(self, text: str, limit: int) -> bool:
        return self.may_exceed(text, limit) and super().exceeds(text, limit)

    def _min_tokens(self, text: str, limit: int) -> int:
        """Return a lower bound of the number of tokens, or 0 if the text is short enough to be counted."""
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
        # Sorted by length, so the last length written for a byte is the largest.
        for token in sorted(self._encoding.token_byte_values(), key=len):
            for byte in token:
                longest[byte] = len(token)
        return longest

    def _encode_segment(self, segment: str) -> list[int]:
        # Only a segment without a boundary is longer.
        if len(segment) <= SEGMENT + WINDOW:
            return self._encoding.encode_ordinary(segment)
        return encode_long(self._encoding, segment, digits_are_one_piece=not self._ends_at_line)

    def _segments(self, text: str) -> Iterator[str]:
        """Yield parts of a text. The concatenated ids of the parts are the ids of the text."""
        start = 0
        while start < len(text):
            stop = self._next_boundary(text, start + SEGMENT)
            for left, right in pairwise([start, *self._run_cuts(text, start, stop), stop]):
                yield text[left:right]
            start = stop

    def _next_boundary(self, text: str, start: int) -> int:
        """Return the first position from ``start`` where the text may be cut, or the text's length."""
        # In steps, because a search with a regular expression holds the GIL.
        for begin in range(start, len(text), SEGMENT):
            match = self._boundary.search(text, begin, begin + SEGMENT)
            if match is not None:
                return match.start()
        return len(text)

    def _run_cuts(self, text: str, start: int, stop: int) -> Iterator[int]:
        """Yield positions that split long runs of spaces: at a million, tiktoken's regular expressions overflow the stack."""
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
            # The vocabulary has gaps, and the message of the error depends on the version of tiktoken.
            gap = next(token for token in checked if not self._contains(token))
            raise InputError(f"The token id {gap} is not in the vocabulary {self.name}.", param="input") from error

    def _contains(self, token: int) -> bool:
        try:
            self._encoding.decode_single_token_bytes(token)
        except KeyError:
            return False
        return True


def well_formed(text: str) -> str:
    """Replace lone surrogates, which UTF-8 cannot represent, by U+FFFD."""
    if text.isascii():  # known without reading the text
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def format_usd(amount: float) -> str:
    """Format an amount in US dollars: with cents, or with three significant digits if it is smaller than a dollar.

    >>> format_usd(0.0000004), format_usd(0.00013), format_usd(0.4), format_usd(1234.5)
    ('$0.0000004', '$0.00013', '$0.40', '$1,234.50')
    """
    if abs(amount) >= 0.995 or amount == 0:
        return f"${amount:,.2f}"
    digits = f"{Decimal(f'{amount:.3g}'):f}".rstrip("0").rstrip(".")
    return f"${digits}" if len(digits.partition(".")[2]) >= 2 else f"${amount:.2f}"


def price(n_tokens: int, card: ModelCard) -> float | None:
    """Return the price in US dollars of tokens for OpenAI's model of the same name, or None if it has no price."""
    return None if card.price_per_1k is None else n_tokens / 1000 * card.price_per_1k


def load_tokenizer(name: str, *, assets: AssetStore | None = None, catalog: Catalog | None = None) -> Tokenizer:
    """Load a tokenizer by name: ``cl100k_base``, ``gpt2`` or ``bytes``. A missing vocabulary is downloaded.

    Raises:
        InputError: No tokenizer has this name.
        AssetError: The vocabulary could not be found or downloaded.
    """
    if name == ByteTokenizer.name:
        return ByteTokenizer()
    catalog = catalog or load_catalog()
    if name not in _LOADERS or name not in catalog.tokenizers:
        raise InputError(f"There is no tokenizer {name!r}; use one of bytes, {', '.join(_LOADERS)}.")
    store = assets or AssetStore(current())
    files = {purpose: store.path(catalog.assets[row]) for purpose, row in catalog.tokenizers[name].items()}
    return _LOADERS[name](files)


def _cl100k(files: dict[str, Path]) -> BytePairTokenizer:
    return BytePairTokenizer("cl100k_base", partial(read_cl100k, files), boundary=_CL100K_BOUNDARY, ends_at_line=True)


def _gpt2(files: dict[str, Path]) -> BytePairTokenizer:
    return BytePairTokenizer("gpt2", partial(read_gpt2, files), boundary=_GPT2_BOUNDARY, ends_at_line=False)


_LOADERS: dict[str, Callable[[dict[str, Path]], BytePairTokenizer]] = {"cl100k_base": _cl100k, "gpt2": _gpt2}


def checked_ids(ids: Sequence[int], size: int, name: str) -> list[int]:
    """Return ids as integers. Raise InputError if one is not an integer from 0 to ``size - 1``."""
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
