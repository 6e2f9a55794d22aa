import numpy as np
import pytest

from umekomi.errors import InputError
from umekomi.tasks import project as module
from umekomi.tasks.choices import MapMethod
from umekomi.tasks.project import project
from umekomi.vectors.arithmetic import FloatArray


def blobs(size: int) -> FloatArray:
    random = np.random.default_rng(0)
    rows = [np.eye(12)[i] + 0.1 * random.normal(size=(size, 12)) for i in range(3)]
    return np.concatenate(rows).astype(np.float32)


def is_separated(points: FloatArray, size: int) -> bool:
    """Return whether the nearest neighbor of nearly every row is of its own group."""
    far = ((points[:, None] - points[None]) ** 2).sum(-1)
    np.fill_diagonal(far, np.inf)
    return bool((far.argmin(1) // size == np.arange(len(points)) // size).mean() > 0.95)


@pytest.mark.parametrize("method", ["tsne", "fast", "pca"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_similar_rows_lie_together_and_the_seed_determines_the_map(method: str, dimensions: int) -> None:
    rows = blobs(25)
    projection = project(rows, method=method, dimensions=dimensions, seed=3)
    assert projection.points.shape == (75, dimensions)
    assert projection.points.dtype == np.float32
    assert is_separated(projection.points, 25)
    assert (project(rows, method=method, dimensions=dimensions, seed=3).points == projection.points).all()


def test_many_rows_in_three_dimensions_are_placed_between_landmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_3D_ROWS", 60)
    assert is_separated(project(blobs(40), method="fast", dimensions=3).points, 40)


def test_a_large_set_uses_the_fast_method(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TSNE_ROWS", 50)
    assert project(blobs(10)).method is MapMethod.TSNE
    assert project(blobs(17)).method is MapMethod.FAST


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (np.eye(4), {"dimensions": 4}, "2 or 3 dimensions, not 4"),
        (np.eye(2), {}, "at least 3"),
        (np.ones((9, 4)), {}, "All rows are equal"),
        (np.eye(4), {"method": "umap"}, "There is no method 'umap'"),
        (np.eye(4), {"perplexity": 0.5}, "must be above 1"),
        (np.ones((4, 1)) * [[1], [2], [3], [4]], {}, "have no map of 2"),
    ],
)
def test_invalid_input_is_rejected(rows: FloatArray, options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        project(rows, **options)  # type: ignore[arg-type]
