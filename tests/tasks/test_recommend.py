import numpy as np
import pandas as pd
import pytest

from umekomi import Embedder
from umekomi.errors import InputError
from umekomi.tasks.recommend import recommend, recommend_strings
from umekomi.vectors.arithmetic import normalize


def at(*degrees: float) -> np.ndarray:
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_the_most_alike_come_first_and_the_source_not_at_all() -> None:
    found = recommend(at(0, 170, 40, 90), 0, n=2)
    assert [item.index for item in found.items] == [2, 3]
    assert found.items[0].score == pytest.approx(np.cos(np.radians(40)), abs=1e-6)


def test_what_says_the_same_as_the_source_or_as_a_chosen_one_is_dropped_and_named() -> None:
    found = recommend(at(0, 1, 60, 61, 120, 59), 0, n=2, near_duplicate=0.99)
    assert found.copies == (1,)
    assert [(item.index, item.copies) for item in found.items] == [(5, (2, 3)), (4, ())]


def test_everything_is_kept_on_request() -> None:
    assert [item.index for item in recommend(at(0, 0, 60), 0, near_duplicate=None).items] == [1, 2]


def test_vectors_need_not_be_of_length_1() -> None:
    vectors = at(0, 30, 60) * np.array([[1], [9], [0.1]], np.float32)
    assert recommend(vectors, 0) == recommend(normalize(vectors), 0)


def test_strings_and_pandas_columns_are_embedded(fake: Embedder) -> None:
    strings = ["the dog barks", "a dog barks loudly", "kerosene lamp", "the dog barks"]
    found = recommend_strings(pd.Series(strings), 0, fake, n=1)
    assert (found.items[0].index, found.copies) == (1, (3,))


@pytest.mark.parametrize(
    ("vectors", "options", "sentence"),
    [
        (at(0, 1), {"source": 2}, "There is no row 2; the rows are 0 to 1"),
        (at(0, 1), {"source": -1}, "There is no row -1"),
        (at(0, 1), {"source": 0, "n": 0}, "at least 1"),
        (at(0, 1), {"source": 0, "near_duplicate": 1.5}, "it is a cosine"),
        (np.zeros((2, 2), np.float32), {"source": 0}, "Vector 0 is all zeros"),
        (np.full((2, 2), np.nan, np.float32), {"source": 0}, "not a finite number"),
    ],
)
def test_bad_input_is_one_sentence(vectors: np.ndarray, options: dict[str, float], sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        recommend(vectors, **options)  # type: ignore[arg-type]
