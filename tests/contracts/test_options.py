"""Options of the URL on real engines: results are close to the exact ones, and ``info`` shows the options."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.contracts.engines import Servers, unique_name
from tests.contracts.rows import count_shared_hits

from umekomi.data.embedded_file import Space
from umekomi.errors import InputError
from umekomi.stores import MemoryStore, Store, create_store, open_store

OPTIONS = [
    ("milvus", 32, "m=8&ef=100&ef_search=300"),
    ("milvus", 32, "quantization=int8&shards=2"),
    ("milvus", 32, "exact=true&consistency=session"),
    ("postgres", 32, "m=8&ef=100&ef_search=300"),
    ("postgres", 32, "quantization=float16"),
    ("postgres", 256, "quantization=binary&ef_search=800"),
    ("postgres", 2100, ""),  # the index uses float16
    ("postgres", 32, "exact=true"),
    ("redis", 32, "m=8&ef=100&ef_search=300"),
    ("redis", 32, "quantization=float16"),
    ("redis", 32, "exact=true"),
    ("redis_vectors", 32, "m=8&ef=100"),
    ("redis_vectors", 32, "quantization=int8"),
    ("redis_vectors", 256, "quantization=binary&ef_search=800"),
    ("redis_vectors", 32, "exact=true"),
]


def fill(store: Store, n: int) -> None:
    rng = np.random.default_rng(5)
    centers = rng.standard_normal((20, store.space.dims), dtype=np.float32)
    vectors = centers[rng.integers(0, 20, n)] + 0.5 * rng.standard_normal((n, store.space.dims), dtype=np.float32)
    store.upsert([f"row {row}" for row in range(n)], vectors, pa.table({"tenth": pa.array(np.arange(n) % 10)}))


@pytest.mark.parametrize(("name", "dims", "options"), OPTIONS, ids=[f"{n}-{d}-{o}" for n, d, o in OPTIONS])
def test_results_are_close_to_the_exact_ones(servers: Servers, name: str, dims: int, options: str) -> None:
    space = Space("umekomi-fake", "0123456789abcdef", dims)
    n = 1000 if dims > 256 else 2000
    exact = MemoryStore("memory://exact", space)
    url = f"{servers.get(name).url}/{unique_name()}"
    with create_store(f"{url}?timeout=60&{options}", space) as store:
        fill(store, n)
        fill(exact, n)
        store.optimize()
        queries = np.random.default_rng(6).standard_normal((10, dims), dtype=np.float32)
        for where in (None, "tenth = 3"):
            results, expected = store.search(queries, k=10, where=where), exact.search(queries, k=10, where=where)
            assert count_shared_hits(results, expected) >= (
                70 if "binary" in options or ("int8" in options and name == "milvus") else 95
            )
        exact_scores = {hit.id: hit.score for hit in exact.search(queries[:1], k=n)[0]}
        tolerance = 0.02 if name == "milvus" and "int8" in options else 1e-5
        for hit in store.search(queries[:1], k=10)[0]:
            assert hit.score == pytest.approx(exact_scores[hit.id], abs=tolerance)
        for option in options.split("&"):
            key, _, value = option.partition("=")
            if key not in ("", "consistency"):
                assert str(store.info()[key]).lower() == value
        with open_store(f"{url}?timeout=60") as reopened:
            assert reopened.count() == n
        if "m=8" in options:
            with pytest.raises(InputError, match="m=8"):
                open_store(f"{url}?m=32")
        store.drop()


@pytest.mark.parametrize("name", ["redis", "redis_vectors"])
def test_an_unsupported_quantization_is_rejected(servers: Servers, name: str) -> None:
    quantization = "int8" if name == "redis" else "float16"
    with pytest.raises(InputError, match="quantization"):
        create_store(f"{servers.get(name).url}/{unique_name()}?quantization={quantization}", Space("x", "0" * 16, 8))
