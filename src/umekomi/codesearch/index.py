"""Indexing of source files. Only changed files are split and embedded again."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..catalog import Role
from ..data.embedded_file import Space
from ..embedder import Embedder
from ..encoders.model_ids import require_consent
from ..errors import InputError, OutputLockedError, UmekomiError
from ..files.ownership import OutputLock, claim_folder
from ..stores import Store
from ..vectors.arithmetic import FloatArray
from .files import (
    SkipReason,
    SkipTally,
    SourceFile,
    SourceText,
    UnreadableError,
    find_files,
    find_repository,
    format_path,
    is_utf8,
    read_file,
    read_source,
)
from .parsing.chunks import Chunk
from .parsing.splitting import split_file, split_notebook
from .parsing.text import format_pieces
from .storage import FORMAT, IndexRow, Manifest, open_collection, rebuild

INDEX_FOLDER = ".umekomi"
CODE_MODEL = "code-search-babbage-code-001"
"""Default model of a new index."""

BATCH_PIECES = 1024
"""Pieces that are embedded and written together, rounded up to whole files. A kill loses at most this work."""

MAX_SOURCE_LINES, MAX_SOURCE_CHARS = 200, 50_000
"""Maximum number of lines and characters of a chunk that are stored with its vector for display."""

_MIN_ROWS_TO_OPTIMIZE = 2_000
_SKIPPED = "skip:"
"""Prefix of the digest of a skipped file, followed by a SkipReason and a detail."""

IndexProgress = Callable[[int, int, int], None]
"""Called with the number of files just examined, the total number of files, and the number of texts just embedded."""

_Piece = tuple[IndexRow, str, dict[str, object]]
"""Row, text and record of a piece."""


@dataclass(slots=True)
class IndexResult:
    """Result of a run."""

    #: Number of files of the index.
    files: int = 0
    #: Number of new, changed, removed and unchanged files.
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    #: Number of chunks of the index.
    chunks: int = 0
    #: Number of functions and methods in new and changed files.
    functions: int = 0
    #: Number of texts that were embedded.
    embedded: int = 0
    #: Number of rows whose vector was already in the index.
    reused: int = 0
    seconds: float = 0.0
    #: Files that were left out.
    skipped: SkipTally = field(default_factory=SkipTally)


@dataclass(slots=True)
class _ParsedFile:
    """A file that is new or has changed. A skipped file has no pieces."""

    path: str
    state: str
    digest: str
    lang: str = ""
    pieces: list[_Piece] = field(default_factory=list)
    functions: int = 0


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


class _SpaceChangedError(Exception):
    """The loaded model has another space than the index."""


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

    # State of the current run, set by `update`.
    _manifest: Manifest
    _store: Store
    _result: IndexResult
    _progress: IndexProgress
    space: Space

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
        with self._lock():
            self._manifest = Manifest(self._folder / "manifest.db")
            try:
                try:
                    return self._update(paths, progress)
                except _SpaceChangedError:
                    # The model was loaded during the run, and does not match the index. The second run rebuilds the index.
                    return self._update(paths, progress)
            finally:
                self._manifest.close()

    def _update(self, paths: Sequence[Path], progress: IndexProgress) -> IndexResult:
        manifest = self._manifest
        self._store = self._open()
        self._result = result = IndexResult()
        self._progress = progress
        requested = [self._relative(Path(os.path.realpath(path))) for path in paths]
        manifest.add_roots(requested)
        roots = requested or manifest.roots()
        indexed = manifest.files()
        manifest.remove_roots([root for root in roots if _is_gone(self._absolute(root))])
        files = {
            self._relative(file.path): file
            for root in roots
            for file in find_files(self._absolute(root), result.skipped)
        }
        seen: set[str] = set()
        batch: list[_ParsedFile] = []
        n_pieces = 0
        for file in self._parse_changed(files, indexed, seen):
            batch.append(file)
            n_pieces += len(file.pieces)
            if n_pieces >= BATCH_PIECES:
                self._write(batch)
                batch, n_pieces = [], 0
        self._write(batch)
        self._remove([path for path in indexed if path not in seen and _is_below(path, roots)], indexed)
        result.chunks, _ = manifest.count()
        if result.embedded + result.reused >= _MIN_ROWS_TO_OPTIMIZE:
            self._store.optimize()
        return result

    def _parse_changed(
        self, files: dict[str, SourceFile], indexed: dict[str, tuple[str, str]], seen: set[str]
    ) -> Iterator[_ParsedFile]:
        """Yield each file whose content differs from the index, and add the paths of all readable files to ``seen``."""
        new_states: list[tuple[str, str]] = []
        for path, file in files.items():
            self._progress(1, len(files), 0)
            if self._folder in file.path.parents:
                continue
            state, digest = indexed.get(path, ("", ""))
            if state == file.state and digest:
                seen.add(path)
                self._count_unchanged(digest, file.path)
                continue
            try:
                data = read_file(file.path)
            except OSError as error:
                self._result.skipped.add_error(error, file.path)
                continue
            seen.add(path)
            source, new_digest = _read(data, file.path)
            if new_digest == digest:
                new_states.append((path, file.state))
                self._count_unchanged(digest, file.path)
                continue
            parsed = _ParsedFile(path, file.state, new_digest)
            if source is not None:
                try:
                    parsed = _parse(path, file.state, new_digest, source)
                except UmekomiError:
                    raise
                except Exception as error:  # an error in one file must not stop the run
                    detail = f"it cannot be split into chunks ({type(error).__name__})"
                    parsed = _ParsedFile(path, file.state, _skip_digest(SkipReason.UNREADABLE, detail))
            if parsed.digest.startswith(_SKIPPED):
                self._count_unchanged(parsed.digest, file.path)
            else:
                self._result.files += 1
                self._result.added += not digest
                self._result.changed += bool(digest)
            yield parsed
        self._manifest.set_states(new_states)

    def _count_unchanged(self, digest: str, path: Path) -> None:
        """Count a file that is unchanged or skipped."""
        if digest.startswith(_SKIPPED):
            reason, _, detail = digest.removeprefix(_SKIPPED).partition(":")
            self._result.skipped.add(SkipReason(reason), path, detail)
        else:
            self._result.unchanged += 1
            self._result.files += 1

    def _write(self, files: list[_ParsedFile]) -> None:
        """Write the rows of some files, and delete rows that the files no longer contain."""
        if not files:
            return
        before = {row.id: row for file in files for row in self._manifest.rows_of(file.path)}
        after = {row.id for file in files for row, _, _ in file.pieces}
        pieces = [
            piece
            for file in files
            for piece in file.pieces
            if piece[0].id not in before or before[piece[0].id].record != piece[0].record
        ]
        stale = [row_id for row_id in before if row_id not in after]
        rows = [row for row, _, _ in pieces]
        vectors = self._embed(pieces)
        self._manifest.begin([(row.id, row.path) for row in (*rows, *(before[row_id] for row_id in stale))])
        if pieces:
            self._store.upsert([row.id for row in rows], vectors, [record for _, _, record in pieces])
        if stale:
            self._store.delete(stale)
        self._manifest.commit([(file.path, file.state, file.digest, file.lang) for file in files], rows, stale)
        self._result.functions += sum(file.functions for file in files)

    def _embed(self, pieces: list[_Piece]) -> FloatArray:
        """Return the vectors of the pieces, from the index if it contains the same text, otherwise from the model."""
        texts = {row.text: text for row, text, _ in pieces}
        sources = self._manifest.find_vectors(texts)
        stored = self._store.get_vectors(sorted(set(sources.values())))
        vectors = {text: stored[row_id] for text, row_id in sources.items() if row_id in stored}
        new = [text for text in texts if text not in vectors]
        if new:
            embedder = self._embedder = self._embedder or self._load(self._consented(self.space.model))
            if embedder.fingerprint != self.space.fingerprint:
                raise _SpaceChangedError
            embedded = embedder.embed(
                [embedder.tokenizer.truncate(texts[text], embedder.card.max_tokens) for text in new],
                role=Role.DOCUMENT,
                progress=lambda count: self._progress(0, 0, count),
            )
            vectors |= dict(zip(new, embedded, strict=True))
        self._result.embedded += len(new)
        self._result.reused += len(pieces) - len(new)
        if not pieces:
            return np.empty((0, self.space.dims), np.float32)
        return np.stack([vectors[row.text] for row, _, _ in pieces])

    def _remove(self, paths: list[str], indexed: dict[str, tuple[str, str]]) -> None:
        """Remove files from the index."""
        if not paths:
            return
        rows = [row for path in paths for row in self._manifest.rows_of(path)]
        self._manifest.begin([(row.id, row.path) for row in rows])
        self._store.delete([row.id for row in rows])
        self._manifest.commit(removed_ids=[row.id for row in rows], removed_paths=paths)
        self._result.removed += sum(not indexed[path][1].startswith(_SKIPPED) for path in paths)

    def _open(self) -> Store:
        """Open the table of the index, rebuilding the index if its version, its model or the space of the model differs."""
        metadata = self._manifest.metadata()
        model = self._requested_model or metadata.get("model") or CODE_MODEL
        if metadata and metadata.get("format") == FORMAT and metadata["model"] == model:
            self.space = Space(model, metadata["fingerprint"], int(metadata["dims"]))
            # A model that is not loaded yet is checked when it is needed.
            if self._embedder is None or self._embedder.fingerprint == metadata["fingerprint"]:
                return open_collection(self._folder, self._manifest, self.space, report=self._report)
        if metadata:
            self._report(
                f"The index was built with {metadata.get('model')} in another version; every file is read again."
            )
        self._embedder = self._embedder or self._load(self._consented(model))
        self.space = Space(model, self._embedder.fingerprint, self._embedder.dims)
        return rebuild(self._folder, self._manifest, self.space)

    def _consented(self, model: str) -> str:
        """Return the model if the user named it, or if it may be used without being named."""
        if self._requested_model == model:
            return model
        return require_consent(model, source=f"The index {self._folder}", option="-m")

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


def _read(data: bytes, path: Path) -> tuple[SourceText | None, str]:
    """Return the text and the digest of a file. For a skipped file, the text is None and the digest contains the reason."""
    try:
        source = read_source(data, path)
    except UnreadableError as error:
        return None, _skip_digest(SkipReason.UNREADABLE, str(error))
    except Exception as error:  # an error in one file must not stop the run
        return None, _skip_digest(SkipReason.UNREADABLE, f"its text cannot be read ({type(error).__name__})")
    if isinstance(source, SkipReason):
        return None, _skip_digest(source)
    return source, hashlib.blake2b(data, digest_size=16).hexdigest()


def _skip_digest(reason: SkipReason, detail: str = "") -> str:
    return f"{_SKIPPED}{reason}:{detail}" if detail else f"{_SKIPPED}{reason}"


def _parse(path: str, state: str, digest: str, source: SourceText) -> _ParsedFile:
    """Split a file into chunks and pieces."""
    text, lang, notebook = source
    lines = text.split("\n")
    file = _ParsedFile(path, state, digest, lang)
    occurrences: Counter[str] = Counter()
    for chunk in split_notebook(notebook) if notebook else split_file(text, lang):
        file.functions += chunk.type in ("function", "method")
        for number, piece in enumerate(format_pieces(chunk)):
            text_hash = _hash(piece)
            occurrences[text_hash] += 1
            record = _make_record(path, lang, chunk, lines, number)
            row = IndexRow(
                id=_hash(f"{path}\0{text_hash}\0{occurrences[text_hash]}"),
                path=path,
                text=text_hash,
                record=_hash(json.dumps(record, ensure_ascii=False)),
                first=chunk.start,
                last=chunk.end,
                piece=number,
            )
            file.pieces.append((row, piece, record))
    return file


def _make_record(path: str, lang: str, chunk: Chunk, lines: list[str], piece: int) -> dict[str, object]:
    last = min(chunk.end, chunk.start - 1 + MAX_SOURCE_LINES)
    return {
        "path": path,
        "lang": chunk.lang or lang,
        "cell": chunk.cell,
        "kind": str(chunk.type),
        "name": chunk.qualified,
        "signature": chunk.signature,
        "doc": chunk.doc[:2000],
        "start": chunk.start,
        "end": chunk.end,
        "piece": piece,
        "source": "\n".join(lines[chunk.start - 1 : last])[:MAX_SOURCE_CHARS],
    }


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


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
