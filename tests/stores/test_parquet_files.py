"""Embedded files as read-only stores: ids, columns and column types; and the error for a missing engine."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from umekomi.data.embedded_file import Space, embedded_schema, write_embedded
from umekomi.errors import InputError, RecordError, StoreError
from umekomi.stores import MemoryStore, list_unsupported_columns, open_store, parquet_files, read_batches

SPACE = Space("umekomi-fake", "0123456789abcdef", 4)


def write_embedded_file(path: Path, **columns: pa.Array) -> Path:
    """Write a file of three rows like those of ``umekomi embed``."""
    vectors = np.eye(3, 4, dtype=np.float32)
    added = {
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), 4),
        "n_tokens": pa.array([1, 1, 1], pa.int32()),
        "text": pa.array(["one", "two", "three"]),
    }
    schema = embedded_schema(pa.schema([(name, column.type) for name, column in columns.items()]), SPACE)
    pq.write_table(pa.table({**columns, **added}).cast(schema), path)
    return path


def read_ids(path: Path, **options: Any) -> list[str]:
    return [row_id for batch, _, _ in read_batches(path, **options) for row_id in batch]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({}, ["0", "1", "2"]),
        ({"Id": pa.array([7, 8, 9])}, ["7", "8", "9"]),
        ({"id": pa.array(["a", "b", "い"])}, ["a", "b", "い"]),
        ({"id": pa.array(["a", "b", "a"])}, ["0", "1", "2"]),  # not unique
        ({"id": pa.array(["a", None, "b"])}, ["0", "1", "2"]),  # a null
        ({"id": pa.array([0.5, 1.5, 2.5])}, ["0", "1", "2"]),
        ({"id": pa.array([1, 1, 2]), "Id": pa.array([4, 5, 6])}, ["4", "5", "6"]),
    ],
)
def test_ids_come_from_a_column_of_unique_values_or_are_row_numbers(
    tmp_path: Path, columns: dict[str, pa.Array], expected: list[str]
) -> None:
    path = write_embedded_file(tmp_path / "x.parquet", **columns)
    assert read_ids(path) == expected
    assert read_ids(path, size=2) == expected
    assert sorted(hit.id for hit in open_store(str(path)).search(np.ones(4), k=3)[0]) == expected


def test_a_requested_id_column_must_exist_and_be_unique(tmp_path: Path) -> None:
    path = write_embedded_file(tmp_path / "x.parquet", name=pa.array(["a", "b", "c"]), group=pa.array([1, 1, 2]))
    assert read_ids(path, id_column="name") == ["a", "b", "c"]
    with pytest.raises(RecordError, match="no column 'nope'"):
        read_ids(path, id_column="nope")
    with pytest.raises(RecordError, match=r"'group'.*must be unique"):
        read_ids(path, id_column="group")


def test_unsupported_columns_are_omitted_and_listed(tmp_path: Path) -> None:
    path = write_embedded_file(
        tmp_path / "x.parquet", tags=pa.array([["a"], [], None]), picture=pa.array([b"x", b"y", b"z"])
    )
    assert list_unsupported_columns(pq.read_schema(path)) == ["tags", "picture"]
    assert open_store(str(path)).schema().names == ["n_tokens", "text"]


def test_opening_and_counting_do_not_read_the_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = open_store(str(write_embedded_file(tmp_path / "x.parquet")))
    reads = []
    read = parquet_files.read_batches
    monkeypatch.setattr(
        parquet_files, "read_batches", lambda *args, **options: reads.append(args) or read(*args, **options)
    )
    assert (store.count(), reads) == (3, [])
    assert {hit.id for _ in range(2) for hit in store.search(np.ones((1, 4), np.float32))[0]} == {"0", "1", "2"}
    assert len(reads) == 1
    assert (store.count(), store.count("n_tokens >= 0")) == (3, 3)
    assert pickle.loads(pickle.dumps(store)).count() == 3


def test_a_file_of_another_model_is_not_read_after_opening(tmp_path: Path) -> None:
    path = write_embedded_file(tmp_path / "x.parquet")
    store = open_store(str(path))
    write_embedded(path, np.ones((1, 4), np.float32), pa.table({"text": ["a"]}), replace(SPACE, model="another"))
    with pytest.raises(RecordError, match="after it was opened"):
        store.search(np.ones((1, 4), np.float32))


def test_a_file_is_read_only(tmp_path: Path) -> None:
    store = open_store(str(write_embedded_file(tmp_path / "x.parquet")))
    for write in (lambda: store.upsert(["a"], np.ones((1, 4), np.float32)), lambda: store.delete(["0"]), store.drop):
        with pytest.raises(StoreError, match="read-only"):
            write()
    assert store.count() == 3


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pa.array([datetime(2020, 1, 2, 3)], pa.timestamp("ns")), datetime(2020, 1, 2, 3, tzinfo=UTC)),
        (pa.array([datetime(2020, 1, 2, 3, tzinfo=UTC)], pa.timestamp("s", "Asia/Tokyo")), datetime(2020, 1, 2, 3, tzinfo=UTC)),
        (pa.array([date(2020, 1, 2)]), datetime(2020, 1, 2, tzinfo=UTC)),
        (pa.array(["a"]).dictionary_encode(), "a"),
        (pa.array(["a"], pa.large_string()), "a"),
        (pa.array([3], pa.uint8()), 3),
        (pa.array([1.5], pa.float32()), 1.5),
        (pa.array([float("nan")]), None),
        (pa.array([Decimal("1.25")]), 1.25),
        (pa.array([None]), None),
    ],
)  # fmt: skip
def test_every_column_type_is_converted_to_one_of_five(column: pa.Array, expected: object) -> None:
    store = MemoryStore("memory://types", SPACE)
    store.upsert(["a"], np.ones((1, 4), np.float32), pa.table({"x": column}))
    assert store.get(["a"])[0].record == {"x": expected}


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("microseconds", [-62_135_596_800_000_001, 253_402_300_800_000_000, 2**62])
def test_a_time_outside_the_years_1_to_9999_is_rejected(unit: str, microseconds: int, tmp_path: Path) -> None:
    value = microseconds // {"s": 10**6, "ms": 10**3, "us": 1}[unit]
    column = pa.array([0, value, None], pa.int64()).view(pa.timestamp(unit))
    with pytest.raises(InputError, match="The column 'at' cannot be stored as times"):
        open_store(str(write_embedded_file(tmp_path / "a.parquet", at=column))).get(["0"])


def test_records_may_be_dictionaries_or_missing() -> None:
    store = MemoryStore("memory://dictionaries", SPACE)
    store.upsert(["a", "b"], np.ones((2, 4), np.float32), [{"n": 1, "s": "x"}, {"n": 2.5}])
    assert [hit.record for hit in store.get(["b", "a"])] == [{"n": 2.5, "s": None}, {"n": 1.0, "s": "x"}]
    for records in ([{"n": 1}, {"n": "x"}], [{"n": [1]}, {"n": [2]}], [{"n": 2**70}, {"n": 1}], [{"s": "\ud800"}, {}]):
        with pytest.raises(InputError, match=r"'[ns]'"):
            store.upsert(["c", "d"], np.ones((2, 4), np.float32), records)
    without_records = MemoryStore("memory://without-records", SPACE)
    without_records.upsert(["a"], np.ones((1, 4), np.float32))
    assert without_records.search(np.ones(4), where="_id in ('a', 'b')")[0][0].record == {}


def test_the_error_for_an_engine_that_is_not_installed_contains_the_install_command() -> None:
    code = "import sys; sys.modules['lancedb'] = None; from umekomi.cli.main import main; main(['store', 'info', 'lance://a/b'])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "Error: lance:// needs the package lancedb: pip install 'umekomi[lance]'.\n"
