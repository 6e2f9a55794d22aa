"""An index that is kept up to date: only what changed is embedded, and nothing is lost or doubled by a kill or by two at once."""

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
from umekomi.codesearch.collection import store_url
from umekomi.codesearch.files import Skip
from umekomi.codesearch.index import CodeIndexer, Report, index_folder
from umekomi.codesearch.search import CodeIndex
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


class House:
    """A folder of files with an index, and the embedder's texts counted."""

    def __init__(self, root: Path, fake: Embedder) -> None:
        self.root = root
        self.fake = fake
        self.said: list[str] = []
        self.folder = root / ".umekomi"

    def write(self, name: str, text: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    def indexer(self, **options: object) -> CodeIndexer:
        return CodeIndexer(
            self.folder, embedder=lambda model: self.fake, model="umekomi-fake", say=self.said.append, **options
        )  # type: ignore[arg-type]

    def update(self, *paths: str) -> Report:
        return self.indexer().update([self.root / path for path in paths])

    def index(self) -> CodeIndex:
        return CodeIndex(self.folder, embedder=lambda model: self.fake)

    def rows(self) -> set[tuple[str, str, int]]:
        """Path, name and first line of each row of the store: what is truly there."""
        store = open_store(store_url(self.folder))
        found = [
            (record["path"], record["name"], record["start"])
            for _, _, records in store.iterate()
            for record in records.to_pylist()
        ]
        assert len(found) == len(set(found)), "a row is there twice"
        return set(found)


@pytest.fixture
def house(tmp_path: Path, fake: Embedder) -> House:
    house = House(tmp_path / "house", fake)
    house.write("shop.py", SHOP)
    house.write("sub/tea.rs", "/// Boils water.\nfn boil() { heat(); }\n")
    house.write("README.md", "# The house\nAll about the house.\n")
    return house


def test_the_first_run_reads_all_and_the_second_nothing(house: House) -> None:
    first = house.update(".")
    assert (first.files, first.added, first.chunks, first.embedded) == (3, 3, 4, 4)
    again = house.update(".")
    assert (again.added, again.changed, again.unchanged, again.embedded, again.chunks) == (0, 0, 3, 0, 4)
    assert house.rows() == {
        ("README.md", "The house", 1),
        ("shop.py", "open_shop", 1),
        ("shop.py", "close_shop", 6),
        ("sub/tea.rs", "boil", 2),
    }


def test_a_run_with_nothing_new_needs_no_model(house: House) -> None:
    house.update(".")

    def refuse(model: str) -> Embedder:
        raise AssertionError("the model was loaded")

    assert CodeIndexer(house.folder, embedder=refuse).update().unchanged == 3


def test_of_a_changed_file_only_the_changed_function_is_embedded_and_the_others_move(house: House) -> None:
    house.update(".")
    house.write("shop.py", "import os\n\n" + SHOP.replace('"closed"', '"closed for good"'))
    report = house.update(".")
    assert (report.changed, report.embedded, report.reused) == (1, 1, 1)
    assert {row for row in house.rows() if row[0] == "shop.py"} == {
        ("shop.py", "open_shop", 3),
        ("shop.py", "close_shop", 8),
    }


def test_a_renamed_file_is_not_embedded_again_and_keeps_its_vectors(house: House) -> None:
    house.update(".")
    before = {hit.name: hit.score for hit in house.index().search("open the door", n=9)}
    (house.root / "shop.py").rename(house.root / "sub" / "store.py")
    report = house.update(".")
    assert (report.added, report.removed, report.embedded, report.reused) == (1, 1, 0, 2)
    assert {row[0] for row in house.rows()} == {"README.md", "sub/store.py", "sub/tea.rs"}
    after = {hit.name: hit.score for hit in house.index().search("open the door", n=9)}
    assert after == before


def test_what_is_deleted_or_newly_ignored_vanishes(house: House) -> None:
    house.update(".")
    (house.root / "shop.py").unlink()
    house.write(".gitignore", "*.rs\n")
    (house.root / ".git").mkdir()
    report = house.update()
    assert report.removed == 2
    assert {row[0] for row in house.rows()} == {"README.md"}


def test_a_file_that_is_only_touched_is_not_cut_again(house: House) -> None:
    house.update(".")
    os.utime(house.root / "shop.py", ns=(1, 1))
    report = house.update(".")
    assert (report.changed, report.unchanged) == (0, 3)


def test_a_change_that_keeps_size_and_time_is_seen(house: House) -> None:
    path = house.root / "shop.py"
    house.update(".")
    about = path.stat()
    path.write_text(SHOP.replace("closed", "opened"), "utf-8")
    os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns))
    assert house.update(".").changed == 1


