import numpy as np
import pytest

from umekomi.errors import InputError
from umekomi.tasks.cluster import assess_structure, choose_k, cluster, describe
from umekomi.tasks.terms import distinctive_terms
from umekomi.vectors.arithmetic import FloatArray


def blobs(*sizes: int, dims: int = 8, noise: float = 0.05) -> FloatArray:
    """Return the given numbers of rows around orthogonal directions."""
    random = np.random.default_rng(0)
    rows = [np.eye(dims)[i] + noise * random.normal(size=(size, dims)) for i, size in enumerate(sizes)]
    return np.concatenate(rows).astype(np.float32)


def test_k_means_numbers_clusters_from_the_largest() -> None:
    clustering = cluster(blobs(30, 50, 20), k=3)
    assert clustering.sizes == (50, 30, 20)
    assert set(clustering.labels[30:80]) == {0}


def test_k_is_chosen_by_silhouette() -> None:
    k, tried = choose_k(blobs(30, 30, 30, 30), max_k=7)
    assert k == 4
    assert [number for number, _ in tried] == [2, 3, 4, 5, 6, 7]
    assert cluster(blobs(30, 30, 30, 30)).k == 4


def test_copies_count_once_when_k_is_chosen() -> None:
    rows = blobs(30, 30, 30, 30, noise=0.2)
    copied = np.concatenate([rows, np.repeat(rows[:4], 60, axis=0)])
    assert choose_k(copied, max_k=7) == choose_k(rows, max_k=7)


def test_k_at_the_edge_of_the_tried_range_is_reported() -> None:
    assert cluster(blobs(20, 20, 20, 20), max_k=3).at_edge
    assert not cluster(blobs(20, 20, 20, 20), max_k=6).at_edge
    assert not cluster(blobs(20, 20), k=2).at_edge


@pytest.mark.parametrize("dims", [3, 64, 384])
def test_groups_have_structure_and_noise_has_none(dims: int) -> None:
    noise = np.random.default_rng(dims).normal(size=(150, dims)).astype(np.float32)
    assert not assess_structure(noise, max_k=6).has_structure
    assert assess_structure(blobs(50, 50, 50, dims=dims, noise=0.3 / np.sqrt(dims)), max_k=6).has_structure
    assert cluster(noise, max_k=3).structure is not None
    assert cluster(noise, k=3).structure is None


def test_central_texts_differ() -> None:
    texts = ["a dog", "A  dog", "a dog", "my dog", "rice"]
    first, _ = describe(cluster(blobs(4, 1, noise=0.01), k=2), blobs(4, 1, noise=0.01), texts)
    assert sorted(texts[row].lower().split()[0] for row in first.central) == ["a", "my"]


def test_hdbscan_determines_k_and_leaves_outliers_out() -> None:
    outlier = np.full((1, 8), -1, dtype=np.float32)
    clustering = cluster(np.concatenate([blobs(40, 40, 40), outlier]), method="hdbscan", min_size=10)
    assert clustering.k == 3
    assert clustering.labels[-1] == -1


def test_the_same_seed_gives_the_same_clusters() -> None:
    vectors = np.random.default_rng(1).normal(size=(200, 16)).astype(np.float32)
    assert (cluster(vectors, k=5, seed=7).labels == cluster(vectors, k=5, seed=7).labels).all()


def test_many_rows_are_clustered_in_mini_batches() -> None:
    clustering = cluster(np.tile(blobs(30, 20), (1100, 1)), k=2)
    assert clustering.sizes == (33000, 22000)


def test_a_cluster_is_described_by_its_terms_and_central_texts() -> None:
    texts = ["the dog barks", "a dog sleeps", "my dog", "rice and beans", "rice"]
    vectors = blobs(3, 2, noise=0.01)
    first, second = describe(cluster(vectors, k=2), vectors, texts, values=[1, 2, 3, 4, 5], n_central=2)
    assert first.name.startswith("dog")
    assert second.name.startswith("rice")
    assert (first.mean_value, second.mean_value) == (2.0, 4.5)
    assert len(first.central) == 2


def test_japanese_terms_are_runs_of_kanji_and_katakana() -> None:
    texts = ["猫が眠る。可愛い猫", "白猫と黒猫", "珈琲を飲む", "珈琲とケーキ、珈琲豆"]
    cats, coffee = distinctive_terms(texts, [0, 0, 1, 1], 2, n=3)
    assert any("猫" in term for term in cats)
    assert any("珈琲" in term or term == "ケーキ" for term in coffee)


def test_words_of_every_text_and_tags_are_no_distinctive_terms() -> None:
    texts = ["Title: dog<br />", "Title: dog food", "Title: rice<br />", "Title: rice bowl"]
    assert distinctive_terms(texts, [0, 0, 1, 1], 2, n=1) == [("dog",), ("rice",)]


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (blobs(3), {"k": 5}, "k is 5; with 3 rows"),
        (np.zeros((4, 3)), {"k": 2}, "all zeros"),
        ([[1.0, np.nan], [1, 2]], {"k": 1}, "not a finite number"),
        (np.ones((5, 3)), {}, "fewer than three different rows"),
        (blobs(5), {"k": 2, "method": "hdbscan"}, "determines the number of clusters itself"),
        (blobs(5), {"method": "what"}, "There is no method 'what'"),
    ],
)
def test_invalid_input_is_rejected(vectors: FloatArray, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        cluster(vectors, **options)  # type: ignore[arg-type]
