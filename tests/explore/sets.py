"""Small embedded files for the explorer's tests."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from umekomi import Embedder
from umekomi.data.embedded_file import Space, embedded_schema

SUBJECTS = ("coffee beans roast", "dog food bowl", "green tea leaves", "slow angry delivery")
HTML = "<img src=x onerror=\"document.title='run'\"><b>bold</b> coffee"
JAPANESE = "珈琲豆の焙煎について"


def texts(n: int) -> list[str]:
    """Return texts about four subjects, including one in Japanese and one with HTML."""
    values = [f"{SUBJECTS[index % 4]} number {index}" for index in range(n - 2)]
    return [*values, HTML, JAPANESE]


def write(path: Path, rows: Sequence[str], vectors: np.ndarray, space: Space, **columns: Any) -> Path:
    """Write an embedded file like ``umekomi embed``."""
    schema = embedded_schema(pa.table(columns).schema, space)
    embedding = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel(), pa.float32()), space.dims)
    values = {**columns, "embedding": embedding, "n_tokens": [1] * len(rows), "text": rows}
    pq.write_table(pa.table([pa.array(values[field.name], field.type) for field in schema], schema=schema), path)
    return path


def small(path: Path, fake: Embedder, n: int = 80) -> Path:
    """Write a data set of the fake model with columns of several types."""
    rows = texts(n)
    return write(
        path,
        rows,
        fake.embed(rows),
        Space(fake.model, fake.fingerprint, fake.dims),
        stars=[1 + index % 5 for index in range(n)],
        shop=[("north", "south", None)[index % 3] for index in range(n)],
        price=[index / 7 for index in range(n)],
        fresh=[index % 2 == 0 for index in range(n)],
    )


def empty(path: Path, fake: Embedder) -> Path:
    """Write a data set without rows."""
    space = Space(fake.model, fake.fingerprint, fake.dims)
    pq.write_table(embedded_schema(pa.schema([]), space).empty_table(), path)
    return path


def many(path: Path, n: int, dims: int = 16) -> Path:
    """Write ``n`` points in 40 clusters, of a model that is not available."""
    random = np.random.default_rng(1)
    centers = random.normal(size=(40, dims)).astype(np.float32)
    code = random.integers(40, size=n)
    vectors = centers[code] + 0.4 * random.normal(size=(n, dims)).astype(np.float32)
    rows = [f"point {index} of cluster{chr(97 + c % 26)}{c}" for index, c in enumerate(code.tolist())]
    return write(path, rows, vectors, Space("synthetic", "0" * 16, dims), cluster=[f"c{c}" for c in code.tolist()])
