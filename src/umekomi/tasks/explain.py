"""Why a hit was found: which part of the vector made its score, and which words did.

The parts are exact: a vector is the concatenation of a model's parts, and a dot product is the sum of theirs. The words are
found by leaving each out in turn and embedding what remains (representation erasure: Li, Monroe & Jurafsky 2016,
arXiv:1612.08220): what the score loses is what the word gave. Words share their work, so these do not add up to the score.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..catalog import Role, load_catalog
from ..embedder import Embedder
from ..errors import InputError
from ..vectors.arithmetic import FloatArray

MAX_PIECES = 64
"""A longer text is taken in pieces of several neighbouring words, so that a hit costs this many short texts at most."""

# A word; or, in scripts without spaces, a run of one script, which is about a word.
_WORD = re.compile(r"[\u3400-\u9fff々]+|[ぁ-ゟ]+|[ァ-ヿ]+|[^\W_\u3040-\u30ff\u3400-\u9fff]+(?:['’][^\W_]+)?")


@dataclass(frozen=True, slots=True)
class Piece:
    """A word, or some words, of the text at ``start``; ``gain`` is what the score loses without it."""

    text: str
    start: int
    gain: float


@dataclass(frozen=True, slots=True)
class Explanation:
    """``score`` is the dot product of query and document; ``parts`` sum to it. Pieces have the greatest gain first."""

    score: float
    parts: dict[str, float]
    query: tuple[Piece, ...]
    document: tuple[Piece, ...]


def explain(embedder: Embedder, query: str, document: str, *, role: str | Role | None = None) -> Explanation:
    """Why ``query`` is as near to ``document`` as it is.

    Args:
        embedder: the model that made the score.
        query: the words that were searched for.
        document: what was found.
        role: the role that the document was embedded in, if it had one.

    Raises:
        InputError: one of them is empty.
        TokenLimitError: one of them is too long for the model.
    """
    asked, asked_without = _erased(query)
    told, told_without = _erased(document)
    left = embedder.embed([query, *asked_without], role=Role.QUERY)
    side = Role(role) if role else None
    right = (embedder.for_role(side) if side else embedder).embed([document, *told_without], role=side)
    products = {name: float(left[0, columns] @ right[0, columns]) for name, columns in parts_of(embedder).items()}
    score = float(left[0] @ right[0])
    return Explanation(
        score,
        products,
        _pieces(query, asked, score - left[1:] @ right[0]),
        _pieces(document, told, score - right[1:] @ left[0]),
    )


def parts_of(embedder: Embedder) -> dict[str, slice]:
    """The columns of the vector that each part of a model fills; one part, ``whole``, where that cannot be told."""
    known = load_catalog().encoders
    columns: dict[str, slice] = {}
    start = 0
    for part in embedder.card.parts:
        dims = part.options.get("dims", known[part.encoder].dims if part.encoder in known else 0)
        columns[part.encoder] = slice(start, start + dims)
        start += dims
    # A model may do more with its parts than put them side by side, and then no part has columns of its own.
    return columns if start == embedder.dims else {"whole": slice(0, embedder.dims)}


def _erased(text: str) -> tuple[list[tuple[int, int]], list[str]]:
    """Where the pieces of a text are, and the text without each; pieces without which nothing remains are left out."""
    if not text.strip():
        raise InputError("There is nothing to explain: the text is empty.")
    words = [match.span() for match in _WORD.finditer(text)]
    step = -(-len(words) // MAX_PIECES) or 1
    spans = [(words[first][0], words[min(first + step, len(words)) - 1][1]) for first in range(0, len(words), step)]
    kept = [(start, end) for start, end in spans if (text[:start] + text[end:]).strip()]
    return kept, [text[:start] + text[end:] for start, end in kept]


def _pieces(text: str, spans: Sequence[tuple[int, int]], gains: FloatArray) -> tuple[Piece, ...]:
    order = np.argsort(-gains, kind="stable")
    return tuple(Piece(text[spans[i][0] : spans[i][1]], spans[i][0], float(gains[i])) for i in order)
