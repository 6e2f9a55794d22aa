"""Malformed files are rejected with one sentence that names the line or the row."""

from __future__ import annotations

import csv
import os
import random
import sys
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from umekomi.data.readers.opening import open_records
from umekomi.errors import RecordError


def rows(path: Path, **options: Any) -> list[dict[str, Any]]:
    return [row for batch in open_records(path, **options).batches(100) for row in batch.to_pylist()]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'id,text\n1,"coffee\n2,tea\n', "Line 2 of .* opens a quote that is never closed"),
        (b'id,text\n1,a\n2,"b\nb"\n3,"never\n4,x\n', "Line 5 of .* opens a quote that is never closed"),
        (b'id,text\n1,"a\nb","c\n', "Line 3 of .* opens a quote that is never closed"),
        (
            b'id,text\n1,"coffee\n2,"tea"\n3,x\n',
            "Line 2 of .* opens a quote that is closed in the middle of a cell .line 3",
        ),
        (b'id,text\n1,"a" b\n', "Line 2 of .* opens a quote that is closed in the middle of a cell"),
        (b'"id,text\n1,a\n', "Line 1 of .* opens a quote that is never closed"),
        (b"id,text\n1,a\n2\n", "Line 3 of .* has 1 cell; the header names 2 columns"),
        (b"id,text\n\n1,a\n2,b,c\n", "Line 4 of .* has 3 cells; the header names 2 columns"),
        (b'id,text\n1,"a\n\nb"\n2,b,c\n', "Line 5 of .* has 3 cells"),
        (b"id,text\r1,a\r2,b,c\r", "Line 3 of .* has 3 cells"),
        (b"id,text\n1,a\0b\n", "Line 2 of .* holds a NUL character"),
        (b"id,text\n1,a\n2,\xff\n", "Line 3 of .* is not text in UTF-8.*--encoding"),
        ("id,text\n1,a\n".encode("utf-16"), "begins like UTF-16.*--encoding utf-16"),
        (b"\n\n", "no header line"),
        (b"\xef\xbb\xbf", "no header line"),
    ],
)
def test_malformed_csv_names_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=message):
        rows(path)


def test_an_unclosed_cell_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limit = csv.field_size_limit(1000)
    monkeypatch.setattr("umekomi.data.readers.csv_file.MAX_CELL_CHARACTERS", 1000)
    path = tmp_path / "a.csv"
    path.write_text('a,b\n1,x\n2,"' + "x\n" * 2000)
    try:
        with pytest.raises(RecordError, match=r"A cell in line 3 of .* has more than 1,000 characters"):
            rows(path)
    finally:
        csv.field_size_limit(limit)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_line_ends_and_byte_order_marks_are_accepted(tmp_path: Path, end: str, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_bytes(end.join(["text,n", '"two', 'lines",1', "旨い,2", ""]).encode(encoding))
    assert rows(path, encoding="utf-16" if encoding == "utf-16" else "utf-8") == [
        {"text": f"two{end}lines", "n": 1},
        {"text": "旨い", "n": 2},
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1}\n{"a": 1, "a": 2}\n', "Line 2 of .* has the key 'a' twice"),
        (b'{"a": {"b": 1, "b": 2}}\n', "Line 1 of .* has the key 'b' twice"),
        (b'{"a": NaN}\n', "Line 1 of .* holds NaN, which is not JSON"),
        (b'\n{"a": -Infinity}\n', "Line 2 of .* holds -Infinity"),
        (b'{"a": ' + b"[" * 5000 + b"]" * 5000 + b"}\n", "Line 1 of .* is nested more than 100 deep"),
        (b'{"a": 1}\n{"a": "\xff"}\n', "Line 2 of .* is not text in UTF-8"),
        (b'{"a": 1}\n{"a": 01}\n', "Line 2 of .* is not JSON"),
        (b'{"a": 1}\n[1]\n', "Line 2 of .* is not a JSON object"),
        (b'{"a": "x\0"}\n', "Line 1 of .* holds a NUL character"),
        ('{"a": 1}\n'.encode("utf-16"), "begins like UTF-16"),
        (b"{}\n{}\n", "no columns"),
        (b"\n \n", "no rows"),
    ],
)
def test_malformed_json_lines_name_the_line(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=message):
        rows(path)


def test_brackets_in_a_text_are_not_nesting(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": "' + "[{\\\\" * 500 + '"}\n')
    assert len(rows(path)[0]["a"]) == 1500


def parquet_bytes(folder: Path) -> bytes:
    table = pa.table({"text": ["one", "two", "three"] * 50, "n": list(range(150)), "b": [b"x", None, b"\xff"] * 50})
    pq.write_table(table, folder / "good.parquet")
    return (folder / "good.parquet").read_bytes()


def test_a_damaged_parquet_file_always_raises_a_record_error(tmp_path: Path) -> None:
    good = parquet_bytes(tmp_path)
    chance = random.Random(7)
    path = tmp_path / "bad.parquet"
    refused: list[str] = []
    for _ in range(150):
        bad = bytearray(good)
        if chance.random() < 0.3:
            del bad[chance.randrange(len(bad)) :]
        for _ in range(chance.randrange(1, 6)):
            if bad:
                bad[chance.randrange(len(bad))] = chance.randrange(256)
        path.write_bytes(bad)
        try:
            rows(path)
        except RecordError as error:
            refused.append(str(error))
    assert len(refused) > 50
    assert not [message for message in refused if "\n" in message]


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=60), st.sampled_from(["a.csv", "a.tsv", "a.jsonl", "a.parquet"]))
def test_arbitrary_bytes_are_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, name: str
) -> None:
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    message = ""
    try:
        rows(path)
    except RecordError as error:
        message = str(error)
    assert "\n" not in message


def test_duplicate_column_names_are_rejected(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array(["x"]), pa.array(["y"])], names=["a", "a"])
    pq.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(RecordError, match="two columns named 'a'"):
        rows(tmp_path / "a.parquet")


@pytest.mark.parametrize("encoding", ["nonsense", "base64", "", "a\0b", "hex"])
def test_an_unknown_encoding_is_named(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    with pytest.raises(RecordError, match="no text encoding named"):
        rows(path, encoding=encoding)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes with names")
@pytest.mark.parametrize(("content", "format_"), [(b"a\n1\n", "csv"), (b'{"a": 1}\n', None), (b"a\n1\n", None)])
def test_a_pipe_is_read_like_a_file(tmp_path: Path, content: bytes, format_: str | None) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    records = open_records(pipe, format=format_)
    writer.join()
    assert [row for batch in records.batches(9) for row in batch.to_pylist()] == [{"a": 1}]


def test_an_error_in_a_pipe_names_the_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(b"a,b\n1\n",))
    writer.start()
    with pytest.raises(RecordError, match=r"Line 2 of .*/pipe has 1 cell"):
        open_records(pipe)
    writer.join()


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev/zero")
def test_an_endless_device_is_rejected() -> None:
    with pytest.raises(RecordError, match="device"):
        open_records("/dev/zero")
    with pytest.raises(RecordError, match="empty"):
        open_records(os.devnull)


def test_closed_standard_input_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(RecordError, match="Standard input is closed"):
        open_records("-")
