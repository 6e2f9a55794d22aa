"""The scikit-learn transformer that learns a matrix."""

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import estimator_checks_generator

from umekomi import Embedder
from umekomi.errors import InputError, SpaceMismatchError
from umekomi.tasks.customize.transformer import MatrixTransformer
from umekomi.tasks.sklearn_transformer import EmbeddingTransformer
from umekomi.vectors.arithmetic import FloatArray, IntArray, normalize

DIMS = 20


def noisy(codes: npt.NDArray[np.int64], seed: int) -> FloatArray:
    """Return vectors with the class in the first dimension, and stronger noise in the others."""
    vectors = np.random.default_rng(seed).normal(size=(len(codes), DIMS))
    vectors[:, 0] = codes - 0.5
    return normalize(vectors.astype(np.float32))


@pytest.fixture
def classes() -> IntArray:
    return np.arange(160) % 2


# The check of array_api skips itself unless SciPy was imported with SCIPY_ARRAY_API=1.
CHECKS = [
    (estimator, check)
    for estimator, check in estimator_checks_generator(MatrixTransformer(rank=2, penalty=1e-2))
    if "array_api" not in check.func.__name__
]


@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=[check.func.__name__ for _, check in CHECKS])
def test_it_follows_the_conventions_of_scikit_learn(
    estimator: MatrixTransformer, check: Callable[[MatrixTransformer], None]
) -> None:
    check(estimator)


def test_neighbors_are_of_the_same_class_more_often(classes: IntArray) -> None:
    vectors = noisy(classes, 0)
    neighbors = KNeighborsClassifier(metric="cosine")
    plain = cross_val_score(neighbors, vectors, classes, cv=2).mean()
    learned = cross_val_score(
        make_pipeline(MatrixTransformer(rank=DIMS, penalty=1e-3), neighbors), vectors, classes, cv=2
    ).mean()
    assert learned > plain + 0.1


def test_classes_of_unrelated_vectors_leave_them_almost_unchanged() -> None:
    vectors = noisy(np.zeros(200, dtype=np.int64), 0)
    transformed = (
        MatrixTransformer(rank=DIMS).fit(vectors, np.random.default_rng(1).permutation(200) % 2).transform(vectors)
    )
    assert np.einsum("ij,ij->i", transformed, vectors).mean() > 0.9


@pytest.mark.parametrize("labels", [[1, 0], [1, -1], [True, False], [4.5, 0.5], None])
def test_it_learns_from_pairs(labels: list[float] | None, classes: IntArray) -> None:
    left, right = noisy(classes, 1), noisy(classes if labels is None else np.arange(160) // 2 % 2, 2)
    same = left[:, 0] * right[:, 0] > 0
    values = None if labels is None else np.where(same, labels[0], labels[1])
    transformer = MatrixTransformer(rank=DIMS, penalty=1e-3).fit_pairs(left, right, values)
    # The first dimension counts more than the others.
    shares = [np.abs(vectors[:, 0]).mean() for vectors in (left, transformer.transform(left))]
    assert shares[1] > 1.2 * shares[0]


def test_grid_search_clone_and_pickle(classes: IntArray) -> None:
    vectors = noisy(classes, 0)
    pipeline = make_pipeline(MatrixTransformer(), KNeighborsClassifier(metric="cosine"))
    search = GridSearchCV(
        pipeline, {"matrixtransformer": ["passthrough", MatrixTransformer(rank=DIMS, penalty=1e-3)]}, cv=2
    )
    best = search.fit(vectors, classes).best_estimator_[0]
    assert isinstance(best, MatrixTransformer)
    again = pickle.loads(pickle.dumps(best))
    assert again.transform(vectors).tobytes() == best.transform(vectors).tobytes()
    assert clone(best).fit(vectors, classes).transform(vectors).tobytes() == best.transform(vectors).tobytes()


def test_the_matrix_of_a_pipeline_of_texts_customizes_the_model(fake: Embedder, tmp_path: Path) -> None:
    texts = [f"{word} {n}" for word in ("beans", "dog") for n in range(30)]
    transformer = MatrixTransformer(rank=4, penalty=1e-3)
    pipeline = make_pipeline(EmbeddingTransformer(fake), transformer).set_output(transform="pandas")
    frame = pipeline.fit_transform(texts, [1] * 30 + [0] * 30)
    assert list(frame.columns[:2]) == ["matrixtransformer0", "matrixtransformer1"]
    path = tmp_path / "my.safetensors"
    transformer.save(path, fake)
    model = Embedder(f"umekomi-fake+{path}")
    assert model.embed(texts).tobytes() == frame.to_numpy().tobytes()
    with pytest.raises(InputError, match="has a matrix already"):
        transformer.save(path, model)
    with pytest.raises(SpaceMismatchError, match="applies to vectors of 20 dimensions"):
        MatrixTransformer(rank=2).fit(noisy(np.arange(20) % 2, 0), np.arange(20) % 2).save(path, fake)


@pytest.mark.parametrize(
    ("n", "labels", "message"),
    [
        (20, [1, 0] * 10, "There are 20 pairs; at least 50"),
        (60, [1] * 60, "All labels are 1"),
        (60, [1.0] * 59 + [float("nan")], "is not a finite number"),
        (60, [1, 0], "must be of the same number"),
    ],
)
def test_wrong_pairs_are_rejected(n: int, labels: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        MatrixTransformer().fit_pairs(np.ones((n, 3)), np.ones((n, 3)), labels)


def test_one_class_is_rejected() -> None:
    with pytest.raises(InputError, match="at least two such classes are needed"):
        MatrixTransformer().fit(np.eye(10), np.array([0] * 9 + [1]))
