"""One run of the code indexer: it splits changed files into pieces, embeds them, and writes their rows."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..catalog import Role
from ..embedder import Embedder
from ..errors import UmekomiError
from ..stores import Store
from ..vectors.arithmetic import FloatArray
from .files import SkipReason, SkipTally, SourceFile, SourceText, UnreadableError, read_file, read_source
from .parsing.chunks import Chunk
from .parsing.splitting import split_file, split_notebook
from .parsing.text import format_pieces
from .storage import IndexRow, Manifest

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


class SpaceChangedError(Exception):
    """The loaded model has another space than the index."""


class IndexRun:
    """One run over the files of an index.

    Args:
        folder: Folder of the index, whose own files are never indexed.
        manifest: Manifest of the index.
        store: Table of the index.
        load: Function that loads the model of the index. Called only if something must be embedded.
        progress: Progress callback.
    """

    def __init__(
        self,
        folder: Path,
        manifest: Manifest,
        store: Store,
        *,
        load: Callable[[str], Embedder],
        progress: IndexProgress,
    ) -> None:
        self.result = IndexResult()
        self._folder = folder
        self._manifest = manifest
        self._store = store
        self._load = load
        self._progress = progress

    def update(self, files: Mapping[str, SourceFile], indexed: Mapping[str, tuple[str, str]]) -> set[str]:
        """Write the rows of new and changed files, and return the paths of all readable files.

        Args:
            files: Files by their path in the index.
            indexed: State and digest of each file of the index.

        Raises:
            SpaceChangedError: The loaded model has another space than the index.
        """
        readable: set[str] = set()
        batch: list[_ParsedFile] = []
        n_pieces = 0
        for file in self._parse_changed(files, indexed, readable):
            batch.append(file)
            n_pieces += len(file.pieces)
            if n_pieces >= BATCH_PIECES:
                self._write(batch)
                batch, n_pieces = [], 0
        self._write(batch)
        return readable

    def remove(self, digests: Mapping[str, str]) -> None:
        """Remove files, given with their digests, from the index."""
        if not digests:
            return
        rows = [row for path in digests for row in self._manifest.rows_of(path)]
        self._manifest.begin([(row.id, row.path) for row in rows])
        self._store.delete([row.id for row in rows])
        self._manifest.commit(removed_ids=[row.id for row in rows], removed_paths=list(digests))
        self.result.removed += sum(not digest.startswith(_SKIPPED) for digest in digests.values())

    def finish(self) -> IndexResult:
        """Optimize the table after many changes, and return the result of the run."""
        self.result.chunks, _ = self._manifest.count()
        if self.result.embedded + self.result.reused >= _MIN_ROWS_TO_OPTIMIZE:
            self._store.optimize()
        return self.result

    def _parse_changed(
        self, files: Mapping[str, SourceFile], indexed: Mapping[str, tuple[str, str]], readable: set[str]
    ) -> Iterator[_ParsedFile]:
        """Yield each file whose content differs from the index, and add the paths of all readable files to ``readable``."""
        new_states: list[tuple[str, str]] = []
        for path, file in files.items():
            self._progress(1, len(files), 0)
            if self._folder in file.path.parents:
                continue
            state, digest = indexed.get(path, ("", ""))
            if state == file.state and digest:
                readable.add(path)
                self._count_unchanged(digest, file.path)
                continue
            try:
                data = read_file(file.path)
            except OSError as error:
                self.result.skipped.add_error(error, file.path)
                continue
            readable.add(path)
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
                self.result.files += 1
                self.result.added += not digest
                self.result.changed += bool(digest)
            yield parsed
        self._manifest.set_states(new_states)

    def _count_unchanged(self, digest: str, path: Path) -> None:
        """Count a file that is unchanged or skipped."""
        if digest.startswith(_SKIPPED):
            reason, _, detail = digest.removeprefix(_SKIPPED).partition(":")
            self.result.skipped.add(SkipReason(reason), path, detail)
        else:
            self.result.unchanged += 1
            self.result.files += 1

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
        self.result.functions += sum(file.functions for file in files)

    def _embed(self, pieces: list[_Piece]) -> FloatArray:
        """Return the vectors of the pieces, from the index if it contains the same text, otherwise from the model."""
        space = self._store.space
        texts = {row.text: text for row, text, _ in pieces}
        sources = self._manifest.find_vectors(texts)
        stored = self._store.get_vectors(sorted(set(sources.values())))
        vectors = {text: stored[row_id] for text, row_id in sources.items() if row_id in stored}
        new = [text for text in texts if text not in vectors]
        if new:
            embedder = self._load(space.model)
            if embedder.fingerprint != space.fingerprint:
                raise SpaceChangedError
            embedded = embedder.embed(
                [embedder.tokenizer.truncate(texts[text], embedder.card.max_tokens) for text in new],
                role=Role.DOCUMENT,
                progress=lambda count: self._progress(0, 0, count),
            )
            vectors |= dict(zip(new, embedded, strict=True))
        self.result.embedded += len(new)
        self.result.reused += len(pieces) - len(new)
        if not pieces:
            return np.empty((0, space.dims), np.float32)
        return np.stack([vectors[row.text] for row, _, _ in pieces])


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


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
