"""The state folder of the server: permissions, and databases that are locked, damaged or of another version."""

import json
import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import httpx
import pytest

from umekomi.serve.batch_api import routes as batch_routes
from umekomi.serve.batch_api import state_folder
from umekomi.serve.batch_api.records import Batch
from umekomi.serve.batch_api.storage import BatchStorage
from umekomi.serve.errors import StateError

from ..conftest import Serving
from .test_batches import begin, connect, line, rows, wait


def modes(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.rglob("*"))}


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o277])
def test_the_state_folder_is_private_for_every_umask(tmp_path: Path, serving: Serving, mask: int) -> None:
    state = tmp_path / "state"
    with umask(mask), serving(state=state) as address, connect(address) as client:
        batch = wait(client, begin(client, [line("good", "x"), line("empty", "")]).id)
        assert rows(client, batch.output_file_id)
        file_modes = modes(state)
    folders = {".", "files", "work"}
    assert {name: mode for name, mode in file_modes.items() if name in folders} == dict.fromkeys(folders, 0o700)
    assert {mode for name, mode in file_modes.items() if name not in folders} == {0o600}
    assert {"state.sqlite", "state.sqlite-wal", "state.sqlite-shm", "runner.lock"} < set(file_modes)
    assert sum(name.startswith("files/") for name in file_modes) == 3


def test_an_existing_readable_state_folder_is_made_private(tmp_path: Path) -> None:
    BatchStorage(tmp_path / "state", max_bytes=1).close()
    (tmp_path / "state/files/file-1").write_bytes(b"x")
    other_file = tmp_path / "state/notes.txt"
    other_file.write_text("not the server's")
    for path in (tmp_path / "state", *(tmp_path / "state").rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    BatchStorage(tmp_path / "state", max_bytes=1).close()
    file_modes = modes(tmp_path / "state")
    assert file_modes.pop("notes.txt") == 0o644
    assert set(file_modes.values()) == {0o700, 0o600}
    assert file_modes["files/file-1"] == 0o600


def test_a_folder_with_other_files_is_rejected_and_keeps_its_permissions(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StateError, match="holds other files"):
        BatchStorage(tmp_path, max_bytes=1)
    assert modes(tmp_path)["."] == 0o755


def test_a_folder_of_another_user_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    with pytest.raises(StateError, match="belongs to another user"):
        BatchStorage(tmp_path / "state", max_bytes=1)


def damage(path: Path, fault: str) -> None:
    if fault in ("text", "a damaged page"):
        BatchStorage(path.parent, max_bytes=1).close()
        content = bytearray(path.read_bytes())
        content[: 100 if fault == "text" else 0] = b""
        content[5000:9000] = b"\xff" * 4000
        path.write_bytes(content)
    elif fault == "a folder":
        path.mkdir()
    elif fault == "a pipe":
        os.mkfifo(path)
    else:
        with closing(sqlite3.connect(path)) as database:
            database.execute({"newer": "pragma user_version = 99", "other": "create table files (a)"}[fault])
            database.commit()


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("text", "is damaged"),
        ("a damaged page", "is damaged"),
        ("a folder", "is not a file"),
        ("a pipe", "is not a file"),
        ("newer", "newer version of Umekomi"),
        ("other", "another version of Umekomi"),
    ],
)
def test_an_unusable_database_is_a_one_line_error(tmp_path: Path, fault: str, message: str) -> None:
    damage(tmp_path / "state.sqlite", fault)
    with pytest.raises(StateError, match=message) as caught:
        BatchStorage(tmp_path, max_bytes=1)
    assert "\n" not in str(caught.value)


def test_a_database_of_the_first_version_is_upgraded(tmp_path: Path) -> None:
    BatchStorage(tmp_path, max_bytes=1).close()
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as database:
        database.execute("pragma user_version = 0")
    BatchStorage(tmp_path, max_bytes=1).close()
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as database:
        assert database.execute("pragma user_version").fetchall() == [(1,)]


@pytest.mark.parametrize("lock", ["immediate", "exclusive"])
def test_reads_are_answered_while_another_process_locks_the_database(
    tmp_path: Path, serving: Serving, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    for module in (state_folder, batch_routes):
        monkeypatch.setattr(module, "WRITE_TIMEOUT", 0.1)
    with serving(state=tmp_path) as address, connect(address) as client:
        batch = wait(client, begin(client, [line("a", "x")]).id)
    with closing(sqlite3.connect(tmp_path / "state.sqlite", isolation_level=None)) as other:
        other.execute(f"begin {lock}")
        # The server also starts while the database is locked.
        with serving(state=tmp_path) as address:
            output = f"{address}/files/{batch.output_file_id}"
            for url in (
                f"{address}/files",
                output,
                f"{output}/content",
                f"{address}/batches",
                f"{address}/batches/{batch.id}",
            ):
                assert httpx.get(url).status_code == 200
            new = {"input_file_id": batch.input_file_id, "endpoint": "/v1/embeddings", "completion_window": "24h"}
            form = {"data": {"purpose": "batch"}, "files": {"file": b"x"}}
            writes = [
                httpx.post(f"{address}/files", **form),  # type: ignore[arg-type]
                httpx.post(f"{address}/batches", json=new),
                httpx.post(f"{address}/batches/{batch.id}/cancel"),
                httpx.delete(output),
            ]
            for answer in writes:
                assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
                assert answer.json()["error"]["code"] == "storage_unavailable"
            assert httpx.delete(f"{address}/files/file-nope").status_code == 404
            other.execute("rollback")
            assert httpx.delete(output).status_code == 200
            assert httpx.post(f"{address}/batches", json=new).status_code == 200


def old_record(**changes: object) -> str:
    """Return a record in the old format, with ASCII escapes."""
    batch = Batch("batch_old", "", "/v1/embeddings", "file-a", "24h", 1, 2, "file-b", "file-c")
    return json.dumps({**asdict(batch), **changes})


@pytest.mark.parametrize(
    "record",
    [
        old_record(metadata={"a": "\ud800"}),
        old_record(metadata={"\udc00\ud800": "x"}, model="\udfff"),
        old_record(unknown=1),
        old_record(times="yesterday"),
        old_record(total=None),
        old_record(status="sleeping"),
        '{"status": "validating"}',
        "[]",
        "not JSON",
        "",
        "[" * 100_000,
    ],
    ids=lambda value: value[:20],
)
def test_invalid_rows_do_not_break_lists(tmp_path: Path, serving: Serving, record: str) -> None:
    BatchStorage(tmp_path, max_bytes=1).close()
    with closing(sqlite3.connect(tmp_path / "state.sqlite")) as database:
        database.execute("insert into batches (id, owner, open, record) values ('batch_old', '', 1, ?)", (record,))
        # Parameters of sqlite3 cannot contain invalid UTF-8.
        database.execute("insert into files values (1, 'file-x', '', 'batch', cast(x'ff00fe' as text), 1, 1, null)")
        database.commit()
    (tmp_path / "work/batch_old").write_bytes(b"")
    with serving(state=tmp_path) as address, connect(address) as client:
        assert [file["id"] for file in httpx.get(f"{address}/files").json()["data"]] == ["file-x"]
        listed = httpx.get(f"{address}/batches")
        assert (listed.status_code, [one["id"] for one in listed.json()["data"]]) == (200, ["batch_old"])
        assert httpx.get(f"{address}/batches/batch_old").status_code == 200
        assert wait(client, "batch_old").status == "failed"
        # The runner continues with the next batch.
        assert wait(client, begin(client, [line("a", "x")]).id).status == "completed"
