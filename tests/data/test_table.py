from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi import Embedder
from umekomi.data.embedded_file import Space, write_embedded
from umekomi.data.table import embed_table, read_csv_vectors, read_table, records_from_table, to_arrow_table
from umekomi.errors import InputError, RecordError
from umekomi.inputs import list_texts
from umekomi.pipeline.single_file import embed_records
from umekomi.stores import open_store

ROWS = {"Summary": ["Good", "Bad"], "Text": ["two beans", "one dog"], "Score": [5, 1]}
PANDAS = pd.DataFrame(ROWS, index=["x", "y"])


@pytest.mark.parametrize(
    "frame", [pa.table(ROWS), PANDAS, pl.DataFrame(ROWS), ROWS], ids=["arrow", "pandas", "polars", "dict"]
)
def test_any_table_is_embedded_saved_and_read_again(frame: object, fake: Embedder, tmp_path: Path) -> None:
    table = embed_table(frame, fake, template="Title: {Summary}; Content: {Text}")
    assert table.texts() == ["Title: Good; Content: two beans", "Title: Bad; Content: one dog"]
    table.save(tmp_path / "a.parquet")
    again = read_table(tmp_path / "a.parquet")
    assert again.space == table.space
    assert (again.vectors == table.vectors).all()
    assert again.records.column_names == ["Summary", "Text", "Score", "n_tokens", "text"]
    assert again.numbers("Score").tolist() == [5, 1]
    assert open_store(str(tmp_path / "a.parquet")).count() == 2


def test_columns_of_pandas_and_polars_are_embedded(fake: Embedder) -> None:
    expected = fake.embed(ROWS["Text"])
    assert (fake.embed(PANDAS["Text"]) == expected).all()
    assert (fake.embed(pl.DataFrame(ROWS)["Text"]) == expected).all()
    for column in (PANDAS["Text"], pl.Series(ROWS["Text"]), pa.array(ROWS["Text"]), np.array(ROWS["Text"])):
        assert list_texts(column) == ROWS["Text"]


def test_a_frame_is_embedded_to_a_file(fake: Embedder, tmp_path: Path) -> None:
    summary = embed_records(records_from_table(PANDAS), tmp_path / "a.parquet", embedder=fake, template="{Text}")
    assert summary.rows == 2
    assert (read_table(tmp_path / "a.parquet").vectors == fake.embed(ROWS["Text"])).all()


def guide_csv(path: Path, vectors: Any) -> Path:
    """Write a CSV file as the guide does: from a pandas frame with a column of lists."""
    frame = pd.DataFrame({**ROWS, "ada_embedding": list(vectors)})
    frame.to_csv(path)
    return path


def test_the_csv_file_of_the_guide_is_read_without_eval(fake: Embedder, tmp_path: Path) -> None:
    vectors = fake.embed(ROWS["Text"])
    table = read_csv_vectors(guide_csv(tmp_path / "a.csv", vectors.tolist()), model="ada-002")
    assert (table.vectors == vectors).all()
    assert table.column("Score") == [5, 1]
    assert (table.space.model, table.space.dims) == ("written:ada-002", 64)
    assert table.space.fingerprint != fake.fingerprint


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("[0.1, __import__('os')]", "Row 2 of .* is not a vector"),
        ("[0.1, nan]", "is not a vector"),
        ("[NaN, 1]", "is not a vector"),
        ("[1e99, 0]", "too large"),
        ("[0.1 0.2]", "is not a vector"),
        ("[true, 1]", "is not a vector"),
        ("[" * 100_000, "is not a vector"),
        ("[1, 2, 3]", "a vector of 3 numbers; row 1 has 2"),
        ("[]", "is not a vector"),
        ("", "is not a vector"),
        ("[0, 0]", "Vector 1 is all zeros"),
    ],
)
def test_cells_that_are_not_lists_of_numbers_are_rejected(tmp_path: Path, cell: str, sentence: str) -> None:
    pd.DataFrame({"text": ["a", "b"], "embedding": ["[1, 2]", cell]}).to_csv(tmp_path / "a.csv")
    with pytest.raises(InputError, match=sentence):
        read_csv_vectors(tmp_path / "a.csv", column="embedding")


def test_the_error_for_a_missing_column_lists_the_columns(fake: Embedder, tmp_path: Path) -> None:
    table = embed_table(PANDAS, fake, template="{Text}")
    with pytest.raises(RecordError, match="no column 'Stars'; the columns are Summary, Text, Score"):
        table.column("Stars")
    with pytest.raises(RecordError, match="no column 'Title'"):
        embed_table(PANDAS, fake, template="{Title}")
    PANDAS.to_csv(tmp_path / "a.csv", index=False)
    with pytest.raises(RecordError, match=r"no column of vectors.*Summary, Text, Score"):
        read_csv_vectors(tmp_path / "a.csv")
    with pytest.raises(RecordError, match="no column 'embedding'"):
        read_csv_vectors(tmp_path / "a.csv", column="embedding")


def test_invalid_tables_columns_and_vectors_are_rejected(fake: Embedder, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="int is not a table"):
        embed_table(3, fake)
    with pytest.raises(RecordError, match="no rows"):
        embed_table(PANDAS.head(0), fake, template="{Text}")
    with pytest.raises(RecordError, match="holds 'Good' in row 0, which is not a number"):
        embed_table(PANDAS, fake, template="{Text}").numbers("Summary")
    with pytest.raises(InputError, match="Row 1 holds None"):
        list_texts(["a", None])
    with pytest.raises(InputError, match="one column of texts, not a table"):
        list_texts(PANDAS)
    write_embedded(
        tmp_path / "zero.parquet", np.zeros((1, 2), np.float32), pa.table({"text": ["a"]}), Space("m", "f", 2)
    )
    with pytest.raises(RecordError, match=r"zero\.parquet: Vector 0 is all zeros"):
        read_table(tmp_path / "zero.parquet")


def test_input_columns_with_names_of_added_columns_are_renamed_in_memory(fake: Embedder) -> None:
    frame = pa.table({"title": ["a"], "text": ["long"], "n_tokens": [9], "embedding": ["x"]})
    table = embed_table(frame, fake, template="{title}")
    assert table.records.to_pylist() == [
        {"title": "a", "input_text": "long", "input_n_tokens": 9, "input_embedding": "x", "n_tokens": 1, "text": "a"}
    ]
    assert embed_table(pa.table({"text": ["a"]}), fake).records.column_names == ["n_tokens", "text"]


def test_embedding_an_embedded_table_again_adds_no_columns(tmp_path: Path, fake: Embedder) -> None:
    embed_records(
        records_from_table(pa.table({"title": ["a"]})), tmp_path / "a.parquet", embedder=fake, template="{title}"
    )
    again = embed_table(pq.read_table(tmp_path / "a.parquet"), fake, template="{title}!")
    assert again.records.column_names == ["title", "n_tokens", "text"]


def test_a_table_in_memory_is_converted_to_plain_types() -> None:
    table = to_arrow_table(
        pa.table(
            {"a": pa.array(["x"], pa.string_view()), "b": pa.array([b"y"]), "c": pa.array([b"\xff"]), "d": pa.nulls(1)}
        )
    )
    assert table.schema.types == [pa.string(), pa.string(), pa.binary(), pa.string()]
