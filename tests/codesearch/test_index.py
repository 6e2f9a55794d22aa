"""Updates of a code index: only changes are embedded, and interruptions and concurrent runs neither lose nor duplicate rows."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.codesearch.files import SkipReason
from umekomi.codesearch.index import CodeIndexer, find_index_folder
from umekomi.codesearch.index_run import IndexResult
from umekomi.codesearch.search import CodeIndex
from umekomi.codesearch.storage import collection_url
from umekomi.errors import InputError, OutputLockedError
from umekomi.files.ownership import OutputLock
from umekomi.stores import open_store

pytest.importorskip("lancedb")

SHOP = '''\
def open_shop():
    """Open the door."""
    return "open"


def close_shop():
    """Close the door."""
    return "closed"
'''


class Project:
    """A folder of files with an index."""

    def __init__(self, root: Path, fake: Embedder) -> None:
        self.root = root
        self.fake = fake
        self.messages: list[str] = []
        self.folder = root / ".umekomi"

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def indexer(self, **options: object) -> CodeIndexer:
        return CodeIndexer(
            self.folder, embedder=lambda model: self.fake, model="umekomi-fake", report=self.messages.append, **options
        )  # type: ignore[arg-type]

    def update(self, *paths: str) -> IndexResult:
        return self.indexer().update([self.root / path for path in paths])

    def index(self) -> CodeIndex:
        return CodeIndex(self.folder, embedder=lambda model: self.fake)

    def rows(self) -> set[tuple[str, str, int]]:
        """Return the path, name and first line of each row of the table."""
        store = open_store(collection_url(self.folder))
        rows = [
            (record["path"], record["name"], record["start"])
            for _, _, records in store.iterate()
            for record in records.to_pylist()
        ]
        assert len(rows) == len(set(rows)), "duplicate rows"
        return set(rows)


@pytest.fixture
def project(tmp_path: Path, fake: Embedder) -> Project:
    project = Project(tmp_path / "project", fake)
    project.write("shop.py", SHOP)
    project.write("sub/tea.rs", "/// Boils water.\nfn boil() { heat(); }\n")
    project.write("README.md", "# The shop\nAll about the shop.\n")
    return project


def test_the_first_run_embeds_everything_and_the_second_nothing(project: Project) -> None:
    first = project.update(".")
    assert (first.files, first.added, first.chunks, first.embedded) == (3, 3, 4, 4)
    second = project.update(".")
    assert (second.added, second.changed, second.unchanged, second.embedded, second.chunks) == (0, 0, 3, 0, 4)
    assert project.rows() == {
        ("README.md", "The shop", 1),
        ("shop.py", "open_shop", 1),
        ("shop.py", "close_shop", 6),
        ("sub/tea.rs", "boil", 2),
    }


def test_a_run_without_changes_does_not_load_the_model(project: Project) -> None:
    project.update(".")

    def fail_to_load(model: str) -> Embedder:
        raise AssertionError("the model was loaded")

    assert CodeIndexer(project.folder, embedder=fail_to_load).update().unchanged == 3


def test_only_the_changed_functions_of_a_file_are_embedded(project: Project) -> None:
    project.update(".")
    project.write("shop.py", "import os\n\n" + SHOP.replace('"closed"', '"closed for good"'))
    report = project.update(".")
    assert (report.changed, report.embedded, report.reused) == (1, 1, 1)
    assert {row for row in project.rows() if row[0] == "shop.py"} == {
        ("shop.py", "open_shop", 3),
        ("shop.py", "close_shop", 8),
    }


def test_a_renamed_file_keeps_its_vectors(project: Project) -> None:
    project.update(".")
    before = {hit.name: hit.score for hit in project.index().search("open the door", n=9)}
    (project.root / "shop.py").rename(project.root / "sub" / "store.py")
    report = project.update(".")
    assert (report.added, report.removed, report.embedded, report.reused) == (1, 1, 0, 2)
    assert {row[0] for row in project.rows()} == {"README.md", "sub/store.py", "sub/tea.rs"}
    after = {hit.name: hit.score for hit in project.index().search("open the door", n=9)}
    assert after == before


def test_deleted_and_newly_ignored_files_are_removed(project: Project) -> None:
    project.update(".")
    (project.root / "shop.py").unlink()
    project.write(".gitignore", "*.rs\n")
    (project.root / ".git").mkdir()
    report = project.update()
    assert report.removed == 2
    assert {row[0] for row in project.rows()} == {"README.md"}


def test_a_file_with_a_new_time_and_the_same_content_is_unchanged(project: Project) -> None:
    project.update(".")
    os.utime(project.root / "shop.py", ns=(1, 1))
    report = project.update(".")
    assert (report.changed, report.unchanged) == (0, 3)


def test_a_change_that_keeps_size_and_time_is_detected(project: Project) -> None:
    path = project.root / "shop.py"
    project.update(".")
    about = path.stat()
    path.write_text(SHOP.replace("closed", "opened"), "utf-8")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert project.update(".").changed == 1


def test_a_run_without_paths_updates_all_paths(project: Project) -> None:
    project.update("sub")
    assert {row[0] for row in project.rows()} == {"sub/tea.rs"}
    project.update("shop.py")
    assert {row[0] for row in project.rows()} == {"sub/tea.rs", "shop.py"}
    project.write("sub/new.py", "def fresh():\n    return 1\n")
    (project.root / "shop.py").unlink()
    report = project.update()
    assert (report.added, report.removed) == (1, 1)
    assert {row[0] for row in project.rows()} == {"sub/tea.rs", "sub/new.py"}


def test_identical_functions_share_a_vector_but_have_separate_rows(project: Project) -> None:
    project.write("a.py", "def same():\n    return 42\n\nif True:\n    def same():\n        return 42\n")
    project.write("b.py", "def same():\n    return 42\n")
    report = project.update("a.py", "b.py")
    assert (report.embedded, report.reused) == (2, 2)  # three identical functions, and the module code of a.py
    assert [row for row in sorted(project.rows()) if row[1]] == [
        ("a.py", "same", 1),
        ("a.py", "same", 5),
        ("b.py", "same", 1),
    ]


def test_git_ignores_the_index(project: Project) -> None:
    subprocess.run(["git", "init", "-q"], cwd=project.root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=project.root, check=True)
    project.update(".")
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=project.root, check=True, capture_output=True, text=True
    )
    assert all(line.startswith("A ") for line in status.stdout.splitlines())


def test_skipped_files_are_counted_again_on_every_run(project: Project) -> None:
    (project.root / "data.py").write_bytes(b"\0\1\2")
    assert project.update(".").skipped.counts == project.update(".").skipped.counts == {SkipReason.BINARY: 1}


def test_a_kill_between_writing_table_and_manifest_is_repaired(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from umekomi.codesearch.storage import Manifest

    project.update(".")
    project.write("shop.py", SHOP.replace("open_shop", "open_wide"))

    def interrupt(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "commit", interrupt)
        with pytest.raises(KeyboardInterrupt):
            project.update(".")
    # The file changes again before the next run, which must remove the rows of the interrupted run.
    project.write("shop.py", SHOP)
    project.update(".")
    assert {row[1] for row in project.rows() if row[0] == "shop.py"} == {"open_shop", "close_shop"}


INDEXER = """
import sys
from pathlib import Path
from umekomi import Embedder
from umekomi.codesearch import index as code_index, index_run
index_run.BATCH_PIECES = 40
indexer = code_index.CodeIndexer(Path(sys.argv[1]), embedder=Embedder, model="umekomi-fake", wait_s=100.0)
print("started", flush=True)
indexer.update([Path(sys.argv[1]).parent])
print("ended", flush=True)
"""


def start_indexer(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", INDEXER, str(folder)], stdout=subprocess.PIPE, text=True)


def write_many_files(project: Project, files: int) -> set[tuple[str, str]]:
    for number in range(files):
        project.write(
            f"many/f{number}.py", "".join(f"def f{number}_{k}():\n    return {number * k}\n\n\n" for k in range(10))
        )
    return {(f"many/f{number}.py", f"f{number}_{k}") for number in range(files) for k in range(10)}


def test_a_killed_run_can_be_continued(project: Project) -> None:
    expected = write_many_files(project, 80)
    for delay in (0.15, 0.4, 0.8):
        process = start_indexer(project.folder)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    project.update(".")
    assert {row[:2] for row in project.rows() if row[0].startswith("many/")} == expected
    assert project.update(".").embedded == 0


def test_two_concurrent_indexers_leave_a_consistent_index(project: Project) -> None:
    expected = write_many_files(project, 12)
    processes = [start_indexer(project.folder) for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert output.split() == ["started", "ended"]
    assert {row[:2] for row in project.rows() if row[0].startswith("many/")} == expected


def test_waiting_too_long_for_another_indexer_is_an_error(project: Project) -> None:
    project.update(".")
    lock = OutputLock(project.folder, purpose="a test", file=project.folder / "lock")
    for wait_s, n_messages in ((0.0, 0), (0.1, 1)):
        with lock, pytest.raises(OutputLockedError, match=f"is being written by process {os.getpid()} .a test, since"):
            project.indexer(wait_s=wait_s).update([project.root])
        assert len(project.messages) == n_messages
    assert project.update(".").unchanged == 3


def test_a_folder_with_other_files_is_rejected(project: Project) -> None:
    project.folder.mkdir()
    (project.folder / "foreign.txt").write_text("foreign")
    with pytest.raises(InputError, match="not created by Umekomi"):
        project.update(".")
    assert [path.name for path in project.folder.iterdir()] == ["foreign.txt"]


def test_another_model_rebuilds_the_index(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.update(".")
    monkeypatch.setitem(vars(project.fake), "fingerprint", "0123456789abcdef")
    project.write("shop.py", SHOP + "\n\ndef more():\n    return 2\n")
    report = project.update(".")
    assert report.embedded == 5
    assert "every file is read again" in project.messages[-1]
    assert open_store(collection_url(project.folder)).space.fingerprint == "0123456789abcdef"


def test_the_index_folder_is_the_nearest_one_or_that_of_the_repository(tmp_path: Path) -> None:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "sub").mkdir()
    assert find_index_folder(tmp_path / "repo" / "sub") == tmp_path / "repo" / ".umekomi"
    (tmp_path / ".umekomi").mkdir()
    (tmp_path / ".umekomi" / "manifest.db").touch()
    assert find_index_folder(tmp_path / "elsewhere") == tmp_path / ".umekomi"


def test_invalid_paths_are_reported(project: Project) -> None:
    with pytest.raises(InputError, match="There is no file or folder"):
        project.update("nowhere")
    with pytest.raises(InputError, match="Name the folders to index"):
        project.update()
    assert not project.folder.exists()


def test_paths_may_contain_special_characters(tmp_path: Path, fake: Embedder) -> None:
    project = Project(tmp_path / "a b?c=d#d%20é'日本", fake)
    project.write("it's 100%.py", SHOP)
    project.update(".")
    assert {row[0] for row in project.rows()} == {"it's 100%.py"}
    assert project.index().search("open the door", n=1)[0].path == "it's 100%.py"


def test_every_row_has_a_normalized_vector(project: Project) -> None:
    project.update(".")
    store = open_store(collection_url(project.folder))
    ids: Sequence[str] = next(iter(store.iterate()))[0]
    vectors = store.get_vectors(ids)
    assert set(vectors) == set(ids)
    assert all(np.isclose(np.linalg.norm(vector), 1) for vector in vectors.values())


REASONS = {
    "caf\\xe9.py": "its name is not UTF-8",
    "coding.py": "not in the encoding 'undefined'",
    "broken.ipynb": "not a notebook: it is not JSON",
}


def write_unreadable_files(project: Project) -> None:
    """Write unreadable files of every type, and files that are nested too deeply for the parsers."""
    (project.root / os.fsdecode(b"caf\xe9.py")).write_text("x = 1")
    (project.root / "coding.py").write_bytes(b"# coding: undefined\nx = '\xff'\n")
    project.write("broken.ipynb", '{"cells": [')
    project.write("deep.py", "x = (\n" + "(\n" * 5000 + ")\n" * 5000)
    project.write("deep.js", "function f() {\n" * 600)
    folder = project.root
    for _ in range(1200):
        folder /= "d"
        folder.mkdir()
    (folder / "far.py").write_text("def far():\n    return 1\n")
    (project.root / "link.py").symlink_to("nothing")


@pytest.fixture
def deep_project(fake: Embedder) -> Iterator[Project]:
    """A project with deeply nested folders, which pytest could not delete."""
    folder = Path(tempfile.mkdtemp())
    yield Project(folder, fake)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_unreadable_files_are_counted_with_a_reason_on_every_run(deep_project: Project) -> None:
    project = deep_project
    project.write("shop.py", SHOP)
    project.write("sub/tea.rs", "/// Boils water.\nfn boil() { heat(); }\n")
    project.write("README.md", "# The shop\nAll about the shop.\n")
    write_unreadable_files(project)
    for run in range(2):
        report = project.update(".")
        assert report.skipped.counts == {SkipReason.UNREADABLE: 3, SkipReason.LINK: 1}
        for name, reason in REASONS.items():
            assert reason in report.skipped.unreadable[f"{project.root}/{name}"]
        assert (report.files, report.added) == (6, 6 * (run == 0))
    assert {"far", "boil"} <= {row[1] for row in project.rows()}
    subprocess.run(["rm", "-rf", str(project.root / "d")], check=True)
    project.write(
        "broken.ipynb", json.dumps({"cells": [{"cell_type": "code", "source": "def mended():\n    return 1"}]})
    )
    assert project.update().changed == 1
    assert "mended" in {row[1] for row in project.rows()}
    project.write("broken.ipynb", "{")
    report = project.update()
    assert (report.changed, report.removed, report.skipped.counts[SkipReason.UNREADABLE]) == (0, 0, 3)
    assert "mended" not in {row[1] for row in project.rows()}


def test_files_that_disappear_during_a_run_are_counted(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from umekomi.codesearch import index as code_index

    project.write("deleted.py", SHOP)
    project.write("folder.py", SHOP)
    project.write("pipe.py", SHOP)
    find = code_index.find_files

    def find_and_change(*args: object) -> object:
        yield from list(find(*args))  # type: ignore[arg-type]
        for name in ("deleted.py", "folder.py", "pipe.py"):
            (project.root / name).unlink()
        (project.root / "folder.py").mkdir()
        os.mkfifo(project.root / "pipe.py")

    with monkeypatch.context() as patch:
        patch.setattr(code_index, "find_files", find_and_change)
        report = project.update(".")
    assert (report.files, report.skipped.counts) == (3, {SkipReason.UNREADABLE: 3})


def test_an_error_in_one_file_does_not_affect_the_others(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    from umekomi.codesearch import index_run

    split_file = index_run.split_file

    def fail(text: str, language: str) -> object:
        if language == "rust":
            raise KeyError("a bug")
        return split_file(text, language)

    monkeypatch.setattr(index_run, "split_file", fail)
    report = project.update(".")
    assert (report.files, report.chunks) == (2, 3)
    assert report.skipped.unreadable == {f"{project.root}/sub/tea.rs": "it cannot be split into chunks (KeyError)"}


def test_hits_in_notebooks_contain_the_cell(project: Project) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Weather\n", "Rain and sun."]},
        {"cell_type": "code", "source": "def forecast():\n    return 'rain'", "outputs": []},
    ]
    project.write("weather.ipynb", json.dumps({"cells": cells}))
    project.update(".")
    (hit,) = project.index().search("forecast rain", n=1, langs=["python"], paths=["*.ipynb"])
    assert (hit.name, hit.cell, hit.start, hit.end, hit.lang) == ("forecast", 2, 3, 4, "python")
    assert hit.source == "def forecast():\n    return 'rain'"
    (hit, *_) = project.index().similar(project.root / "weather.ipynb", 3)
    assert hit.name != "forecast"
    assert project.index().info()["languages"] == {"python": 2, "rust": 1, "prose": 1}


ROWS = {
    ("README.md", "The shop", 1),
    ("shop.py", "open_shop", 1),
    ("shop.py", "close_shop", 6),
    ("sub/tea.rs", "boil", 2),
}


def delete_the_table_folder(project: Project) -> None:
    shutil.rmtree(project.folder / "code.lance")


def drop_the_table(project: Project) -> None:
    open_store(collection_url(project.folder)).drop()


def delete_some_rows(project: Project) -> None:
    store = open_store(collection_url(project.folder))
    store.delete(next(iter(store.iterate()))[0][:2])


def add_a_foreign_row(project: Project) -> None:
    store = open_store(collection_url(project.folder))
    (_, vectors, records) = next(iter(store.iterate()))
    store.upsert(["foreign"], vectors[:1], records.slice(0, 1))


def replace_rows(project: Project) -> None:
    delete_some_rows(project)
    add_a_foreign_row(project)


def delete_data_files(project: Project) -> None:
    for path in (project.folder / "code.lance" / "data").iterdir():
        path.unlink()


def delete_versions(project: Project) -> None:
    shutil.rmtree(project.folder / "code.lance" / "_versions")


def truncate_data_files(project: Project) -> None:
    for path in (project.folder / "code.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    "damage",
    [
        delete_the_table_folder,
        drop_the_table,
        delete_some_rows,
        add_a_foreign_row,
        replace_rows,
        delete_data_files,
        delete_versions,
        truncate_data_files,
    ],
)
def test_missing_vectors_are_embedded_again(project: Project, damage: Callable[[Project], None]) -> None:
    project.update(".")
    scores = {hit.name: hit.score for hit in project.index().search("open the door", n=9)}
    damage(project)
    report = project.update()
    assert project.rows() == ROWS
    assert {hit.name: hit.score for hit in project.index().search("open the door", n=9)} == scores
    assert report.chunks == 4
    if damage is not add_a_foreign_row:
        assert report.embedded >= 1
        assert "read again" in project.messages[-1]
    second = project.update()
    assert (second.unchanged, second.embedded) == (3, 0)


STEPS = ["drop", "reset", "create_store", "begin", "upsert", "commit"]

KILLED_INDEXER = """
import os, sys
from pathlib import Path
from umekomi import Embedder
from umekomi.codesearch.storage import Manifest
from umekomi.stores.engines.lance import LanceStore
from umekomi.codesearch import storage as code_storage
from umekomi.codesearch.index import CodeIndexer

folder, step, when = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
owner = {"drop": LanceStore, "upsert": LanceStore, "create_store": code_storage}.get(step, Manifest)
real = getattr(owner, step)

def kill(*args, **options):
    if when == "after":
        real(*args, **options)
    os.kill(os.getpid(), 9)

setattr(owner, step, kill)
CodeIndexer(folder, embedder=Embedder, model="umekomi-fake").update([folder.parent])
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_of_a_rebuild_is_repaired(project: Project, step: str, when: str) -> None:
    project.update(".")
    # The format of an older version, so that the killed run and the next one both rebuild.
    database = sqlite3.connect(project.folder / "manifest.db")
    with database:
        database.execute("update about set value = '0' where key = 'format'")
    database.close()
    result = subprocess.run(
        [sys.executable, "-c", KILLED_INDEXER, str(project.folder), step, when], capture_output=True, text=True
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    project.update()
    assert project.rows() == ROWS
    assert open_store(collection_url(project.folder)).space.fingerprint == project.fake.fingerprint
    assert project.update().embedded == 0
