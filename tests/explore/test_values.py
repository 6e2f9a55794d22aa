"""Values of every type, rows without a usable vector; CSV files for spreadsheets and for programs."""

import csv
import datetime
import io
import json
import math
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi import Embedder
from umekomi.data.embedded_file import METADATA_KEY
from umekomi.errors import InputError
from umekomi.explore.dataset import NO_CODE, DisplayType, open_dataset
from umekomi.explore.values import CsvStyle, as_csv, as_numbers, to_json_values
from umekomi.explore.views import Explorer
from umekomi.settings import Settings

DAY_ONE, LAST_DAY = datetime.date(1, 1, 1), datetime.date(9999, 12, 31)


def write(path: Path, fake: Embedder, vectors: list[Any], columns: dict[str, pa.Array]) -> Path:
    """Write an embedded file, also with vectors that `umekomi embed` would not write."""
    rows = [None if vector is None else [float(value) for value in vector] for vector in vectors]
    table = pa.table({**columns, "embedding": pa.array(rows, pa.list_(pa.float32(), fake.dims))})
    space = {"model": fake.model, "fingerprint": fake.fingerprint, "dims": fake.dims}
    pq.write_table(table.replace_schema_metadata({METADATA_KEY: json.dumps(space)}), path)
    return path


def explorer_of(path: Path, fake: Embedder) -> Explorer:
    return Explorer(open_dataset(str(path)), embedder=lambda: fake, settings=Settings(cache=path.parent / "cache"))


def column(values: list[Any], dtype: pa.DataType) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(values, dtype)])


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([2**53 - 1, -(2**62)], pa.int64(), [2**53 - 1, str(-(2**62))]),
        ([2**64 - 1], pa.uint64(), [str(2**64 - 1)]),
        ([DAY_ONE, LAST_DAY], pa.date32(), ["0001-01-01", "9999-12-31"]),
        ([0, None], pa.timestamp("s"), ["1970-01-01 00:00:00", None]),
        ([1], pa.timestamp("ns"), ["1970-01-01 00:00:00.000000001"]),
        ([1], pa.timestamp("ms", "Asia/Tokyo"), ["1970-01-01 09:00:00.001+0900"]),
        ([1], pa.timestamp("us", "No/Such_Zone"), ["1970-01-01 00:00:00.000001"]),
        ([2**62], pa.timestamp("s"), [f"{2**62} s since 1970"]),
        ([1], pa.time64("ns"), ["00:00:00.000000001"]),
        ([90], pa.duration("s"), ["0:01:30"]),
        ([Decimal("0.10")], pa.decimal128(38, 2), ["0.10"]),
        ([b"abc", b"\xff\x00"], pa.binary(), ["abc", "0xff00"]),
        ([{"a": [2**60, None]}], pa.struct([("a", pa.list_(pa.int64()))]), [{"a": [str(2**60), None]}]),
        ([math.inf, math.nan, 0.5], pa.float64(), ["inf", "nan", 0.5]),
        ([True, None], pa.bool_(), [True, None]),
    ],
)
def test_every_value_is_shown_exactly(values: list[Any], dtype: pa.DataType, expected: list[Any]) -> None:
    assert to_json_values(column(values, dtype)) == expected
    json.dumps(expected, allow_nan=False)


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_no_digit_of_an_integer_changes(values: list[int]) -> None:
    expected = to_json_values(column(values, pa.int64()))
    assert [int(value) for value in expected] == values
    assert all(isinstance(value, str) or float(value) == value for value in expected)


def test_all_times_and_numbers_are_converted_to_float64() -> None:
    day = 86_400
    assert as_numbers(column([DAY_ONE, None], pa.date32()))[0] == -719_162 * day
    assert as_numbers(column([LAST_DAY], pa.date64()))[0] == 2_932_896 * day
    for unit, per_second in (("s", 1), ("ms", 10**3), ("us", 10**6), ("ns", 10**9)):
        assert as_numbers(column([3 * per_second], pa.timestamp(unit, "UTC")))[0] == pytest.approx(3)
    assert as_numbers(column([2**64 - 1, 2**53 + 1], pa.uint64())).tolist() == [2.0**64, 2.0**53]
    assert np.isnan(as_numbers(column([None, math.nan], pa.float32()))).all()


def test_rows_without_a_usable_vector_are_in_no_result_but_have_records(fake: Embedder, tmp_path: Path) -> None:
    texts = [f"green tea number {index}" for index in range(24)]
    vectors: list[Any] = list(fake.embed(texts))
    vectors[1:5] = [None, [math.nan] * fake.dims, [math.inf] + [0.0] * (fake.dims - 1), [0.0] * fake.dims]
    path = write(
        tmp_path / "e.parquet", fake, vectors, {"text": pa.array(texts), "id": pa.array(range(2**60, 2**60 + 24))}
    )
    explorer = explorer_of(path, fake)
    skipped = {1, 2, 3, 4}
    assert explorer.info().skipped == 4
    assert set(np.flatnonzero(np.isnan(explorer.positions()).any(axis=1))) == skipped
    assert set(np.flatnonzero(explorer.clusters().codes == NO_CODE)) == skipped
    assert set(np.flatnonzero(explorer.labels(["tea", "number"]).codes == NO_CODE)) == skipped
    assert not skipped & {hit.index for hit in explorer.search("green tea").hits}
    assert not skipped & {outlier.index for outlier in explorer.outliers()}
    assert not skipped & {brief.index for group in explorer.duplicates() for brief in group}
    assert explorer.row(2).record == {"id": str(2**60 + 2)}
    assert explorer.row(2).neighbors == ()
    assert explorer.row(0).neighbors
    assert [row.text for row in explorer.selection([1, 4]).rows] == [texts[1], texts[4]]


