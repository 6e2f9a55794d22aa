import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi.data.readers.opening import open_records
from umekomi.errors import RecordError


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row for batch in open_records(path, **options).batches(2) for row in batch.to_pylist()]


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


def test_a_column_of_csv_is_a_number_only_if_every_cell_is_one(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "n,code,price,mixed\n1,007,1,1\n2,010,2.5,x\n,1,,3\n")
    assert rows(path) == [
        {"n": 1, "code": "007", "price": 1.0, "mixed": "1"},
        {"n": 2, "code": "010", "price": 2.5, "mixed": "x"},
        {"n": None, "code": "1", "price": None, "mixed": "3"},
    ]


def test_a_type_that_changes_late_in_the_file_is_detected(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "v\n" + "1\n" * 5000 + "end\n")
    records = open_records(path)
    assert records.schema.field("v").type == pa.string()
    assert records.n_rows == 5001


def test_quotes_newlines_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", '\ufefftext,n\n"two\nlines, ""quoted""",1\n')
    assert rows(path) == [{"text": 'two\nlines, "quoted"', "n": 1}]


def test_names_of_columns_are_made_unique(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", ",a,a\n1,2,3\n")
    assert open_records(path).schema.names == ["column_0", "a", "a_1"]


@given(
    st.lists(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\x00")).filter(bool),
        min_size=1,
        max_size=9,
    )
)
def test_any_text_survives_a_round_trip_through_csv(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n")
    writer.writerows([["text", "row"], *[[text, f"r{place}"] for place, text in enumerate(texts)]])
    path = write(tmp_path_factory.mktemp("csv") / "a.csv", buffer.getvalue())
    assert [str(row["text"]) for row in rows(path)] == texts or any(
        text.strip("-0123456789.eE") == "" for text in texts
    )


def test_shift_jis_is_read_with_its_encoding(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "text\n日本語\n", "cp932")
    with pytest.raises(RecordError, match="--encoding"):
        rows(path)
    assert rows(path, encoding="cp932") == [{"text": "日本語"}]


def test_tab_separated_files_are_detected(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.tsv", 'a\tb\n1\tx, "y\n')) == [{"a": 1, "b": 'x, "y'}]


def test_json_lines_may_have_different_fields_per_row(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n\n{"a": 2.5, "b": "日本"}\n{"c": null}\n')
    assert rows(path) == [
        {"a": 1.0, "b": None, "c": None},
        {"a": 2.5, "b": "日本", "c": None},
        {"a": None, "b": None, "c": None},
    ]


def test_json_of_several_types_becomes_text(tmp_path: Path) -> None:
    assert rows(write(tmp_path / "a.jsonl", '{"a": 1}\n{"a": "x"}\n')) == [{"a": "1"}, {"a": "x"}]


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = pa.table({"text": ["a", "b", "c"], "flag": [True, None, False]})
    pq.write_table(table, tmp_path / "a.parquet")
    assert rows(tmp_path / "a.parquet") == table.to_pylist()


def test_a_folder_is_read_as_its_text_files(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    write(tmp_path / "deep" / "b.md", "two")
    write(tmp_path / "a.txt", "one")
    write(tmp_path / "picture.png", "no")
    assert rows(tmp_path) == [{"path": "a.txt", "text": "one"}, {"path": "deep/b.md", "text": "two"}]


def test_batches_have_the_requested_size(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "v\n" + "x\n" * 10)
    assert [len(batch) for batch in open_records(path).batches(4)] == [4, 4, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "a,b\n", "a header and no rows"),
        ("a.csv", "a,b\n1,2\n1,2,3\n", "Line 3 .* has 3 cells"),
        ("a.jsonl", '{"a": 1}\n{oops\n', "Line 2"),
        ("a.jsonl", "[1]\n", "not a JSON object"),
        ("a.parquet", "no parquet", "not a Parquet file"),
        ("a.xyz", "?", "--format"),
    ],
)
def test_an_invalid_file_is_reported_in_one_sentence(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = write(tmp_path / name, content)
    with pytest.raises(RecordError, match=message):
        rows(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=r"There is no file .*nothing\.csv"):
        open_records(tmp_path / "nothing.csv")
