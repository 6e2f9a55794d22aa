"""A model as a scikit-learn transformer, for Pipeline, cross_val_score and GridSearchCV.

>>> from sklearn.linear_model import RidgeClassifier
>>> from sklearn.pipeline import make_pipeline
>>> model = make_pipeline(EmbeddingTransformer("umekomi-fake"), RidgeClassifier())
>>> model.fit(["good beans", "bad dog"], [1, 0]).predict(["good good beans"]).tolist()
[1]
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from ..catalog import DEFAULT_MODEL, Role
from ..data.table import to_arrow_table
from ..data.templates import resolve_template
from ..embedder import Embedder
from ..errors import InputError
from ..extras import needed_for
from ..inputs import list_texts
from ..vectors.arithmetic import FloatArray

with needed_for("EmbeddingTransformer"):
    from sklearn.base import BaseEstimator, TransformerMixin

CACHED_TEXTS = 16_384
"""Number of texts whose vectors are cached, for all transformers together: 100 MB at 1,536 dimensions."""


class EmbeddingTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Transforms texts to ``(n, dims) float32``. There is nothing to fit, so nothing leaks from one fold to another.

    A cross-validation transforms the same texts in every fold. Each text is embedded once (the latest ``CACHED_TEXTS``
    are cached), which does not change the result, because the same text always gives the same vector.

    Args:
        model: Id of a model in the catalog, or an :class:`umekomi.Embedder`, which is shared with clones.
        role: ``query`` or ``document``, for models that distinguish them.
        dimensions: Number of dimensions, for models that can shorten vectors.
        template: Template of the text to embed if the input is a table (pandas, Polars, Arrow), such as ``'{Summary}:
            {Text}'``; by default its column ``text``. A column or a list of texts needs no template.
    """

    def __init__(
        self,
        model: str | Embedder = DEFAULT_MODEL,
        *,
        role: str | None = None,
        dimensions: int | None = None,
        template: str | None = None,
    ) -> None:
        self.model = model
        self.role = role
        self.dimensions = dimensions
        self.template = template

    def fit(self, X: object, y: object = None) -> Self:  # noqa: N803 - scikit-learn's own name
        """Check that the input is texts. Nothing is learned.

        Raises:
            InputError: The input is not texts.
        """
        self._texts(X)
        return self

    def transform(self, X: object) -> FloatArray:  # noqa: N803
        """Return the vectors of the texts, ``(n, dims) float32``.

        Raises:
            InputError: The input is not texts, or a text is empty.
            TokenLimitError: A text is longer than the model's limit.
        """
        return _CACHE.embed(self._embedder(), self._texts(X), self.role, self.dimensions)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """Return a name for each dimension: ``embedding0``, ``embedding1``, …"""
        dims = self.dimensions or self._embedder().dims
        return np.array([f"embedding{i}" for i in range(dims)], dtype=object)

    def _embedder(self) -> Embedder:
        return _load(self.model) if isinstance(self.model, str) else self.model

    def _texts(self, values: object) -> list[str]:
        if hasattr(values, "columns"):
            table = to_arrow_table(values)
            return resolve_template(table.column_names, self.template).texts(table)
        if len(getattr(values, "shape", (0,))) == 2 and values.shape[1] == 1:  # type: ignore[attr-defined]
            values = np.asarray(values)[:, 0]  # the output of a ColumnTransformer
        return list_texts(values)

    def __sklearn_clone__(self) -> EmbeddingTransformer:
        # A loaded model cannot be copied and need not be: clones share it.
        return type(self)(**self.get_params(deep=False))

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string = True
        tags.input_tags.two_d_array = False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # Another process loads the model by its name.
        model = self.model if isinstance(self.model, str) else self.model.model
        return {**super().__getstate__(), "model": model}


@lru_cache(maxsize=4)
def _load(model: str) -> Embedder:
    return Embedder(model)


class _Cache:
    """Least-recently-used cache of vectors, for all models and settings."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._entries: OrderedDict[tuple[object, ...], FloatArray] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, embedder: Embedder, texts: Sequence[str], role: str | None, dimensions: int | None) -> FloatArray:
        if not texts:
            raise InputError("There are no texts to embed.")
        model_role = embedder.card.role or (Role(role) if role is not None else None)
        space = (embedder.fingerprint, model_role, dimensions)
        with self._lock:
            vectors = {text: self._entries[*space, text] for text in set(texts) if (*space, text) in self._entries}
        new = [text for text in dict.fromkeys(texts) if text not in vectors]
        if new:
            vectors.update(zip(new, embedder.embed(new, role=model_role, dimensions=dimensions), strict=True))
        with self._lock:
            for text, vector in vectors.items():
                self._entries[*space, text] = vector
                self._entries.move_to_end((*space, text))
            while len(self._entries) > self._size:
                self._entries.popitem(last=False)
        return np.stack([vectors[text] for text in texts])


_CACHE = _Cache(CACHED_TEXTS)
