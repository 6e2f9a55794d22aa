"""Indexing of source files. Only changed files are split and embedded again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from ..data.embedded_file import Space
from ..embedder import Embedder
from ..encoders.model_ids import require_consent
from ..errors import InputError, OutputLockedError
from ..files.ownership import OutputLock, claim_folder
from ..stores import Store
from .files import find_files, find_repository, format_path, is_utf8
from .index_run import IndexProgress, IndexResult, IndexRun, SpaceChangedError
from .storage import FORMAT, Manifest, open_collection, rebuild

INDEX_FOLDER = ".umekomi"
CODE_MODEL = "code-search-babbage-code-001"
"""Default model of a new index."""


def find_index_folder(start: Path) -> Path:
    """Return the folder of the index for a folder.

    This is the ``.umekomi`` of the folder or of the nearest parent that has an index. Otherwise it is the ``.umekomi`` of the git
    repository, or of the folder itself.
    """
    start = Path(os.path.realpath(start))
    for folder in (start, *start.parents):
        if os.path.isfile(folder / INDEX_FOLDER / "manifest.db"):
            return folder / INDEX_FOLDER
    return (find_repository(start) or start) / INDEX_FOLDER


class CodeIndexer:
    """Writes the index of a folder.

    Args:
        folder: Folder of the index, which is created if it does not exist. Paths in the index are relative to its parent.
        embedder: Function that loads a model. Called only if something must be embedded.
        model: Id of the model. None uses the model of the index.
        report: Called with messages for the user, one line each.
        wait_s: Maximum time to wait for another indexer, in seconds.

    Raises:
        InputError: The folder cannot be created, or contains files that Umekomi did not create.
        OutputLockedError: Another indexer did not end in time.
    """

    def __init__(
        self,
        folder: Path,
        *,
        embedder: Callable[[str], Embedder],
        model: str | None = None,
        report: Callable[[str], None] = lambda line: None,
        wait_s: float = 0.0,
    ) -> None:
        self._folder = Path(os.path.realpath(folder))
        if not is_utf8(str(self._folder)):
            raise InputError(f"The name {format_path(self._folder)} is not UTF-8. Name another folder with --index.")
        self._base = self._folder.parent
        self._load = embedder
        self._requested_model = model
        self._report = report
        self._wait_s = wait_s
        self._embedder: Embedder | None = None

    def update(
        self, paths: Sequence[Path] = (), *, progress: IndexProgress = lambda files, total, texts: None
    ) -> IndexResult:
        """Update the index for the given files and folders.

        Args:
            paths: Files and folders. By default everything that was indexed before.
            progress: Progress callback.

        Raises:
            InputError: A path does not exist, or there are neither paths nor an index.
        """
        for path in paths:
            if not os.path.exists(path):
                raise InputError(f"There is no file or folder {format_path(path)}; check the path.")
            if not is_utf8(str(path)):
                raise InputError(f"The name {format_path(path)} is not UTF-8, so the index cannot store it. Rename it.")
        if not paths and not (self._folder / "manifest.db").is_file():
            raise InputError("Name the folders to index, as `umekomi code index .`")
        self._create_folder()
        with self._lock(), closing(Manifest(self._folder / "manifest.db")) as manifest:
            try:
                return self._update(manifest, paths, progress)
            except SpaceChangedError:
                # The model was loaded during the run, and does not match the index. The second run rebuilds the index.
                return self._update(manifest, paths, progress)

    def _update(self, manifest: Manifest, paths: Sequence[Path], progress: IndexProgress) -> IndexResult:
        run = IndexRun(self._folder, manifest, self._open(manifest), load=self._load_consented, progress=progress)
        requested = [self._relative(Path(os.path.realpath(path))) for path in paths]
        manifest.add_roots(requested)
        roots = requested or manifest.roots()
        indexed = manifest.files()
        manifest.remove_roots([root for root in roots if _is_gone(self._absolute(root))])
        files = {
            self._relative(file.path): file
            for root in roots
            for file in find_files(self._absolute(root), run.result.skipped)
        }
        readable = run.update(files, indexed)
        run.remove(
            {path: digest for path, (_, digest) in indexed.items() if path not in readable and _is_below(path, roots)}
        )
        return run.finish()

    def _open(self, manifest: Manifest) -> Store:
        """Open the table of the index, rebuilding the index if its version, its model or the space of the model differs."""
        metadata = manifest.metadata()
        model = self._requested_model or metadata.get("model") or CODE_MODEL
        is_current = metadata.get("format") == FORMAT and metadata["model"] == model
        # A model that is not loaded yet is checked when it is needed.
        if is_current and (self._embedder is None or self._embedder.fingerprint == metadata["fingerprint"]):
            space = Space(model, metadata["fingerprint"], int(metadata["dims"]))
            return open_collection(self._folder, manifest, space, report=self._report)
        if metadata:
            self._report(
                f"The index was built with {metadata.get('model')} in another version; every file is read again."
            )
        embedder = self._load_consented(model)
        return rebuild(self._folder, manifest, Space(model, embedder.fingerprint, embedder.dims))

    def _load_consented(self, model: str) -> Embedder:
        """Load the model, once, if the user named it or if it may be used without being named."""
        if self._embedder is None:
            if self._requested_model != model:
                require_consent(model, source=f"The index {self._folder}", option="-m")
            self._embedder = self._load(model)
        return self._embedder

    def _create_folder(self) -> None:
        try:
            claim_folder(self._folder, content="a code index")
            ignore = self._folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("# Created by umekomi code index; safe to delete.\n*\n")
        except OSError as error:
            raise InputError(
                f"The index cannot be stored in {self._folder}: {error.strerror}. Name another folder with --index."
            ) from error

    @contextmanager
    def _lock(self) -> Iterator[None]:
        lock = OutputLock(self._folder, purpose="umekomi code index", file=self._folder / "lock")
        deadline = time.monotonic() + self._wait_s
        reported = False
        while True:
            try:
                lock.acquire()
                break
            except OutputLockedError as error:
                if time.monotonic() >= deadline:
                    raise
                if not reported:
                    self._report(f"{error} Waiting …")
                    reported = True
                time.sleep(0.1)
        try:
            yield
        finally:
            lock.release()

    def _relative(self, path: Path) -> str:
        """Return a path relative to the parent of the index folder, so that both can be moved together."""
        return Path(os.path.relpath(path, self._base)).as_posix()

    def _absolute(self, path: str) -> Path:
        return Path(os.path.normpath(self._base / path))


def _is_gone(path: Path) -> bool:
    """Return whether a file or folder does not exist. One that is temporarily inaccessible still exists."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_below(path: str, roots: Iterable[str]) -> bool:
    return any(
        (root == "." and not path.startswith("../")) or path == root or path.startswith(f"{root}/") for root in roots
    )