def test_folders_are_added_one_by_one_and_looked_through_together(house: House) -> None:
    house.update("sub")
    assert {row[0] for row in house.rows()} == {"sub/tea.rs"}
    house.update("shop.py")
    assert {row[0] for row in house.rows()} == {"sub/tea.rs", "shop.py"}
    house.write("sub/new.py", "def fresh():\n    return 1\n")
    (house.root / "shop.py").unlink()
    report = house.update()
    assert (report.added, report.removed) == (1, 1)
    assert {row[0] for row in house.rows()} == {"sub/tea.rs", "sub/new.py"}


def test_equal_functions_share_a_vector_and_are_both_there(house: House) -> None:
    house.write("a.py", "def same():\n    return 42\n\nif True:\n    def same():\n        return 42\n")
    house.write("b.py", "def same():\n    return 42\n")
    report = house.update("a.py", "b.py")
    assert (report.embedded, report.reused) == (2, 2)  # three functions of one text, and the module of a.py
    assert [row for row in sorted(house.rows()) if row[1]] == [
        ("a.py", "same", 1),
        ("a.py", "same", 5),
        ("b.py", "same", 1),
    ]


def test_the_index_does_not_dirty_the_repository(house: House) -> None:
    subprocess.run(["git", "init", "-q"], cwd=house.root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=house.root, check=True)
    house.update(".")
    status = subprocess.run(
        ["git", "status", "--porcelain"], cwd=house.root, check=True, capture_output=True, text=True
    )
    assert all(line.startswith("A ") for line in status.stdout.splitlines())


def test_skipped_files_are_counted_again_on_every_run(house: House) -> None:
    (house.root / "data.py").write_bytes(b"\0\1\2")
    assert house.update(".").skipped.counts == house.update(".").skipped.counts == {Skip.BINARY: 1}


def test_a_kill_between_the_store_and_the_manifest_is_mended(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from umekomi.codesearch.manifest import Manifest

    house.update(".")
    house.write("shop.py", SHOP.replace("open_shop", "open_wide"))

    def killed(*args: object, **kwargs: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Manifest, "done", killed)
        with pytest.raises(KeyboardInterrupt):
            house.update(".")
    # The file has changed once more before the next run: rows of the cut run must not stay.
    house.write("shop.py", SHOP)
    house.update(".")
    assert {row[1] for row in house.rows() if row[0] == "shop.py"} == {"open_shop", "close_shop"}


CHILD = """
import sys
from pathlib import Path
from umekomi import Embedder
from umekomi.codesearch import index as code_index
code_index.BATCH_PIECES = 40
indexer = code_index.CodeIndexer(Path(sys.argv[1]), embedder=Embedder, model="umekomi-fake", wait_s=100.0)
print("started", flush=True)
indexer.update([Path(sys.argv[1]).parent])
print("ended", flush=True)
"""


def child(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(folder)], stdout=subprocess.PIPE, text=True)


def many(house: House, files: int) -> set[tuple[str, str]]:
    for number in range(files):
        house.write(
            f"many/f{number}.py", "".join(f"def f{number}_{k}():\n    return {number * k}\n\n\n" for k in range(10))
        )
    return {(f"many/f{number}.py", f"f{number}_{k}") for number in range(files) for k in range(10)}


