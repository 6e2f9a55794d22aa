"""Columns contain, and templates embed, exactly what is written in a file."""

from __future__ import annotations

import csv
import io
import json
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi.data.readers.opening import open_records
from umekomi.data.templates import Template
from umekomi.data.types import column_texts
from umekomi.errors import RecordError

CELLS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=8),
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False).map(str),
    st.sampled_from(
        [
            "007", "1.0", "1.50", "+1", "1_000", "NaN", "nan", "inf", "0x1F", " 1", "1 ", "-0", "1e5", "1E400", "", "null", "１",
            "18446744073709551616", "9007199254740993", "0.1000000000000000055", "true", "2024-01-31", "1e-400", "9" * 5000,
        ]
    ),
)  # fmt: skip
TABLES = st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=6)


def texts(path: Path, column: str, **options: Any) -> list[str]:
    template = Template(f"<{{{column}}}>")
    return [text[1:-1] for _, some in open_records(path, **options).with_texts(template, 2) for text in some]


def column(path: Path, name: str) -> pa.Array:
    records = open_records(path)
    return pa.Table.from_batches(records.batches(3), records.schema)[name].combine_chunks()


@settings(max_examples=150, deadline=None)
@given(TABLES)
def test_a_template_embeds_csv_cells_as_they_are_written(
    tmp_path_factory: pytest.TempPathFactory, table: list[tuple[str, str]]
) -> None:
    buffer = io.StringIO()
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows([["a", "b"], *table])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(buffer.getvalue().encode())
    assert texts(path, "a") == [a for a, _ in table]
    assert texts(path, "b") == [b for _, b in table]
    values = column(path, "a")
    if values.type == pa.string():
        assert values.to_pylist() == [a for a, _ in table]
    else:
        assert [None if v is None else str(v) for v in values.to_pylist()] == [
            None if a == "" else str(float(a) if values.type == pa.float64() else int(a)) for a, _ in table
        ]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-(2**66), 2**66) | st.none(), min_size=1, max_size=6))
def test_integers_are_exact_in_every_format(
    tmp_path_factory: pytest.TempPathFactory, numbers: list[int | None]
) -> None:
    folder = tmp_path_factory.mktemp("numbers")
    expected = ["" if number is None else str(number) for number in numbers]
    (folder / "a.csv").write_text("n,x\n" + "".join(f"{number},x\n" for number in expected))
    (folder / "a.jsonl").write_text("".join(json.dumps({"n": number}) + "\n" for number in numbers))
    present = [number for number in numbers if number is not None]
    if present and min(present) >= -(2**63) and max(present) < 2**63:
        dtype = pa.int64()
    elif present and min(present) >= 0 and max(present) < 2**64:
        dtype = pa.uint64()
    else:
        dtype = pa.string()
    for name in ("a.csv", "a.jsonl"):
        values = column(folder / name, "n")
        assert values.type == dtype
        assert [str(v) for v in values.to_pylist() if v not in (None, "")] == [str(number) for number in present]
        assert texts(folder / name, "n") == expected
    if dtype != pa.string():
        pq.write_table(pa.table({"n": pa.array(numbers, dtype)}), folder / "a.parquet")
        assert column(folder / "a.parquet", "n").to_pylist() == numbers
        assert texts(folder / "a.parquet", "n") == expected


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1, max_size=6))
def test_text_is_exact_in_json_lines_and_parquet(tmp_path_factory: pytest.TempPathFactory, values: list[str]) -> None:
    folder = tmp_path_factory.mktemp("text")
    (folder / "a.jsonl").write_bytes("".join(json.dumps({"t": value}) + "\n" for value in values).encode())
    for dtype in (
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int32(), pa.string()),
    ):
        raw = [value.encode() for value in values] if dtype == pa.binary() else values
        pq.write_table(pa.table({"t": pa.array(raw, dtype)}), folder / "a.parquet")
        assert texts(folder / "a.parquet", "t") == values
        assert column(folder / "a.parquet", "t").to_pylist() == values
    assert texts(folder / "a.jsonl", "t") == values


