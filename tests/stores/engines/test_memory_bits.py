"""The store in memory with binary quantization is nearly exact, and its scores are exact."""

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


def clustered(n: int, seed: int) -> FloatArray:
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(1).standard_normal((300, DIMS), dtype=np.float32)
    return normalize(centres[chance.integers(0, 300, n)] + chance.standard_normal((n, DIMS), dtype=np.float32))


@pytest.fixture(scope="module")
def stores() -> Iterator[tuple[Store, Store]]:
    """The same rows in a store by bits and in the exact one, after replacing and deleting some."""
    bits, exact = create_store("memory://bits-test?quantization=binary", SPACE), MemoryStore("memory://exact", SPACE)
    rows = clustered(N, seed=2)
    for store in (bits, exact):
        for start in range(0, N, 30_000):
            part = rows[start : start + 30_000]
            numbers = np.arange(start, start + len(part))
            store.upsert([f"row {number}" for number in numbers], part, pa.table({"half": numbers % 2}))
        store.upsert(["row 5", "row 40000"], clustered(2, seed=3), pa.table({"half": [1, 0]}))
        store.delete([f"row {number}" for number in range(100, 200)])
    yield bits, exact
    bits.drop()


@pytest.mark.parametrize("where", [None, "half = 1", "_id in ('row 7', 'row 9')"])
def test_results_equal_those_of_the_exact_store(stores: tuple[Store, Store], where: str | None) -> None:
    bits, exact = stores
    queries = clustered(20, seed=4)
    found, wanted = bits.search(queries, k=10, where=where), exact.search(queries, k=10, where=where)
    shared = sum(len({h.id for h in a} & {h.id for h in b}) for a, b in zip(found, wanted, strict=True))
    assert shared >= 0.99 * sum(map(len, wanted))
    assert [len(hits) for hits in found] == [len(hits) for hits in wanted]
    scores = {(row, hit.id): hit.score for row, hits in enumerate(wanted) for hit in hits}
    for row, hits in enumerate(found):
        for hit in hits:
            assert hit.score == pytest.approx(scores.get((row, hit.id), hit.score), abs=1e-6)
            assert where != "half = 1" or hit.record["half"] == 1


def test_a_query_far_from_all_rows_is_answered_correctly() -> None:
    # Nothing stands out: bits alone would choose by chance.
    chance = np.random.default_rng(9)
    rows, queries = (normalize(chance.standard_normal((n, DIMS), dtype=np.float32)) for n in (40_000, 20))
    scan = BinaryIndex(to_words(rows))
    found = 0
    for query in queries:
        places, scores = scan.search(query, rows, k=10, min_candidates=500)
        assert np.allclose(scores, rows[places] @ query, atol=1e-6)
        best = set(places[np.argsort(-scores)[:10]].tolist())
        found += len(best & set(np.argsort(-(rows @ query))[:10].tolist()))
    assert found >= 0.99 * 200


def test_replaced_and_deleted_rows_are_searched_in_their_current_state(stores: tuple[Store, Store]) -> None:
    bits, _ = stores
    fresh, gone = clustered(2, seed=3), clustered(N, seed=2)[150]
    assert [hits[0].id for hits in bits.search(fresh, k=1)] == ["row 5", "row 40000"]
    assert "row 150" not in {hit.id for hit in bits.search(gone[None], k=50)[0]}
    assert (bits.count(), bits.info()["quantization"]) == (N - 100, "binary")


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
    made = create_store("memory://bits-plain", SPACE)
    with pytest.raises(InputError, match="quantization=none"):
        create_store("memory://bits-plain?quantization=binary", SPACE)
    with pytest.raises(InputError, match="multiple of 8"):
        create_store("memory://bits-odd?quantization=binary", Space("umekomi-fake", "0" * 16, 12))
    made.drop()
