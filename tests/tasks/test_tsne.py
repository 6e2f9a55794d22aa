import numpy as np
import pytest
from tests.tasks.test_project import blobs, is_separated

from umekomi.tasks.tsne import large_tsne


@pytest.mark.parametrize("dimensions", [2, 3])
def test_rows_are_placed_between_their_nearest_landmarks(dimensions: int) -> None:
    points = large_tsne(blobs(40), dimensions, perplexity=15.0, seed=0, max_landmarks=60)
    assert (points.shape, points.dtype) == ((120, dimensions), np.float32)
    assert is_separated(points, 40)


def test_landmarks_have_the_positions_of_a_map_of_their_own() -> None:
    rows = blobs(40)
    landmarks = np.sort(np.random.default_rng(3).choice(len(rows), 60, replace=False))
    points = large_tsne(rows, 2, perplexity=15.0, seed=3, max_landmarks=60)
    assert points[landmarks] == pytest.approx(large_tsne(rows[landmarks], 2, perplexity=15.0, seed=3), abs=1e-3)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_equal_rows_do_not_hide_each_other(dimensions: int) -> None:
    points = large_tsne(np.ones((50, 4), dtype=np.float32), dimensions, perplexity=15.0, seed=0)
    assert len(np.unique(points, axis=0)) == 50
