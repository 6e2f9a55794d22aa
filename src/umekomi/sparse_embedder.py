"""The class :class:`SparseEmbedder`, which turns texts into sparse vectors: SPLADE models and BM25.

A sparse vector has a weight for each word that matters, so it finds names, numbers and rare words that a dense vector blurs. A
hybrid search combines both (docs/sparse.md).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from .encoders.model_ids import ModelType, make_absolute, model_type
from .errors import InputError
from .inputs import Texts, list_texts
from .progress import Progress, no_progress
from .settings import Settings, current, with_secrets, without_secrets

if TYPE_CHECKING:
    from .assets.store import Report
    from .encoders.sparse.base import SparseEncoder
    from .vectors.sparse import SparseVectors

_ROLES = (None, "query", "document")


class SparseEmbedder:
    """A sparse encoder, ready to embed texts. It may be used from several threads.

    Args:
        model: ``bm25``, which may have options (``bm25,k1=0.9,b=0.4,mean_length=120``); or a SPLADE model: the path of a
            folder that sentence-transformers' ``SparseEncoder`` saved, or of a ``…ForMaskedLM`` of transformers, or its
            ``owner/name`` on the Hugging Face hub.
        settings: Device, threads, location of the cache and so on. By default those of the environment.
        report: Callback that receives one line of text before a download.

    Raises:
        InputError: The model is not a sparse encoder, or Umekomi cannot run it. The message says why.
        AssetMissingError: The hub does not respond, or has no such model.

    >>> SparseEmbedder("bm25").embed(["two beans"], role="query")
    SparseVectors(1 rows, 2147483647 dims, 2 numbers)
    """

    def __init__(self, model: str, *, settings: Settings | None = None, report: Report | None = None) -> None:
        # Imported lazily: OpenVINO takes a quarter of a second to import.
        from .encoders.sparse.bm25 import Bm25Encoder, is_bm25, parse_bm25

        settings = settings or current()
        self.model = model
        path = model
        encoder: SparseEncoder
        if is_bm25(model):
            encoder = Bm25Encoder(parse_bm25(model))
        else:
            if model_type(model) not in (ModelType.FOLDER, ModelType.HUB):
                raise InputError(
                    f"{model} is not a sparse encoder. Give bm25, the folder of a SPLADE model (./my-splade), or owner/name on "
                    "the Hugging Face hub.",
                    param="model",
                )
            from .encoders.sparse.splade import load_splade

            encoder = load_splade(model, settings, report=report)
            path = make_absolute(model)
        self._encoder = encoder
        self._recipe = (path, model, without_secrets(settings))
        identity = json.dumps(encoder.identity(), sort_keys=True)
        #: Hash of everything that decides whether vectors can be compared.
        self.fingerprint = hashlib.sha256(identity.encode()).hexdigest()[:16]

    def __repr__(self) -> str:
        return f"SparseEmbedder({self.model!r}, dims={self.dims}, fingerprint={self.fingerprint!r})"

    def __reduce__(self) -> tuple[Callable[..., SparseEmbedder], tuple[object, ...]]:
        """Pickle how the model is loaded, not its weights."""
        return _load_again, self._recipe

    @property
    def encoder(self) -> SparseEncoder:
        """The encoder of the model."""
        return self._encoder

    @property
    def dims(self) -> int:
        """Number of dimensions: the size of the vocabulary, or the number of hashes of BM25."""
        return self._encoder.dims

    def embed(self, texts: Texts, *, role: str | None = None, progress: Progress | None = None) -> SparseVectors:
        """Return the sparse vectors of texts. A text has the same vector, bit by bit, whatever the other texts are.

        Args:
            texts: A list, another sequence, or a column of pandas, Polars or pyarrow.
            role: ``query`` or ``document``, for models that distinguish them. BM25 does: without a role, texts are documents.
            progress: Callback that receives the number of texts finished since the last call.

        Raises:
            InputError: ``texts`` is a single text, a table, a mapping or a set, or there is no such role.
            UmekomiError: The model's weights are damaged.
        """
        if role not in _ROLES:
            raise InputError(f"There is no role {role!r}; use query or document.", param="role")
        return self._encoder.encode(list_texts(texts), role=role, progress=progress or no_progress)


def _load_again(path: str, name: str, settings: Settings) -> SparseEmbedder:
    """Load a model from the data of a pickle."""
    embedder = SparseEmbedder(path, settings=with_secrets(settings, os.environ))
    embedder.model = name
    return embedder
