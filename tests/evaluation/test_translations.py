from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.errors import InputError, RecordError
from umekomi.evaluation.translations import (
    compare_translations,
    evaluate_translations,
    find_translations,
    read_translations,
)
from umekomi.vectors.arithmetic import FloatArray, normalize


def pool(language: float) -> FloatArray:
    """Three meanings in two languages; ``language`` is the share of the vectors that only encodes the language."""
    meanings = np.eye(3, dtype=np.float32)
    sides = [np.c_[meanings, np.full((3, 1), sign * language, dtype=np.float32)] for sign in (1, -1)]
    return normalize(np.concatenate(sides))


def test_translations_are_found_if_vectors_do_not_encode_the_language() -> None:
    mixed, across = find_translations(pool(0.1))
    assert mixed.all()
    assert across.all()


def test_language_directions_hide_translations_in_a_mixed_pool_only() -> None:
    mixed, across = find_translations(pool(2.0))
    assert not mixed.any()
    assert across.all()


def test_a_tie_is_a_miss() -> None:
    mixed, across = find_translations(np.ones((4, 2), dtype=np.float32))
    assert not mixed.any()
    assert not across.any()


def test_an_odd_number_of_vectors_is_an_error() -> None:
    with pytest.raises(InputError, match="even number"):
        find_translations(np.ones((3, 2), dtype=np.float32))


def write(folder: Path, left: str, right: str) -> tuple[Path, Path]:
    paths = folder / "a.txt", folder / "b.txt"
    for path, text in zip(paths, (left, right), strict=True):
        path.write_text(text, "utf-8")
    return paths


def test_two_files_are_evaluated_and_compared(tmp_path: Path, fake: Embedder) -> None:
    data = read_translations(*write(tmp_path, "one bean\ntwo peas\n", "one bean\ntwo leeks\n"))
    result = evaluate_translations(data, fake)
    assert result.pairs == 2
    assert result.mixed.value == 1.0
    assert compare_translations([result, result])[0]["mixed"].value == 0.0


@pytest.mark.parametrize(
    ("left", "right", "message"),
    [("a\nb\n", "a\n", "2 lines"), ("a\n\nb\n", "a\nb\nc\n", "Line 2 of .*a.txt is empty")],
)
def test_files_that_are_not_parallel_are_errors(tmp_path: Path, left: str, right: str, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        read_translations(*write(tmp_path, left, right))