def test_a_run_that_is_killed_goes_on_where_it_was(house: House) -> None:
    wanted = many(house, 80)
    for delay in (0.15, 0.4, 0.8):
        process = child(house.folder)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    house.update(".")
    assert {row[:2] for row in house.rows() if row[0].startswith("many/")} == wanted
    assert house.update(".").embedded == 0


def test_two_indexers_at_once_leave_one_good_index(house: House) -> None:
    wanted = many(house, 12)
    processes = [child(house.folder) for _ in range(2)]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert output.split() == ["started", "ended"]
    assert {row[:2] for row in house.rows() if row[0].startswith("many/")} == wanted


def test_who_waits_too_long_is_told_so(house: House) -> None:
    house.update(".")
    lock = OutputLock(house.folder, purpose="a test", file=house.folder / "lock")
    for wait_s, said in ((0.0, 0), (0.1, 1)):
        with lock, pytest.raises(OutputLockedError, match=f"is being written by process {os.getpid()} .a test, since"):
            house.indexer(wait_s=wait_s).update([house.root])
        assert len(house.said) == said
    assert house.update(".").unchanged == 3


def test_a_folder_of_the_user_is_not_made_an_index(house: House) -> None:
    house.folder.mkdir()
    (house.folder / "mine.txt").write_text("mine")
    with pytest.raises(InputError, match="not created by Umekomi"):
        house.update(".")
    assert [path.name for path in house.folder.iterdir()] == ["mine.txt"]


