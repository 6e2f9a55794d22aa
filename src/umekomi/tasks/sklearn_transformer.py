"""scikit-learn: a model as a transformer, for Pipeline, cross_val_score and GridSearchCV.

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
"""How many texts' vectors are kept, for all transformers together: 100 MB at 1,536 dimensions."""


class EmbeddingTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Texts to ``(n, dims) float32``. There is nothing to fit, so that nothing leaks from one fold to another.

    The folds of a cross-validation see the same texts again and again: each is embedded once (the latest
    ``CACHED_TEXTS`` are kept), which changes nothing, as the same text always gives the same vector.

    Args:
        model: an id of the catalogue, or an :class:`umekomi.Embedder`, which clones of this share.
        role: ``query`` or ``document``, where a search has two sides.
        dimensions: a shorter length, for models that can shorten.
        template: where the input is a table (pandas, Polars, Arrow), what of it to embed, as ``'{Summary}: {Text}'``; by
            default its column ``text``. A column or a list of texts needs none.
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
        """Check that these are texts; nothing is learned.

        Raises:
            InputError: they are not.
        """
        self._texts(X)
        return self

    def transform(self, X: object) -> FloatArray:  # noqa: N803
        """The texts' vectors, ``(n, dims) float32``.

        Raises:
            InputError: these are not texts, or one is empty.
            TokenLimitError: a text is longer than the model takes.
        """
        return _CACHE.embed(self._embedder(), self._texts(X), self.role, self.dimensions)

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[np.object_]:
        """``embedding0``, ``embedding1``, …: a name for each dimension."""
        dims = self.dimensions or self._embedder().dims
        return np.array([f"embedding{place}" for place in range(dims)], dtype=object)

    def _embedder(self) -> Embedder:
        return _load(self.model) if isinstance(self.model, str) else self.model

    def _texts(self, values: object) -> list[str]:
        if hasattr(values, "columns"):
            table = to_arrow_table(values)
            filler = resolve_template(table.column_names, self.template)
            return filler.texts(table)
        if len(getattr(values, "shape", (0,))) == 2 and values.shape[1] == 1:  # type: ignore[attr-defined]
            values = np.asarray(values)[:, 0]  # what a ColumnTransformer hands on
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
    """The latest texts' vectors, of all models and settings."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._kept: OrderedDict[tuple[object, ...], FloatArray] = OrderedDict()
        self._lock = threading.Lock()

    def embed(self, embedder: Embedder, texts: Sequence[str], role: str | None, dimensions: int | None) -> FloatArray:
        if not texts:
            raise InputError("There are no texts to embed.")
        side = embedder.card.role or (Role(role) if role is not None else None)
        space = (embedder.fingerprint, side, dimensions)
        with self._lock:
            known = {text: self._kept[*space, text] for text in set(texts) if (*space, text) in self._kept}
        new = [text for text in dict.fromkeys(texts) if text not in known]
        if new:
            vectors = embedder.embed(new, role=side, dimensions=dimensions)
            known.update(zip(new, vectors, strict=True))
        with self._lock:
            for text in known:
                self._kept[*space, text] = known[text]
                self._kept.move_to_end((*space, text))
            while len(self._kept) > self._size:
                self._kept.popitem(last=False)
        return np.stack([known[text] for text in texts])


_CACHE = _Cache(CACHED_TEXTS)
