import numpy as np
import pandas as pd
import pytest

from umekomi import Embedder
from umekomi.errors import InputError
from umekomi.tasks.recommend import recommend, recommend_strings
from umekomi.vectors.arithmetic import normalize


def unit_vectors(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_similar_rows_are_recommended_without_the_source() -> None:
    result = recommend(unit_vectors(0, 170, 40, 90), 0, n=2)
    assert [item.index for item in result.items] == [2, 3]
    assert result.items[0].score == pytest.approx(np.cos(np.radians(40)), abs=1e-6)


def test_near_duplicates_are_left_out_and_listed() -> None:
    result = recommend(unit_vectors(0, 1, 60, 61, 120, 59), 0, n=2, near_duplicate=0.99)
    assert result.copies == (1,)
    assert [(item.index, item.copies) for item in result.items] == [(5, (2, 3)), (4, ())]


def test_near_duplicates_are_kept_on_request() -> None:
    assert [item.index for item in recommend(unit_vectors(0, 0, 60), 0, near_duplicate=None).items] == [1, 2]


def test_vectors_of_any_length_are_accepted() -> None:
    vectors = unit_vectors(0, 30, 60) * np.array([[1], [9], [0.1]], np.float32)
    assert recommend(vectors, 0) == recommend(normalize(vectors), 0)


def test_strings_and_pandas_columns_are_embedded(fake: Embedder) -> None:
    strings = ["the dog barks", "a dog barks loudly", "kerosene lamp", "the dog barks"]
    result = recommend_strings(pd.Series(strings), 0, fake, n=1)
    assert (result.items[0].index, result.copies) == (1, (3,))


@pytest.mark.parametrize(
    ("vectors", "options", "message"),
    [
        (unit_vectors(0, 1), {"source": 2}, "There is no row 2; the rows are 0 to 1"),
        (unit_vectors(0, 1), {"source": -1}, "There is no row -1"),
        (unit_vectors(0, 1), {"source": 0, "n": 0}, "at least 1"),
        (unit_vectors(0, 1), {"source": 0, "near_duplicate": 1.5}, "it is a cosine"),
        (np.zeros((2, 2), np.float32), {"source": 0}, "Vector 0 is all zeros"),
        (np.full((2, 2), np.nan, np.float32), {"source": 0}, "not a finite number"),
    ],
)
def test_invalid_input_is_rejected(vectors: np.ndarray, options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        recommend(vectors, **options)  # type: ignore[arg-type]
