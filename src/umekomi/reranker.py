"""The class :class:`Reranker`, which scores how relevant documents are to a query.

A reranker is a cross-encoder: it reads a query and a document together. This is slower than comparing the vectors of an
:class:`~umekomi.Embedder`, which embeds each document once, but more accurate. So a search selects candidates by their vectors,
and a reranker orders them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .encoders.model_ids import ModelType, make_absolute, model_type
from .errors import InputError
from .inputs import Texts, list_inputs, list_texts
from .progress import Progress, no_progress
from .settings import Settings, current, with_secrets, without_secrets
from .vectors.arithmetic import FloatArray

if TYPE_CHECKING:
    from .assets.store import Report
    from .encoders.cross_encoder.model import CrossEncoder
    from .encoders.cross_encoder.pairs import Pair, PreparedPairs

_SLICE = 4096
"""Number of pairs that are tokenized before they are scored. It bounds the memory of long calls."""


@dataclass(frozen=True, slots=True)
class RankedDocument:
    """A document and its relevance to a query."""

    #: Index of the document in the list that was ranked.
    index: int
    #: Relevance. With most models it is between 0 and 1.
    score: float
    document: str


class Reranker:
    """A cross-encoder, ready to score pairs of a query and a document. It may be used from several threads.

    Args:
        model: Path of a folder with a cross-encoder (saved by sentence-transformers' ``CrossEncoder``, or a
            ``…ForSequenceClassification`` of transformers with one label), or the ``owner/name`` of one on the Hugging Face hub.
        name: Id of the model, instead of ``model``.
        max_length: Maximum number of tokens of a query and a document together. By default the model's own.
        max_passages: Maximum number of passages that a document is split into if it is longer than the window. The score of the
            document is that of its best passage. 1, the default, truncates long documents, as ``CrossEncoder`` does.
        settings: Threads, location of the cache and so on. By default those of the environment.
        report: Callback that receives one line of text before a download.

    Raises:
        InputError: The model is not a cross-encoder, or Umekomi cannot run it. The message says why.
        AssetMissingError: The hub does not respond, or has no such model.
    """

    def __init__(
        self,
        model: str,
        *,
        name: str | None = None,
        max_length: int | None = None,
        max_passages: int = 1,
        settings: Settings | None = None,
        report: Report | None = None,
    ) -> None:
        _require_passages(max_passages)
        require_reranker(model)
        # Imported lazily: OpenVINO takes a quarter of a second to import.
        from .encoders.cross_encoder.model import load_cross_encoder

        settings = settings or current()
        self.model = name or model
        self._max_passages = max_passages
        self._recipe = (make_absolute(model), self.model, max_length, max_passages, without_secrets(settings))
        self._encoder = load_cross_encoder(model, settings, max_length=max_length, report=report)

    def __repr__(self) -> str:
        return f"Reranker({self.model!r}, max_length={self.max_length})"

    def __reduce__(self) -> tuple[Callable[..., Reranker], tuple[object, ...]]:
        """Pickle how the model is loaded, not its weights."""
        return _load_again, self._recipe

    @property
    def encoder(self) -> CrossEncoder:
        """The network of the model."""
        return self._encoder

    @property
    def max_length(self) -> int:
        """The maximum number of tokens of a query and a document together, including special tokens."""
        return self._encoder.tokenizer.window

    def rank(
        self, query: str, documents: Texts, *, top_n: int | None = None, progress: Progress | None = None
    ) -> list[RankedDocument]:
        """Return documents in the order of their relevance to a query, most relevant first.

        Documents with equal scores keep their order.

        Args:
            query: The text to search for.
            documents: The texts to rank: a list, another sequence, or a column of pandas, Polars or pyarrow.
            top_n: Number of documents to return. By default all.
            progress: Callback that receives the number of documents finished since the last call.

        Raises:
            InputError: The query is empty, ``documents`` is a single text, a table, a mapping or a set, or ``top_n`` is less than
                1.
        """
        if top_n is not None and top_n < 1:
            raise InputError(f"top_n is {top_n}; it must be at least 1.", param="top_n")
        texts = list_texts(documents)
        scores = self.score([(query, text) for text in texts], progress=progress)
        return [RankedDocument(index, float(scores[index]), texts[index]) for index in order(scores, top_n=top_n)]

    def score(self, pairs: Sequence[tuple[str, str]], *, progress: Progress | None = None) -> FloatArray:
        """Return the relevance of the document to the query of each pair: ``(len(pairs),) float32``.

        The score of a pair does not depend on the other pairs, bit by bit.

        Args:
            pairs: Pairs of a query and a document.
            progress: Callback that receives the number of pairs finished since the last call.

        Raises:
            InputError: A pair does not consist of two texts, or a query is empty.
            UmekomiError: The model's weights are damaged.
        """
        checked = [_check_pair(index, pair) for index, pair in enumerate(list_inputs(pairs))]
        scores = np.empty(len(checked), dtype=np.float32)
        for start in range(0, len(checked), _SLICE):
            part = checked[start : start + _SLICE]
            prepared = self._encoder.tokenizer.prepare(part, max_passages=self._max_passages)
            passages = self.score_pairs(
                prepared.texts, progress=_DocumentProgress(progress, prepared) if progress else None
            )
            scores[start : start + len(part)] = combine_passages(passages, prepared.n_passages)
        return scores

    def prepare(
        self,
        query: str,
        documents: Sequence[str],
        *,
        max_passages: int | None = None,
        max_document_tokens: int | None = None,
        truncates: bool = True,
        check: Callable[[int], None] | None = None,
    ) -> PreparedPairs:
        """Validate and tokenize a query with each of several documents, without scoring them.

        Args:
            query: The text to search for.
            documents: The texts to score.
            max_passages: Replaces the number of passages of the reranker.
            max_document_tokens: Maximum number of tokens of a document. The rest is not read.
            truncates: Whether a pair that is longer than the window is truncated. Otherwise it is an error.
            check: Called before each part of the documents with the number of tokens so far. It may raise an exception to stop.

        Raises:
            InputError: The query is empty, ``max_passages`` is less than 1, or a pair is too long and ``truncates`` is false.
        """
        max_passages = self._max_passages if max_passages is None else max_passages
        _require_passages(max_passages)
        return self._encoder.tokenizer.prepare(
            [_check_pair(index, (query, document)) for index, document in enumerate(documents)],
            max_passages=max_passages,
            max_document_tokens=max_document_tokens,
            truncates=truncates,
            check=check,
        )

    def score_pairs(self, pairs: Sequence[Pair], *, progress: Progress | None = None) -> FloatArray:
        """Return the score of each pair of :meth:`prepare`: ``(len(pairs),) float32``. See :func:`combine_passages`."""
        return self._encoder.score(pairs, progress=progress or no_progress)


def require_reranker(model: str) -> ModelType:
    """Return whether a reranker is a folder or a model of the Hugging Face hub.

    Raises:
        InputError: It is neither.
    """
    type_ = model_type(model)
    if type_ not in (ModelType.FOLDER, ModelType.HUB):
        raise InputError(
            f"{model} is not a reranker. Give the folder of a cross-encoder (./my-reranker), or owner/name on the Hugging Face "
            "hub.",
            param="model",
        )
    return type_


def combine_passages(scores: FloatArray, n_passages: Sequence[int]) -> FloatArray:
    """Return the score of each document, the greatest of its passages: ``(len(n_passages),) float32``.

    Args:
        scores: Scores of the passages of all documents, in order.
        n_passages: Number of passages of each document, at least 1.

    >>> combine_passages(np.array([0.25, 0.5, 0.125], dtype=np.float32), [2, 1]).tolist()
    [0.5, 0.125]
    """
    if not len(n_passages):
        return np.empty(0, dtype=np.float32)
    starts = np.cumsum([0, *n_passages[:-1]])
    best: FloatArray = np.maximum.reduceat(scores, starts)
    return best


def order(scores: FloatArray, *, top_n: int | None = None) -> list[int]:
    """Return the indices of the highest scores, highest first. Equal scores keep their order.

    >>> order(np.array([0.25, 0.5, 0.5], dtype=np.float32), top_n=2)
    [1, 2]
    """
    indices: list[int] = np.argsort(-scores, kind="stable")[:top_n].tolist()
    return indices


class _DocumentProgress:
    """Reports a document as finished when its passages have been scored."""

    def __init__(self, progress: Progress, prepared: PreparedPairs) -> None:
        self._progress = progress
        self._share = len(prepared.n_passages) / max(1, len(prepared.texts))
        self._n_passages = 0

    def __call__(self, count: int) -> None:
        before = round(self._n_passages * self._share)
        self._n_passages += count
        self._progress(round(self._n_passages * self._share) - before)


def _check_pair(index: int, pair: object) -> tuple[str, str]:
    if not isinstance(pair, tuple | list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
        raise InputError(f"Pair {index} is not a pair of two texts, the query and the document.", param="documents")
    query, document = pair
    if not query.strip():
        raise InputError("The query is empty. Describe what to find.", param="query")
    return query, document


def _require_passages(max_passages: int) -> None:
    if max_passages < 1:
        raise InputError(f"max_passages is {max_passages}; it must be at least 1.", param="max_passages")


def _load_again(path: str, name: str, max_length: int | None, max_passages: int, settings: Settings) -> Reranker:
    """Load a model from the data of a pickle."""
    settings = with_secrets(settings, os.environ)
    return Reranker(path, name=name, max_length=max_length, max_passages=max_passages, settings=settings)
