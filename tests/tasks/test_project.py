import numpy as np
import pytest

from umekomi.errors import InputError
from umekomi.tasks import project as module
from umekomi.tasks.choices import MapMethod
from umekomi.tasks.project import project
from umekomi.vectors.arithmetic import FloatArray


def heaps(size: int) -> FloatArray:
    random = np.random.default_rng(0)
    rows = [np.eye(12)[place] + 0.1 * random.normal(size=(size, 12)) for place in range(3)]
    return np.concatenate(rows).astype(np.float32)


def apart(points: FloatArray, size: int) -> bool:
    """Whether nearly every row's nearest other row is of its own heap."""
    far = ((points[:, None] - points[None]) ** 2).sum(-1)
    np.fill_diagonal(far, np.inf)
    return bool((far.argmin(1) // size == np.arange(len(points)) // size).mean() > 0.95)


@pytest.mark.parametrize("method", ["tsne", "fast", "pca"])
@pytest.mark.parametrize("dimensions", [2, 3])
def test_what_is_alike_lies_together_and_the_seed_decides(method: str, dimensions: int) -> None:
    rows = heaps(25)
    found = project(rows, method=method, dimensions=dimensions, seed=3)
    assert found.points.shape == (75, dimensions)
    assert found.points.dtype == np.float32
    assert apart(found.points, 25)
    assert (project(rows, method=method, dimensions=dimensions, seed=3).points == found.points).all()


def test_many_rows_in_three_dimensions_are_laid_between_some_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MAX_3D_ROWS", 60)
    assert apart(project(heaps(40), method="fast", dimensions=3).points, 40)


def test_a_large_set_takes_the_fast_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_TSNE_ROWS", 50)
    assert project(heaps(10)).method is MapMethod.TSNE
    assert project(heaps(17)).method is MapMethod.FAST


@pytest.mark.parametrize(
    ("rows", "options", "sentence"),
    [
        (np.eye(4), {"dimensions": 4}, "2 or 3 dimensions, not 4"),
        (np.eye(2), {}, "at least 3"),
        (np.ones((9, 4)), {}, "All rows are equal"),
        (np.eye(4), {"method": "umap"}, "There is no method 'umap'"),
        (np.eye(4), {"perplexity": 0.5}, "must be above 1"),
        (np.ones((4, 1)) * [[1], [2], [3], [4]], {}, "have no map of 2"),
    ],
)
def test_bad_input_is_a_sentence(rows: FloatArray, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        project(rows, **options)  # type: ignore[arg-type]
