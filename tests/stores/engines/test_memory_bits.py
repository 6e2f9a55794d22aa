"""Binary quantization of the memory store: results are nearly exact, and scores are exact."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest

from umekomi.data.embedded_file import Space
from umekomi.errors import InputError
from umekomi.stores import MemoryStore, Store, create_store
from umekomi.vectors.arithmetic import FloatArray, normalize
from umekomi.vectors.binary_search import BinaryIndex, to_words

DIMS, N = 256, 70_000
SPACE = Space("umekomi-fake", "0123456789abcdef", DIMS)


def make_clustered_vectors(n: int, seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(1).standard_normal((300, DIMS), dtype=np.float32)
    return normalize(centers[rng.integers(0, 300, n)] + rng.standard_normal((n, DIMS), dtype=np.float32))


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[Store, Store]]:
    """A quantized and an exact store with the same rows, after some were replaced and deleted."""
    quantized, exact = (
        create_store("memory://bits-test?quantization=binary", SPACE),
        MemoryStore("memory://exact", SPACE),
    )
    rows = make_clustered_vectors(N, seed=2)
    for store in (quantized, exact):
        for start in range(0, N, 30_000):
            part = rows[start : start + 30_000]
            numbers = np.arange(start, start + len(part))
            store.upsert([f"row {number}" for number in numbers], part, pa.table({"half": numbers % 2}))
        store.upsert(["row 5", "row 40000"], make_clustered_vectors(2, seed=3), pa.table({"half": [1, 0]}))
        store.delete([f"row {number}" for number in range(100, 200)])
    yield quantized, exact
    quantized.drop()


@pytest.mark.parametrize("where", [None, "half = 1", "_id in ('row 7', 'row 9')"])
def test_results_equal_those_of_the_exact_store(stores: tuple[Store, Store], where: str | None) -> None:
    quantized, exact = stores
    queries = make_clustered_vectors(20, seed=4)
    results, expected = quantized.search(queries, k=10, where=where), exact.search(queries, k=10, where=where)
    shared = sum(len({h.id for h in a} & {h.id for h in b}) for a, b in zip(results, expected, strict=True))
    assert shared >= 0.99 * sum(map(len, expected))
    assert [len(hits) for hits in results] == [len(hits) for hits in expected]
    scores = {(row, hit.id): hit.score for row, hits in enumerate(expected) for hit in hits}
    for row, hits in enumerate(results):
        for hit in hits:
            assert hit.score == pytest.approx(scores.get((row, hit.id), hit.score), abs=1e-6)
            assert where != "half = 1" or hit.record["half"] == 1


def test_the_nearest_rows_are_found_if_all_rows_are_about_equally_far() -> None:
    # No row is much nearer than the others, so that the bits alone do not find the nearest rows.
    rng = np.random.default_rng(9)
    rows, queries = (normalize(rng.standard_normal((n, DIMS), dtype=np.float32)) for n in (40_000, 20))
    scan = BinaryIndex(to_words(rows))
    n_shared = 0
    for query in queries:
        indices, scores = scan.search(query, rows, k=10, min_candidates=500)
        assert np.allclose(scores, rows[indices] @ query, atol=1e-6)
        best = set(indices[np.argsort(-scores)[:10]].tolist())
        n_shared += len(best & set(np.argsort(-(rows @ query))[:10].tolist()))
    assert n_shared >= 0.99 * 200


def test_replaced_and_deleted_rows_are_searched_in_their_current_state(stores: tuple[Store, Store]) -> None:
    quantized, _ = stores
    replaced, deleted = make_clustered_vectors(2, seed=3), make_clustered_vectors(N, seed=2)[150]
    assert [hits[0].id for hits in quantized.search(replaced, k=1)] == ["row 5", "row 40000"]
    assert "row 150" not in {hit.id for hit in quantized.search(deleted[None], k=50)[0]}
    assert (quantized.count(), quantized.info()["quantization"]) == (N - 100, "binary")


def test_bits_are_counted_for_any_number_of_words_and_rows() -> None:
    for dims, n in ((8, 3), (64, 5000), (200, 2049), (384, 70_001), (1536, 4097)):
        vectors = np.random.default_rng(dims).standard_normal((n, dims), dtype=np.float32)
        words = to_words(vectors)
        assert words.shape == (-(-dims // 64), n)
        bits = np.unpackbits(np.ascontiguousarray(words.T).view(np.uint8), axis=1)
        expected = (bits != bits[1]).sum(axis=1)
        assert (BinaryIndex(words)._count_differing_bits(words[:, 1].copy()) == expected).all()
        (rows,) = BinaryIndex(words).candidates(vectors[1:2], 2)
        assert 1 in rows
        assert set(rows) == set(np.flatnonzero(expected <= np.sort(expected)[1]))


def test_the_quantization_of_a_collection_cannot_change() -> None:
    store = create_store("memory://bits-plain", SPACE)
    with pytest.raises(InputError, match="quantization=none"):
        create_store("memory://bits-plain?quantization=binary", SPACE)
    with pytest.raises(InputError, match="multiple of 8"):
        create_store("memory://bits-odd?quantization=binary", Space("umekomi-fake", "0" * 16, 12))
    store.drop()
