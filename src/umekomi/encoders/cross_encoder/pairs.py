"""Pairs of a query and a document as the token ids of a cross-encoder.

Pairs that are longer than the window are truncated as sentence-transformers' CrossEncoder does: tokens are removed from the end
of the longer of the two texts (``longest_first``). Alternatively, a long document is split into passages that fit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from tokenizers import Encoding, Tokenizer

from ...errors import InputError
from ...tokens import well_formed
from ..forks import guard

_SLICE = 256
"""Number of pairs that are tokenized at a time."""
_CHARACTERS_PER_TOKEN = 16
_MARGIN = 64


class Pair(NamedTuple):
    """The tokens of a query and a document. Equal pairs have equal scores."""

    #: Token ids including special tokens, ``int32``.
    ids: bytes
    #: Segment of each token, ``int8``; empty if all are 0.
    segments: bytes

    @property
    def n_tokens(self) -> int:
        """Number of tokens, including special tokens."""
        return len(self.ids) // 4

    def read_ids(self) -> npt.NDArray[np.int32]:
        """Return the token ids, ``(n_tokens,)``."""
        return np.frombuffer(self.ids, dtype=np.int32)

    def read_segments(self) -> npt.NDArray[np.int8]:
        """Return the segment of each token, ``(n_tokens,)``."""
        return np.frombuffer(self.segments, dtype=np.int8) if self.segments else np.zeros(self.n_tokens, np.int8)


@dataclass(frozen=True, slots=True)
class PreparedPairs:
    """Tokenized pairs of queries and documents, in order. A document that was split has one pair for each of its passages."""

    texts: tuple[Pair, ...] = field(repr=False)
    #: Number of tokens of each pair.
    n_tokens: tuple[int, ...]
    #: Number of passages of each document.
    n_passages: tuple[int, ...]


class PairTokenizer:
    """Tokenizes pairs of texts.

    Args:
        tokenizer: Tokenizer whose post-processor knows pairs. It is changed.
        window: Maximum number of tokens of a pair, including special tokens.
        has_segments: Whether the model distinguishes the tokens of the two texts.
        truncation_side: Where tokens are removed: ``right`` or ``left``.
        prompt: Text before each query.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        window: int,
        has_segments: bool,
        truncation_side: str = "right",
        prompt: str = "",
    ) -> None:
        self.window = window
        self._prompt = prompt
        self._has_segments = has_segments
        self._truncates_end = truncation_side == "right"
        tokenizer.no_padding()
        tokenizer.no_truncation()
        self._plain = Tokenizer.from_str(tokenizer.to_str())
        tokenizer.enable_truncation(window, strategy="longest_first", direction=truncation_side)
        self._truncating = tokenizer
        self._capacity = window - self._plain.num_special_tokens_to_add(is_pair=True)

    def prepare(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        max_passages: int = 1,
        max_document_tokens: int | None = None,
        truncates: bool = True,
        check: Callable[[int], None] | None = None,
    ) -> PreparedPairs:
        """Tokenize pairs of a query and a document.

        Args:
            pairs: Texts of the pairs.
            max_passages: Maximum number of passages that a long document is split into. The rest of the document is not read.
                1 truncates pairs instead.
            max_document_tokens: Maximum number of tokens of a document. The rest is not read.
            truncates: Whether a pair that is longer than the window is truncated. Otherwise it is an error.
            check: Called before each slice of the pairs with the number of tokens so far. It may raise an exception to stop.

        Raises:
            InputError: A pair is longer than the window, and ``truncates`` is false.
        """
        encoded: list[Pair] = []
        n_passages: list[int] = []
        n_tokens = 0
        for start in range(0, len(pairs), _SLICE):
            if check is not None:
                check(n_tokens)
            part = [
                (self._prompt + well_formed(query), well_formed(text)) for query, text in pairs[start : start + _SLICE]
            ]
            if max_passages == 1 and max_document_tokens is None:
                encodings = [[encoding] for encoding in self._encode_truncated(part)]
            else:
                encodings = list(self._encode_passages(part, max_passages, max_document_tokens))
            for index, passages in enumerate(encodings, start=start):
                if not truncates and any(self._is_too_long(encoding) for encoding in passages):
                    raise InputError(
                        f"The query and document {index} together have more than {self.window} tokens, the window of the model.",
                        param="documents",
                    )
                new = [self._pair(encoding) for encoding in passages]
                encoded += new
                n_passages.append(len(new))
                n_tokens += sum(pair.n_tokens for pair in new)
        return PreparedPairs(tuple(encoded), tuple(pair.n_tokens for pair in encoded), tuple(n_passages))

    def _pair(self, encoding: Encoding) -> Pair:
        ids = np.array(self._ids(encoding), dtype=np.int32).tobytes()
        segments = bytes(encoding.type_ids) if self._has_segments else b""
        return Pair(ids, segments if any(segments) else b"")

    def _is_too_long(self, encoding: Encoding) -> bool:
        return len(encoding.overflowing) > 0

    def _ids(self, encoding: Encoding) -> list[int]:
        ids: list[int] = encoding.ids
        return ids

    def _encode_truncated(self, pairs: Sequence[tuple[str, str]]) -> list[Encoding]:
        shortened = [(self._cut(query, self.window), self._cut(text, self.window)) for query, text in pairs]
        with guard.native():
            return self._truncating.encode_batch_fast(shortened)

    def _encode_passages(
        self, pairs: Sequence[tuple[str, str]], max_passages: int, max_document_tokens: int | None
    ) -> Iterator[list[Encoding]]:
        limit = self._capacity * max_passages
        limit = limit if max_document_tokens is None else min(limit, max_document_tokens)
        texts = [(self._cut(query, self.window), self._cut(text, limit)) for query, text in pairs]
        queries = {query: self._encode_one(query) for query, _ in texts}
        with guard.native():
            documents = self._plain.encode_batch_fast([text for _, text in texts], add_special_tokens=False)
        for (query, _), document in zip(texts, documents, strict=True):
            tokens = queries[query]
            # A query may take half of the window at most, so that passages have room.
            half = self._capacity // 2
            size = self._capacity - min(len(tokens.ids), self._capacity - half) if max_passages > 1 else limit
            document.truncate(min(limit, size * max_passages), direction="right" if self._truncates_end else "left")
            passages = [document]
            if max_passages > 1 and len(document.ids) > size:
                document.truncate(size)
                passages += document.overflowing
            # Truncates a query that is too long.
            yield [self._truncating.post_process(tokens, passage) for passage in passages]

    def _encode_one(self, text: str) -> Encoding:
        with guard.native():
            return self._plain.encode_batch_fast([text], add_special_tokens=False)[0]

    def _cut(self, text: str, limit: int) -> str:
        """Return a part of a very long text that has at least ``limit`` tokens, because tokenizing all of it takes long."""
        length = _CHARACTERS_PER_TOKEN * limit
        # The same token may be cut differently at the new end, so a few more tokens than needed are kept.
        if len(text) <= 2 * length:
            return text
        part = text[:length] if self._truncates_end else text[-length:]
        return part if len(self._encode_one(part).ids) >= limit + _MARGIN else text