@pytest.mark.parametrize("n", [0, 1, 2, 3, 6, 40])
@pytest.mark.parametrize("vectors", ["alike", "different", "missing"])
def test_all_views_work_for_any_size_and_any_vectors(n: int, vectors: str, fake: Embedder, tmp_path: Path) -> None:
    texts = [f"text {index}" for index in range(n)]
    vectors_of_rows = {
        "alike": lambda: [fake.embed(["same"])[0]] * n,
        "different": lambda: list(fake.embed(texts)) if n else [],
        "missing": lambda: [None] * n,
    }[vectors]()
    explorer = explorer_of(
        write(tmp_path / "e.parquet", fake, vectors_of_rows, {"text": pa.array(texts, pa.string())}), fake
    )
    explorer.prepare()
    explorer.outliers()
    explorer.duplicates()
    positions = explorer.positions()
    assert positions.shape == (n, 2)
    assert len(explorer.search("text").hits) == (0 if vectors == "missing" else min(n, 20))
    if vectors == "missing":
        assert np.isnan(positions).all()
    else:
        assert np.isfinite(positions).all()
        assert len(np.unique(positions, axis=0)) == n, "no point hides another"


def test_columns_of_any_type_and_name_are_described(fake: Embedder, tmp_path: Path) -> None:
    columns = {
        "__proto__": pa.array(["a", "b", None] * 2),
        "<script>alert(1)</script>": pa.array([0.1, None, math.nan, 1.0, 2.0, math.inf]),
        "Id": pa.array([2**60 + index for index in range(6)]).cast(pa.uint64()),
        "id": pa.nulls(6),
        "": pa.array(["x", "y"] * 3).dictionary_encode(),
        "n" * 5000: pa.array([[1], None] * 3),
        "text": pa.array(["t"] * 6),
    }
    explorer = explorer_of(write(tmp_path / "e.parquet", fake, [fake.embed(["t"])[0]] * 6, columns), fake)
    described = {item.name: item for item in explorer.info().columns}
    assert list(described) == list(columns)[:-1]
    assert (described["__proto__"].type, described["__proto__"].missing) == (DisplayType.CATEGORY, 2)
    number = described["<script>alert(1)</script>"]
    assert (number.low, number.high, number.missing) == (0.1, 2.0, 2)
    for name in described:
        assert len(explorer.column(name)) == 6
    assert explorer.column("<script>alert(1)</script>")[0] == 0.1, (
        "float64: a float32 would be outside the range's bounds"
    )


def test_an_unknown_text_column_is_rejected(fake: Embedder, tmp_path: Path) -> None:
    path = write(tmp_path / "e.parquet", fake, [fake.embed(["t"])[0]], {"title": pa.array(["t"])})
    with pytest.raises(InputError, match="There is no column 'body' to show; the columns are title"):
        open_dataset(str(path), text="body")


def test_the_id_changes_with_any_vector_text_or_record(fake: Embedder, tmp_path: Path) -> None:
    def id_of(text: str, number: int, vector: str) -> str:
        columns = {"text": pa.array([text]), "n": pa.array([number])}
        return open_dataset(str(write(tmp_path / "e.parquet", fake, [fake.embed([vector])[0]], columns))).id

    assert id_of("a", 1, "v") == id_of("a", 1, "v")
    assert len({id_of("a", 1, "v"), id_of("b", 1, "v"), id_of("a", 2, "v"), id_of("a", 1, "w")}) == 4


def test_a_damaged_cached_map_is_computed_again(fake: Embedder, tmp_path: Path) -> None:
    texts = [f"text {index}" for index in range(8)]
    path = write(tmp_path / "e.parquet", fake, list(fake.embed(texts)), {"text": pa.array(texts)})
    first = explorer_of(path, fake).positions()
    (cached,) = (tmp_path / "cache" / "maps").glob("*.npy")
    cached.write_bytes(b"\x93NUMPY damaged")
    assert (explorer_of(path, fake).positions() == first).all()


@pytest.mark.parametrize(
    "cell", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1", "-", "-inf", "+1 234"]
)
def test_spreadsheet_cells_start_no_formula(cell: str) -> None:
    ((name, value),) = csv.reader(io.StringIO(as_csv([cell, cell], [], style=CsvStyle.SPREADSHEET).lstrip("\ufeff")))
    assert name == value == f"'{cell}"
    assert list(csv.reader(io.StringIO(as_csv(["a"], [[cell]], style=CsvStyle.EXACT), newline="")))[1] == [cell]


@pytest.mark.parametrize("value", [-5, "-5", "+3", "-0.5e-3", "1e10", -1.5, "plain", "a=b", "", None, "12-5", 2**70])
def test_numbers_and_ordinary_texts_are_unchanged_in_spreadsheets(value: Any) -> None:
    rows = list(csv.reader(io.StringIO(as_csv(["a", "b"], [[value, "x"]], style=CsvStyle.SPREADSHEET))))
    assert rows[1] == ["" if value is None else str(value), "x"]


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_an_exact_csv_file_preserves_every_text(text: str) -> None:
    written = as_csv(["a"], [[text], ["b"]], style=CsvStyle.EXACT)
    assert [row[0] if row else "" for row in csv.reader(io.StringIO(written, newline=""))] == ["a", text, "b"]
