"""Keeping an index of source files: what changed is cut and embedded again, the rest is left as it is."""

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
from .collection import open_collection, rebuild
from .files import (
    Found,
    Skip,
    Source,
    Tally,
    UnreadableError,
    find_files,
    is_utf8,
    printable,
    read_file,
    read_source,
    repository_of,
)
from .manifest import FORMAT, Manifest, Row
from .parsing.chunks import Chunk
from .parsing.splitting import cut_file, cut_notebook
from .parsing.text import piece_texts

FOLDER = ".umekomi"
CODE_MODEL = "code-search-babbage-code-001"

BATCH_PIECES = 1024
"""Pieces that are embedded and made safe at once, in whole files: what a kill costs at most."""

SOURCE_LINES = 200
"""Lines of a chunk that are kept beside its vector, to be shown."""

SOURCE_CHARS = 50_000
"""Characters of those lines, for files with very long ones."""

_OPTIMIZE_FROM = 2_000
_SKIPPED = "skip:"
"""Prefix of what the manifest stores in place of the hash of a file whose content was left out: a Skip and a detail."""

Say = Callable[[str], None]
IndexProgress = Callable[[int, int, int], None]
"""Told of files that have just been looked through, how many there are in all, and texts that have just been embedded."""


@dataclass(slots=True)
class Report:
    """What a run did: files by what became of them, and rows embedded anew or with a vector that was known."""

    files: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    chunks: int = 0
    functions: int = 0
    embedded: int = 0
    reused: int = 0
    seconds: float = 0.0
    skipped: Tally = field(default_factory=Tally)


@dataclass(slots=True)
class _File:
    name: str
    state: str
    digest: str
    lang: str
    pieces: list[tuple[Row, str, dict[str, object]]]
    functions: int


def index_folder(start: Path) -> Path:
    """Where the index is kept: ``.umekomi`` of the folder, of the nearest one above that has it, else of the repository."""
    start = Path(os.path.realpath(start))
    there = next(
        (folder / FOLDER for folder in (start, *start.parents) if os.path.isfile(folder / FOLDER / "manifest.db")), None
    )
    return there or (repository_of(start) or start) / FOLDER


class _AnotherSpace(Exception):  # noqa: N818 - never seen outside
    pass


