"""Tests for the loop that single files and shards share."""

import numpy as np
import pyarrow as pa
import pytest

from umekomi import Embedder
from umekomi.data.embedded_file import TooLong, build_space, plan_columns
from umekomi.errors import InputError, TokenLimitError
from umekomi.pipeline.rows import EmptyTextError, RepeatedTextCache, RowEmbedder
from umekomi.vectors.arithmetic import FloatArray
from umekomi.vectors.arrow import VectorType


def make_embedder(fake: Embedder, too_long: TooLong) -> RowEmbedder:
    columns = plan_columns(
        pa.schema([("id", pa.int64()), ("text", pa.string())]),
        build_space(fake),
        template="{text}",
        too_long=too_long,
        vectors=VectorType.FLOAT32,
    )
    return RowEmbedder(fake, columns, None, too_long, VectorType.FLOAT32)


TEXTS = ["one", " ", "x" * 9000, "two"]
BATCH = pa.record_batch({"id": pa.array(range(4)), "text": pa.array(TEXTS)})


def test_rejected_rows_are_left_out_with_their_error(fake: Embedder) -> None:
    rejected: dict[int, type[InputError]] = {}
    table = make_embedder(fake, TooLong.FAIL).embed(
        BATCH, TEXTS, lambda row, error: rejected.update({row: type(error)})
    )
    assert rejected == {1: EmptyTextError, 2: TokenLimitError}
    assert table["id"].to_pylist() == [0, 3]


def test_errors_instead_of_texts_are_rejected_and_long_texts_are_truncated(fake: Embedder) -> None:
    errors: list[InputError] = []
    texts = [InputError("not text"), *TEXTS[1:]]
    progress: list[int] = []
    table = make_embedder(fake, TooLong.TRUNCATE).embed(
        BATCH, texts, lambda row, error: errors.append(error), progress=progress.append
    )
    assert [str(error) for error in errors] == ["not text", "The row has no text."]
    assert table["n_tokens"].to_pylist() == [fake.card.max_tokens, 3]
    assert sum(progress) == 2


def test_the_cache_keeps_the_most_recent_vectors() -> None:
    embedded: list[list[str]] = []

    def embed(texts: list[str]) -> FloatArray:
        embedded.append(texts)
        return np.array([[len(text)] for text in texts], np.float32)

    cache = RepeatedTextCache(2)
    assert cache.embed(["a", "bb", "a"], embed, 1).tolist() == [[1.0], [2.0], [1.0]]
    assert cache.embed(["bb", "ccc"], embed, 1).tolist() == [[2.0], [3.0]]
    assert cache.embed(["a"], embed, 1).tolist() == [[1.0]]
    assert embedded == [["a", "bb"], ["ccc"], ["a"]]
    assert cache.n_repeated == 2


def test_an_error_that_is_raised_for_a_row_stops_the_batch(fake: Embedder) -> None:
    def fail(row: int, error: InputError) -> None:
        raise error

    with pytest.raises(EmptyTextError):
        make_embedder(fake, TooLong.FAIL).embed(BATCH, TEXTS, fail)
