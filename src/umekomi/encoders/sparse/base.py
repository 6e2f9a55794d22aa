"""The base class of sparse encoders."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from ...progress import Progress, no_progress
from ...vectors.sparse import SparseVectors


class SparseEncoder(ABC):
    """Turns texts into sparse vectors. The same text must always give the same bytes, whatever the other texts are."""

    #: Number of dimensions.
    dims: int
    #: Whether a search multiplies the weights of a query by the inverse document frequency of its terms in the collection.
    uses_idf: bool = False

    @abstractmethod
    def encode(
        self, texts: Sequence[str], *, role: str | None = None, progress: Progress = no_progress
    ) -> SparseVectors:
        """Return the vectors of texts.

        Args:
            texts: Texts.
            role: ``query``, ``document`` or None.
            progress: Callback that receives the number of texts finished since the last call.
        """

    @abstractmethod
    def words(self, text: str, indices: Sequence[int]) -> list[str]:
        """Return the words that dimensions of the vector of a text stand for."""

    @abstractmethod
    def identity(self) -> dict[str, object]:
        """Return what decides whether vectors can be compared, as JSON data."""