@pytest.mark.parametrize(
    ("cells", "dtype"),
    [
        (["1", "2.5"], pa.float64()),
        (["1.50", "0.30000000000000004"], pa.float64()),
        (["9007199254740993", "1.5"], pa.string()),
        (["9007199254740992", "1.5"], pa.float64()),
        (["0.1234567890123456789", "1"], pa.string()),
        (["1e400"], pa.string()),
        (["-1", "18446744073709551615"], pa.string()),
        (["007"], pa.string()),
        (["+1"], pa.string()),
        ([" 1"], pa.string()),
        (["NaN", "1"], pa.string()),
        (["", ""], pa.string()),
    ],
)
def test_a_column_of_csv_is_a_number_only_if_that_is_exact(
    tmp_path: Path, cells: list[str], dtype: pa.DataType
) -> None:
    path = tmp_path / "a.csv"
    path.write_text("n,x\n" + "".join(f"{cell},x\n" for cell in cells))
    assert open_records(path).schema.field("n").type == dtype
    assert texts(path, "n") == cells


@pytest.mark.parametrize(
    ("values", "dtype", "embedded"),
    [
        ("1 1.0 1e5 -0", pa.float64(), ["1", "1.0", "1e5", "-0"]),
        ("9007199254740993 1.5", pa.string(), ["9007199254740993", "1.5"]),
        ("1.00000000000000000001", pa.string(), ["1.00000000000000000001"]),
        ("true false null", pa.bool_(), ["true", "false", ""]),
        ('1 "x" 2.50', pa.string(), ["1", "x", "2.50"]),
        ('{} {}', pa.string(), ["{}", "{}"]),
        ('{"a":1} {"b":1.50}', pa.string(), ['{"a": 1}', '{"b": 1.50}']),
        ('["x","y"] []', pa.list_(pa.string()), ["x, y", ""]),
        ('[1,2.50]', pa.string(), ["1, 2.50"]),
        ("1" + "0" * 5000, pa.string(), ["1" + "0" * 5000]),
    ],
)  # fmt: skip
def test_json_values_are_exact(tmp_path: Path, values: str, dtype: pa.DataType, embedded: list[str]) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(f'{{"v": {value}}}\n' for value in values.split(" ")))
    assert open_records(path).schema.field("v").type == dtype
    assert texts(path, "v") == embedded


def test_a_lone_surrogate_in_json_becomes_the_replacement_character(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"t": "a \\ud83d b", "m": {"\\uDC00": ["\\ud800"]}}\n{"t": "\\ud83d\\ude00", "m": null}\n')
    assert texts(path, "t") == ["a \ufffd b", "😀"]
    assert texts(path, "m") == ['{"\ufffd": ["\ufffd"]}', ""]


@pytest.mark.parametrize(
    ("array", "embedded"),
    [
        (pa.array([0.1, 4.0, None], pa.float32()), ["0.1", "4.0", None]),
        (pa.array([1e22, float("nan")]), ["1e+22", "nan"]),
        (pa.array(["1.50"]).cast(pa.decimal128(9, 2)), ["1.50"]),
        (pa.array([True, None]), ["true", None]),
        (pa.array([None, None]), [None, None]),
        (pa.array([0, 1_700_000_000_123_456_789], pa.timestamp("ns")), ["1970-01-01 00:00:00", "2023-11-14 22:13:20.123456789"]),
        (pa.array([0], pa.timestamp("us", "UTC")), ["1970-01-01 00:00:00+00:00"]),
        (pa.array([0], pa.timestamp("s", "Asia/Tokyo")), ["1970-01-01 09:00:00+09:00"]),
        (pa.array([19000], pa.date32()), ["2022-01-08"]),
        (pa.array([["a", None, "b"], None, []]), ["a, b", None, ""]),
        (pa.array([b"caf\xc3\xa9"], pa.binary_view()), ["café"]),
        (pa.array([b"abcd"], pa.binary(4)), ["abcd"]),
        (pa.RunEndEncodedArray.from_arrays([2, 3], ["x", "y"]), ["x", "x", "y"]),
        (pa.array([uuid.UUID(int=1).bytes], pa.uuid()), ["00000000-0000-0000-0000-000000000001"]),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pa.Array) else "",
)  # fmt: skip
def test_arrow_values_as_texts(array: pa.Array, embedded: list[str | None]) -> None:
    assert column_texts(array, "c", first_row=1, name="f") == embedded


