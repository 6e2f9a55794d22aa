"""The rerankers of a server. They are loaded before it starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..encoders.cross_encoder.pairs import Pair
from ..errors import ModelNotFoundError
from ..reranker import Reranker
from ..vectors.arithmetic import FloatArray
from .schemas.fields import abbreviate


class Rerankers:
    """Rerankers by the ids that clients use.

    Args:
        loaded: The rerankers. The first one is the default.
    """

    def __init__(self, loaded: Mapping[str, Reranker]) -> None:
        self._loaded = dict(loaded)

    @property
    def names(self) -> list[str]:
        """The ids of the rerankers."""
        return list(self._loaded)

    def find(self, model_id: str) -> Reranker | None:
        """Return the reranker of an id, or None."""
        return self._loaded.get(model_id)

    def get(self, model_id: str | None) -> Reranker:
        """Return the reranker of an id, or the default one for None.

        Raises:
            ModelNotFoundError: The server has no such reranker.
        """
        if not self._loaded:
            raise ModelNotFoundError("This server has no reranking model. Start it with --rerank-model.")
        reranker = self._loaded.get(self.names[0] if model_id is None else model_id)
        if reranker is None:
            names = ", ".join(self._loaded)
            raise ModelNotFoundError(
                f"No reranking model `{abbreviate(model_id or '')}` is served here; the reranking models are: {names}."
            )
        return reranker


@dataclass(frozen=True, slots=True)
class PairScorer:
    """A reranker as a model of the batcher: its texts are pairs, and its vectors have one number, the score."""

    reranker: Reranker

    @property
    def model(self) -> str:
        """The id of the model."""
        return self.reranker.model

    @property
    def dims(self) -> int:
        """The length of every vector."""
        return 1

    @property
    def fingerprint(self) -> str:
        """Identifies the model in this process."""
        return f"reranker:{self.reranker.model}"

    def embed_texts(self, texts: Sequence[Pair]) -> FloatArray:
        """Return the score of each pair, ``(n, 1) float32``."""
        return self.reranker.score_pairs(texts)[:, None]
