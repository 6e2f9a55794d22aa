"""Explanation of a hit: how much each part of the vector and each word contributes to its score.

The contributions of the parts are exact: a vector is the concatenation of the model's parts, and a dot product is the
sum of theirs. The contribution of a word is what the score loses when the text is embedded without the word
(representation erasure: Li, Monroe & Jurafsky 2016, arXiv:1612.08220). Words interact, so these contributions do not
add up to the score.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..catalog import Role
from ..embedder import Embedder
from ..errors import InputError
from ..vectors.arithmetic import FloatArray

MAX_PIECES = 64
"""Longer texts are divided into pieces of several adjacent words, so that a hit costs at most this many short texts."""

# A word, or, in scripts without spaces, a run of one script, which is roughly a word.
_WORD = re.compile(r"[\u3400-\u9fff々]+|[ぁ-ゟ]+|[ァ-ヿ]+|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W_]+)?")


@dataclass(frozen=True, slots=True)
class Piece:
    """A word, or some adjacent words, of a text."""

    #: The words.
    text: str
    #: Offset of the first character.
    start: int
    #: What the score loses without the piece.
    gain: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """Contributions to the score of a hit."""

    #: Dot product of query and document.
    score: float
    #: Contribution of each part of the model; their sum is the score.
    parts: dict[str, float]
    #: Pieces of the query, greatest gain first.
    query: tuple[Piece, ...]
    #: Pieces of the document, greatest gain first.
    document: tuple[Piece, ...]


def explain(embedder: Embedder, query: str, document: str, *, role: str | Role | None = None) -> Explanation:
    """Explain the similarity of ``query`` and ``document``.

    Args:
        embedder: The model that computed the score.
        query: The query.
        document: The text of the hit.
        role: The role that the document was embedded with, if any.

    Raises:
        InputError: A text is empty.
        TokenLimitError: A text is too long for the model.
    """
    query_spans, query_variants = _erase_pieces(query)
    document_spans, document_variants = _erase_pieces(document)
    left = embedder.embed([query, *query_variants], role=Role.QUERY)
    document_role = Role(role) if role else None
    document_embedder = embedder.for_role(document_role) if document_role else embedder
    right = document_embedder.embed([document, *document_variants], role=document_role)
    products = {name: float(left[0, columns] @ right[0, columns]) for name, columns in parts_of(embedder).items()}
    score = float(left[0] @ right[0])
    return Explanation(
        score,
        products,
        _ranked_pieces(query, query_spans, score - left[1:] @ right[0]),
        _ranked_pieces(document, document_spans, score - right[1:] @ left[0]),
    )


def parts_of(embedder: Embedder) -> dict[str, slice]:
    """Return the columns of each part of a model; one part, ``whole``, if the dimensions of the parts are mixed."""
    if embedder.card.interleaved or embedder.card.rotation or embedder.matrix is not None:
        return {"whole": slice(0, embedder.dims)}
    columns: dict[str, slice] = {}
    start = 0
    for part, dims in zip(embedder.card.parts, embedder.part_dims, strict=True):
        columns[part.encoder] = slice(start, start + dims)
        start += dims
    return columns


def _erase_pieces(text: str) -> tuple[list[tuple[int, int]], list[str]]:
    """Return the spans of a text's pieces, and the text without each. A piece that is all of the text is skipped."""
    if not text.strip():
        raise InputError("There is nothing to explain: the text is empty.")
    words = [match.span() for match in _WORD.finditer(text)]
    step = -(-len(words) // MAX_PIECES) or 1
    spans = [(words[first][0], words[min(first + step, len(words)) - 1][1]) for first in range(0, len(words), step)]
    spans = [(start, end) for start, end in spans if (text[:start] + text[end:]).strip()]
    return spans, [text[:start] + text[end:] for start, end in spans]


def _ranked_pieces(text: str, spans: Sequence[tuple[int, int]], gains: FloatArray) -> tuple[Piece, ...]:
    order = np.argsort(-gains, kind="stable")
    return tuple(Piece(text[spans[i][0] : spans[i][1]], spans[i][0], float(gains[i])) for i in order)
