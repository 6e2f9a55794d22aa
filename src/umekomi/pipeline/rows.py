"""Embeds batches of rows: the loop that single files and shards share."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ..catalog import Role
from ..data.embedded_file import EmbeddedColumns, TooLong
from ..embedder import Embedder
from ..errors import InputError, TokenLimitError
from ..progress import Progress, no_progress
from ..sparse_embedder import SparseEmbedder
from ..vectors.arithmetic import FloatArray
from ..vectors.arrow import VectorType

Reject = Callable[[int, InputError], object]
"""Called with the index of a row of the batch that cannot be embedded. If it returns, the row is left out."""


class EmptyTextError(InputError):
    """A row has no text."""


@dataclass(frozen=True, slots=True)
class RowEmbedder:
    """Embeds batches of rows and joins the vectors with the columns of the input."""

    embedder: Embedder
    #: Columns of the output.
    columns: EmbeddedColumns
    role: Role | None
    too_long: TooLong
    #: Type of the vectors in the output.
    vectors: VectorType
    #: Computes the sparse vectors, if the output has any.
    sparse: SparseEmbedder | None = None

    def embed(
        self,
        batch: pa.RecordBatch,
        texts: Iterable[str | InputError],
        reject: Reject,
        *,
        cache: RepeatedTextCache | None = None,
        progress: Progress = no_progress,
        token_progress: Progress = no_progress,
    ) -> pa.Table:
        """Return the rows of the output.

        Args:
            batch: Rows of the input.
            texts: Text of each row, or the error that it has none.
            reject: Function that raises, or handles a row that is left out.
            cache: Vectors of earlier texts.
            progress: Callback that receives the number of embedded rows.
            token_progress: Callback that receives the number of embedded tokens, estimated from the mean of the batch.
        """
        rows: list[int] = []
        selected: list[str] = []
        counts: list[int] = []
        for row, text in enumerate(texts):
            try:
                valid, count = self._count(text)
            except InputError as error:
                reject(row, error)
                continue
            rows.append(row)
            selected.append(valid)
            counts.append(count)
        mean = sum(counts) / max(1, len(counts))

        def advance(n_rows: int) -> None:
            token_progress(round(n_rows * mean))
            progress(n_rows)

        def embed(texts: list[str]) -> FloatArray:
            return self.embedder.embed_texts(texts, role=self.role, progress=advance)

        vectors = cache.embed(selected, embed, self.embedder.dims) if cache else embed(selected)
        taken = pa.Table.from_batches([batch]).take(pa.array(rows, pa.int64()))
        sparse = None if self.sparse is None else self.sparse.embed(selected, role=self.role or Role.DOCUMENT)
        return self.columns.table(taken, vectors, counts, selected, dtype=self.vectors, sparse=sparse)

    def _count(self, text: str | InputError) -> tuple[str, int]:
        """Check a text. Return it, truncated if necessary, with its number of tokens."""
        if isinstance(text, InputError):
            raise text
        if not text.strip():
            raise EmptyTextError("The row has no text.")
        try:
            return text, self.embedder.prepare([text]).n_tokens[0]
        except TokenLimitError as error:
            if self.too_long is TooLong.FAIL:
                raise
            text = self.embedder.tokenizer.truncate(text, error.limit)
            return text, self.embedder.tokenizer.count(text)


class RepeatedTextCache:
    """Vectors of the most recent texts, so that repeated texts are embedded once.

    Args:
        capacity: Maximum number of vectors.

    Attributes:
        n_repeated: Number of texts whose vector was not computed again.
    """

    def __init__(self, capacity: int) -> None:
        self.n_repeated = 0
        self._capacity = capacity
        self._cached: OrderedDict[bytes, FloatArray] = OrderedDict()

    def embed(self, texts: Sequence[str], embed: Callable[[list[str]], FloatArray], dims: int) -> FloatArray:
        """Return the vectors of texts, ``(len(texts), dims) float32``. Calls ``embed`` once, with the distinct new texts."""
        keys = [hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest() for text in texts]
        new = {key: text for key, text in zip(keys, texts, strict=True) if key not in self._cached}
        computed = dict(zip(new, embed(list(new.values())), strict=True)) if new else {}
        self.n_repeated += len(texts) - len(new)
        vectors = np.empty((len(texts), dims), np.float32)
        for row, key in enumerate(keys):
            vectors[row] = computed[key] if key in computed else self._cached[key]
        for key in keys:
            if key in computed:
                self._cached[key] = computed[key]
            self._cached.move_to_end(key)
        while len(self._cached) > self._capacity:
            self._cached.popitem(last=False)
        return vectors