def test_another_model_makes_the_index_anew(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    house.update(".")
    monkeypatch.setitem(vars(house.fake), "fingerprint", "0123456789abcdef")
    house.write("shop.py", SHOP + "\n\ndef more():\n    return 2\n")
    report = house.update(".")
    assert report.embedded == 5
    assert "every file is read again" in house.said[-1]
    assert open_store(store_url(house.folder)).space.fingerprint == "0123456789abcdef"


def test_where_the_index_is(tmp_path: Path) -> None:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    (tmp_path / "repo" / "sub").mkdir()
    assert index_folder(tmp_path / "repo" / "sub") == tmp_path / "repo" / ".umekomi"
    (tmp_path / ".umekomi").mkdir()
    (tmp_path / ".umekomi" / "manifest.db").touch()
    assert index_folder(tmp_path / "elsewhere") == tmp_path / ".umekomi"


def test_bad_input_is_one_sentence(house: House) -> None:
    with pytest.raises(InputError, match="There is no file or folder"):
        house.update("nowhere")
    with pytest.raises(InputError, match="Name the folders to index"):
        house.update()
    assert not house.folder.exists()


def test_odd_names_of_folders_and_files_do_no_harm(tmp_path: Path, fake: Embedder) -> None:
    house = House(tmp_path / "a b?c=d#d%20é'日本", fake)
    house.write("it's 100%.py", SHOP)
    house.update(".")
    assert {row[0] for row in house.rows()} == {"it's 100%.py"}
    assert house.index().search("open the door", n=1)[0].path == "it's 100%.py"


def test_vectors_are_those_of_the_model(house: House) -> None:
    house.update(".")
    store = open_store(store_url(house.folder))
    ids: Sequence[str] = next(iter(store.iterate()))[0]
    kept = store.get_vectors(ids)
    assert set(kept) == set(ids)
    assert all(np.isclose(np.linalg.norm(vector), 1) for vector in kept.values())


BROKEN = {
    "caf\\xe9.py": "its name is not UTF-8",
    "coding.py": "not in the encoding 'undefined'",
    "broken.ipynb": "not a notebook: it is not JSON",
}


def spoil(house: House) -> None:
    """Files of every kind that cannot be read, and one whose code nests more deeply than the parser goes."""
    (house.root / os.fsdecode(b"caf\xe9.py")).write_text("x = 1")
    (house.root / "coding.py").write_bytes(b"# coding: undefined\nx = '\xff'\n")
    house.write("broken.ipynb", '{"cells": [')
    house.write("deep.py", "x = (\n" + "(\n" * 5000 + ")\n" * 5000)
    house.write("deep.js", "function f() {\n" * 600)
    folder = house.root
    for _ in range(1200):
        folder /= "d"
        folder.mkdir()
    (folder / "far.py").write_text("def far():\n    return 1\n")
    (house.root / "link.py").symlink_to("nothing")


@pytest.fixture
def deep_house(fake: Embedder) -> Iterator[House]:
    """A house whose folder is deleted without recursion, which pytest's own folders are not."""
    folder = Path(tempfile.mkdtemp())
    yield House(folder, fake)
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def test_files_that_cannot_be_read_are_counted_with_a_reason_on_every_run(deep_house: House) -> None:
    house = deep_house
    house.write("shop.py", SHOP)
    house.write("sub/tea.rs", "/// Boils water.\nfn boil() { heat(); }\n")
    house.write("README.md", "# The house\nAll about the house.\n")
    spoil(house)
    for run in range(2):
        report = house.update(".")
        assert report.skipped.counts == {Skip.UNREADABLE: 3, Skip.LINK: 1}
        for name, reason in BROKEN.items():
            assert reason in report.skipped.unreadable[f"{house.root}/{name}"]
        assert (report.files, report.added) == (6, 6 * (run == 0))
    assert {"far", "boil"} <= {row[1] for row in house.rows()}
    subprocess.run(["rm", "-rf", str(house.root / "d")], check=True)
    house.write("broken.ipynb", json.dumps({"cells": [{"cell_type": "code", "source": "def mended():\n    return 1"}]}))
    assert house.update().changed == 1
    assert "mended" in {row[1] for row in house.rows()}
    house.write("broken.ipynb", "{")
    report = house.update()
    assert (report.changed, report.removed, report.skipped.counts[Skip.UNREADABLE]) == (0, 0, 3)
    assert "mended" not in {row[1] for row in house.rows()}


def test_a_file_that_changes_while_it_is_indexed_is_counted(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from umekomi.codesearch import index as code_index

    house.write("gone.py", SHOP)
    house.write("folder.py", SHOP)
    house.write("pipe.py", SHOP)
    find = code_index.find_files

    def change_after(*given: object) -> object:
        yield from list(find(*given))  # type: ignore[arg-type]
        for name in ("gone.py", "folder.py", "pipe.py"):
            (house.root / name).unlink()
        (house.root / "folder.py").mkdir()
        os.mkfifo(house.root / "pipe.py")

    with monkeypatch.context() as patch:
        patch.setattr(code_index, "find_files", change_after)
        report = house.update(".")
    assert (report.files, report.skipped.counts) == (3, {Skip.UNREADABLE: 3})


def test_no_error_of_one_file_keeps_the_others_out(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    from umekomi.codesearch import index as code_index

    cut = code_index.cut_file

    def fail(text: str, language: str) -> object:
        if language == "rust":
            raise KeyError("a bug")
        return cut(text, language)

    monkeypatch.setattr(code_index, "cut_file", fail)
    report = house.update(".")
    assert (report.files, report.chunks) == (2, 3)
    assert report.skipped.unreadable == {f"{house.root}/sub/tea.rs": "it cannot be cut into chunks (KeyError)"}


def test_notebooks_are_found_by_cell(house: House) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Weather\n", "Rain and sun."]},
        {"cell_type": "code", "source": "def forecast():\n    return 'rain'", "outputs": []},
    ]
    house.write("weather.ipynb", json.dumps({"cells": cells}))
    house.update(".")
    (hit,) = house.index().search("forecast rain", n=1, langs=["python"], paths=["*.ipynb"])
    assert (hit.name, hit.cell, hit.start, hit.end, hit.lang) == ("forecast", 2, 3, 4, "python")
    assert hit.source == "def forecast():\n    return 'rain'"
    (near, *_) = house.index().similar(house.root / "weather.ipynb", 3)
    assert near.name != "forecast"
    assert house.index().info()["languages"] == {"python": 2, "rust": 1, "prose": 1}


NAMES = {
    ("README.md", "The house", 1),
    ("shop.py", "open_shop", 1),
    ("shop.py", "close_shop", 6),
    ("sub/tea.rs", "boil", 2),
}


def lose_everything(house: House) -> None:
    shutil.rmtree(house.folder / "code.lance")


def drop_the_collection(house: House) -> None:
    open_store(store_url(house.folder)).drop()


def lose_some_rows(house: House) -> None:
    store = open_store(store_url(house.folder))
    store.delete(next(iter(store.iterate()))[0][:2])


def add_a_foreign_row(house: House) -> None:
    store = open_store(store_url(house.folder))
    (_, vectors, records) = next(iter(store.iterate()))
    store.upsert(["foreign"], vectors[:1], records.slice(0, 1))


def replace_rows_by_foreign_ones(house: House) -> None:
    lose_some_rows(house)
    add_a_foreign_row(house)


def lose_data_files(house: House) -> None:
    for path in (house.folder / "code.lance" / "data").iterdir():
        path.unlink()


def lose_versions(house: House) -> None:
    shutil.rmtree(house.folder / "code.lance" / "_versions")


def cut_data_files(house: House) -> None:
    for path in (house.folder / "code.lance" / "data").iterdir():
        path.write_bytes(path.read_bytes()[:100])


@pytest.mark.parametrize(
    "harm",
    [
        lose_everything,
        drop_the_collection,
        lose_some_rows,
        add_a_foreign_row,
        replace_rows_by_foreign_ones,
        lose_data_files,
        lose_versions,
        cut_data_files,
    ],
)
def test_missing_vectors_are_made_again(house: House, harm: Callable[[House], None]) -> None:
    house.update(".")
    scores = {hit.name: hit.score for hit in house.index().search("open the door", n=9)}
    harm(house)
    report = house.update()
    assert house.rows() == NAMES
    assert {hit.name: hit.score for hit in house.index().search("open the door", n=9)} == scores
    assert report.chunks == 4
    if harm is not add_a_foreign_row:
        assert report.embedded >= 1
        assert "read again" in house.said[-1]
    again = house.update()
    assert (again.unchanged, again.embedded) == (3, 0)


STEPS = ["drop", "reset", "create_store", "begin", "upsert", "done"]

KILLED = """
import os, sys
from pathlib import Path
from umekomi import Embedder
from umekomi.codesearch.manifest import Manifest
from umekomi.stores.engines.lance import LanceStore
from umekomi.codesearch import collection as code_collection
from umekomi.codesearch.index import CodeIndexer

folder, step, when = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
owner = {"drop": LanceStore, "upsert": LanceStore, "create_store": code_collection}.get(step, Manifest)
real = getattr(owner, step)

def killed(*given, **options):
    if when == "after":
        real(*given, **options)
    os.kill(os.getpid(), 9)

setattr(owner, step, killed)
CodeIndexer(folder, embedder=Embedder, model="umekomi-fake").update([folder.parent])
"""


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", STEPS)
def test_a_kill_at_any_step_of_a_rebuild_is_mended(house: House, step: str, when: str) -> None:
    house.update(".")
    # An older format, so that the killed run and the next one both rebuild.
    database = sqlite3.connect(house.folder / "manifest.db")
    with database:
        database.execute("update about set value = '0' where key = 'format'")
    database.close()
    done = subprocess.run([sys.executable, "-c", KILLED, str(house.folder), step, when], capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    house.update()
    assert house.rows() == NAMES
    assert open_store(store_url(house.folder)).space.fingerprint == house.fake.fingerprint
    assert house.update().embedded == 0