class CodeIndexer:
    """Writes the index of one folder.

    Args:
        folder: where the index is kept; made if it is not there. Paths in it are relative to the folder around it.
        embedder: the model, loaded when something must be embedded: a run that finds nothing new needs none.
        model: the model's id; None goes on with the one that the index has.
        say: told in a line of what the user should know.
        wait_s: How long to wait for another indexer, in seconds.

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
        say: Say = lambda line: None,
        wait_s: float = 0.0,
    ) -> None:
        self._folder = Path(os.path.realpath(folder))
        if not is_utf8(str(self._folder)):
            raise InputError(f"The name {printable(self._folder)} is not UTF-8. Name another folder with --index.")
        self._base = self._folder.parent
        self._load = embedder
        self._wanted = model
        self._say = say
        self._wait_s = wait_s
        self._embedder: Embedder | None = None

    def update(
        self, paths: Sequence[Path] = (), *, progress: IndexProgress = lambda files, total, texts: None
    ) -> Report:
        """Bring the index up to date with these files and folders; with all that it has, where none are named.

        Raises:
            InputError: a path is not there, or nothing is named and the index is new.
        """
        for path in paths:
            if not os.path.exists(path):
                raise InputError(f"There is no file or folder {printable(path)}; check the path.")
            if not is_utf8(str(path)):
                raise InputError(f"The name {printable(path)} is not UTF-8, so the index cannot store it. Rename it.")
        if not paths and not (self._folder / "manifest.db").is_file():
            raise InputError("Name the folders to index, as `umekomi code index .`")
        self._make_folder()
        with self._alone():
            manifest = Manifest(self._folder / "manifest.db")
            try:
                try:
                    return self._update(manifest, paths, progress)
                except _AnotherSpace:
                    # The model that was loaded for what is new is not the one that made the index: begin again with it.
                    return self._update(manifest, paths, progress)
            finally:
                manifest.close()

    def _update(self, manifest: Manifest, paths: Sequence[Path], progress: IndexProgress) -> Report:
        store = self._open(manifest)
        named = [self._name(Path(os.path.realpath(path))) for path in paths]
        manifest.add_roots(named)
        roots = named or manifest.roots()
        report = Report()
        known = manifest.files()
        seen: set[str] = set()
        stale: list[tuple[str, str]] = []
        manifest.forget_roots([root for root in roots if _is_gone(self._path(root))])
        found = {self._name(one.path): one for root in roots for one in find_files(self._path(root), report.skipped)}
        waiting: list[_File] = []
        size = 0
        for file in self._changed(found, known, seen, stale, report, progress):
            waiting.append(file)
            size += len(file.pieces)
            if size >= BATCH_PIECES:
                self._write(manifest, store, waiting, report, progress)
                waiting, size = [], 0
        self._write(manifest, store, waiting, report, progress)
        manifest.touch(stale)
        missing = [path for path in known if path not in seen and _below(path, roots)]
        self._remove(manifest, store, missing, known, report)
        report.chunks, _ = manifest.count()
        if report.embedded + report.reused >= _OPTIMIZE_FROM:
            store.optimize()
        return report

    def _changed(
        self,
        found: dict[str, Found],
        known: dict[str, tuple[str, str]],
        seen: set[str],
        stale: list[tuple[str, str]],
        report: Report,
        progress: IndexProgress,
    ) -> Iterator[_File]:
        """Each file whose bytes are not those that the index has, cut to pieces."""
        for name, one in found.items():
            progress(1, len(found), 0)
            if self._folder in one.path.parents:
                continue
            state, digest = known.get(name, ("", ""))
            if state == one.state and digest:
                seen.add(name)
                self._count_known(digest, one.path, report)
                continue
            try:
                data = read_file(one.path)
            except OSError as error:
                report.skipped.add_error(error, one.path)
                continue
            seen.add(name)
            source, fresh = _read(data, one.path)
            if fresh == digest:
                stale.append((name, one.state))
                self._count_known(digest, one.path, report)
                continue
            if source is not None:
                try:
                    file = self._cut(name, one.state, fresh, source)
                except UmekomiError:
                    raise
                except Exception as error:  # no content of one file may keep all others out of the index
                    fresh = _left_out(Skip.UNREADABLE, f"it cannot be cut into chunks ({type(error).__name__})")
                    source = None
            if source is None:
                self._count_known(fresh, one.path, report)
                yield _File(name, one.state, fresh, "", [], 0)
            else:
                report.files += 1
                report.added += not digest
                report.changed += bool(digest)
                yield file

    @staticmethod
    def _count_known(digest: str, path: Path, report: Report) -> None:
        if digest.startswith(_SKIPPED):
            reason, _, detail = digest.removeprefix(_SKIPPED).partition(":")
            report.skipped.add(Skip(reason), path, detail)
        else:
            report.unchanged += 1
            report.files += 1

    def _cut(self, name: str, state: str, digest: str, source: Source) -> _File:
        text, lang, notebook = source
        lines = text.split("\n")
        pieces: list[tuple[Row, str, dict[str, object]]] = []
        again: Counter[str] = Counter()
        functions = 0
        for chunk in cut_notebook(notebook) if notebook else cut_file(text, lang):
            functions += chunk.kind in ("function", "method")
            for number, piece in enumerate(piece_texts(chunk)):
                key = _hash(piece)
                again[key] += 1
                record = _record(name, lang, chunk, lines, number)
                row = Row(
                    id=_hash(f"{name}\0{key}\0{again[key]}"),
                    path=name,
                    text=key,
                    record=_hash(json.dumps(record, ensure_ascii=False)),
                    first=chunk.start,
                    last=chunk.end,
                    piece=number,
                )
                pieces.append((row, piece, record))
        return _File(name, state, digest, lang, pieces, functions)

    def _write(
        self, manifest: Manifest, store: Store, files: list[_File], report: Report, progress: IndexProgress
    ) -> None:
        if not files:
            return
        before = {row.id: row for file in files for row in manifest.rows_of(file.name)}
        after = {row.id for file in files for row, _, _ in file.pieces}
        pieces = [
            piece
            for file in files
            for piece in file.pieces
            if piece[0].id not in before or before[piece[0].id].record != piece[0].record
        ]
        gone = [name for name in before if name not in after]
        vectors = self._vectors(manifest, store, pieces, report, progress)
        manifest.begin([(row.id, row.path) for row, _, _ in pieces] + [(name, before[name].path) for name in gone])
        if pieces:
            store.upsert([row.id for row, _, _ in pieces], vectors, [record for _, _, record in pieces])
        if gone:
            store.delete(gone)
        manifest.done(
            [(file.name, file.state, file.digest, file.lang) for file in files],
            [row for row, _, _ in pieces],
            gone,
        )
        report.functions += sum(file.functions for file in files)

    def _vectors(
        self,
        manifest: Manifest,
        store: Store,
        pieces: list[tuple[Row, str, dict[str, object]]],
        report: Report,
        progress: IndexProgress,
    ) -> FloatArray:
        """The vectors of pieces, from the index where the same text is in it, else from the model."""
        texts = {row.text: text for row, text, _ in pieces}
        holders = manifest.holders(texts)
        kept = store.get_vectors(sorted(set(holders.values())))
        vectors = {text: kept[name] for text, name in holders.items() if name in kept}
        new = [key for key in texts if key not in vectors]
        if new:
            self._embedder = self._embedder or self._load(self._consented(self.space.model))
            if self._embedder.fingerprint != self.space.fingerprint:
                raise _AnotherSpace
            found = self._embedder.embed(
                [_fitting(self._embedder, texts[key]) for key in new],
                role=Role.DOCUMENT,
                progress=lambda count: progress(0, 0, count),
            )
            vectors |= dict(zip(new, found, strict=True))
        report.embedded += len(new)
        report.reused += len(pieces) - len(new)
        if not pieces:
            return np.empty((0, self.space.dims), np.float32)
        return np.stack([vectors[row.text] for row, _, _ in pieces])

    def _remove(
        self, manifest: Manifest, store: Store, missing: list[str], known: dict[str, tuple[str, str]], report: Report
    ) -> None:
        rows = [row for path in missing for row in manifest.rows_of(path)]
        if not missing:
            return
        manifest.begin([(row.id, row.path) for row in rows])
        store.delete([row.id for row in rows])
        manifest.done([], [], [row.id for row in rows], missing)
        report.removed += sum(not known[path][1].startswith(_SKIPPED) for path in missing)

    def _open(self, manifest: Manifest) -> Store:
        """Open the collection, and make it and the manifest agree, whatever happened to either since the last run."""
        about = manifest.about()
        model = self._wanted or about.get("model") or CODE_MODEL
        if about and about.get("format") == FORMAT and about["model"] == model:
            self.space = Space(model, about["fingerprint"], int(about["dims"]))
            if self._is_current(about["fingerprint"], model):
                return open_collection(self._folder, manifest, self.space, say=self._say)
        if about:
            self._say(f"The index was made by {about.get('model')} in another version; every file is read again.")
        self._embedder = self._embedder or self._load(self._consented(model))
        self.space = Space(model, self._embedder.fingerprint, self._embedder.dims)
        return rebuild(self._folder, manifest, self.space)

    def _consented(self, model: str) -> str:
        if self._wanted == model:
            return model
        return require_consent(model, source=f"The index {self._folder}", option="-m")

    def _is_current(self, fingerprint: str, model: str) -> bool:
        """Whether a loaded model's space is the index's; one that is not loaded is checked when it is needed."""
        if self._embedder is None:
            return True
        return self._embedder.fingerprint == fingerprint

    def _make_folder(self) -> None:
        try:
            claim_folder(self._folder, content="a code index")
            ignore = self._folder / ".gitignore"
            if not ignore.exists():
                ignore.write_text("# Made by umekomi code index; safe to delete.\n*\n")
        except OSError as error:
            raise InputError(
                f"The index cannot be kept in {self._folder}: {error.strerror}. Name another folder with --index."
            ) from error

    @contextmanager
    def _alone(self) -> Iterator[None]:
        lock = OutputLock(self._folder, purpose="umekomi code index", file=self._folder / "lock")
        until = time.monotonic() + self._wait_s
        told = False
        while True:
            try:
                lock.acquire()
                break
            except OutputLockedError as error:
                if time.monotonic() >= until:
                    raise
                if not told:
                    self._say(f"{error} Waiting …")
                    told = True
                time.sleep(0.1)
        try:
            yield
        finally:
            lock.release()

    def _name(self, path: Path) -> str:
        """A path as the index has it: relative to the folder around the index, wherever both are moved."""
        return Path(os.path.relpath(path, self._base)).as_posix()

    def _path(self, name: str) -> Path:
        return Path(os.path.normpath(self._base / name))


def _fitting(embedder: Embedder, text: str) -> str:
    return embedder.tokenizer.truncate(text, embedder.card.max_tokens)


def _read(data: bytes, path: Path) -> tuple[Source | None, str]:
    """The text of a file and its hash, or None and why it is left out, as the manifest stores it."""
    try:
        source = read_source(data, path)
    except UnreadableError as error:
        return None, _left_out(Skip.UNREADABLE, str(error))
    except Exception as error:  # no content of one file may keep all others out of the index
        return None, _left_out(Skip.UNREADABLE, f"its text cannot be read ({type(error).__name__})")
    if isinstance(source, Skip):
        return None, _left_out(source)
    return source, hashlib.blake2b(data, digest_size=16).hexdigest()


def _left_out(reason: Skip, detail: str = "") -> str:
    return f"{_SKIPPED}{reason}:{detail}" if detail else f"{_SKIPPED}{reason}"


def _is_gone(path: Path) -> bool:
    """Whether there is no such file or folder. One that cannot be reached at the moment is not gone."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _below(path: str, roots: Iterable[str]) -> bool:
    return any(
        (root == "." and not path.startswith("../")) or path == root or path.startswith(f"{root}/") for root in roots
    )


def _record(path: str, lang: str, chunk: Chunk, lines: list[str], piece: int) -> dict[str, object]:
    source = "\n".join(lines[chunk.start - 1 : min(chunk.end, chunk.start - 1 + SOURCE_LINES)])[:SOURCE_CHARS]
    return {
        "path": path,
        "lang": chunk.lang or lang,
        "cell": chunk.cell,
        "kind": str(chunk.kind),
        "name": chunk.qualified,
        "signature": chunk.signature,
        "doc": chunk.doc[:2000],
        "start": chunk.start,
        "end": chunk.end,
        "piece": piece,
        "source": source,
    }


def _hash(text: str) -> str:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