@pytest.mark.parametrize(
    "array",
    [
        pa.array([{"a": 1}]),
        pa.array([[{"a": 1}]]),
        pa.array([1], pa.duration("s")),
        pa.array([[("a", 1)]], pa.map_("string", "int64")),
    ],
    ids=lambda array: str(array.type),
)  # fmt: skip
def test_values_that_are_not_text_are_rejected_by_name(tmp_path: Path, array: pa.Array) -> None:
    pq.write_table(pa.table({"c": array}), tmp_path / "a.parquet")
    with pytest.raises(RecordError, match=r"The column 'c' of .*a\.parquet holds .*cannot embed"):
        texts(tmp_path / "a.parquet", "c")


def test_bytes_that_are_not_utf8_are_rejected_with_column_and_row(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    table = pa.table({"picture": [b"ok", b"\xff\xd8"], "text": [b"one", b"two"]})
    pq.write_table(table, path)
    assert texts(path, "text") == ["one", "two"]
    assert column(path, "picture").to_pylist() == [b"ok", b"\xff\xd8"]
    with pytest.raises(RecordError, match=r"Row 2 of .* holds bytes in the column 'picture' that are not UTF-8"):
        texts(path, "picture")


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC", "Asia/Tokyo", "-03:00"])
def test_times_are_exact_in_the_years_1_to_9999_and_rejected_outside(unit: str, zone: str | None) -> None:
    per_second = {"s": 1, "ms": 10**3, "us": 10**6}[unit]
    first, last = -62_135_596_800 * per_second, 253_402_300_800 * per_second - 1
    dtype = pa.timestamp(unit, zone)
    if zone in (None, "UTC"):
        inside = pa.array([first, None, last], pa.int64()).view(dtype)
        start, _, end = column_texts(inside, "at", first_row=1, name="in.parquet")
        assert start is not None
        assert start.startswith("0001-01-01 00:00:00")
        assert end is not None
        assert end.startswith("9999-12-31 23:59:59")
    for wrong in (first - 1, last + 1, 2**63 - 1, -(2**63)):
        column = pa.array([None, wrong], pa.int64()).view(dtype)
        with pytest.raises(RecordError, match=r"Row 8 of in\.parquet holds a date in the column 'at'"):
            column_texts(column, "at", first_row=7, name="in.parquet")


@pytest.mark.parametrize(("dtype", "wrong"), [(pa.date32(), 2_932_897), (pa.date32(), -(2**31)), (pa.date64(), 2**62)])
def test_a_date_outside_the_years_1_to_9999_is_rejected(dtype: pa.DataType, wrong: int) -> None:
    column = pa.array([0, wrong], pa.int32() if dtype == pa.date32() else pa.int64()).view(dtype)
    with pytest.raises(RecordError, match=r"Row 2 of in\.parquet holds a date"):
        column_texts(column, "day", first_row=1, name="in.parquet")


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-8", "utf-16"])
def test_a_byte_order_mark_is_not_part_of_the_first_column(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "in.csv"
    mark = "" if encoding == "utf-16" else "\ufeff"
    path.write_bytes(f"{mark}text,n\n梅,1\n".encode(encoding))
    records = open_records(path, encoding=encoding)
    assert records.schema.names == ["text", "n"]
    assert texts(path, "text", encoding=encoding) == ["梅"]
