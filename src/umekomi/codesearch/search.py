"""Queries to a code index: in words, by example, or for near-duplicates."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..catalog import Role, load_catalog
from ..data.embedded_file import Space
from ..embedder import Embedder
from ..encoders.model_ids import require_consent
from ..errors import CollectionNotFoundError, InputError
from ..stores import Hit, Store, open_store
from ..stores.filters.language import And, Compare, In, Where
from ..vectors.arithmetic import FloatArray
from .files import format_path, is_utf8, parse_ignore_rules
from .storage import Manifest, collection_url

MIN_SIMILARITY = 0.8
"""Default for the minimum share of words that near-duplicates have in common."""

_MIN_LINES = 5


@dataclass(frozen=True, slots=True)
class CodeHit:
    """A chunk of a result. Lines of a notebook are counted in the concatenation of its code and Markdown cells."""

    #: Cosine similarity.
    score: float
    #: Path in the index, relative to the parent of its folder.
    path: str
    #: Absolute path.
    file: str
    #: First and last line, from 1.
    start: int
    end: int
    #: Type of the chunk, such as ``function``.
    kind: str
    lang: str
    #: Name with scope.
    name: str
    signature: str
    doc: str
    #: Lines of the chunk when it was indexed, from ``start``: at most 200 lines and 50,000 characters.
    source: str
    #: Number of the notebook cell, from 1. 0 outside notebooks.
    cell: int = 0


@dataclass(frozen=True, slots=True)
class DuplicateGroup:
    """Chunks that are near-duplicates of each other."""

    #: Minimum share of words that a chunk has in common with the first one.
    alike: float
    chunks: tuple[CodeHit, ...]


def get_query_model(model: str) -> str:
    """Return the model for queries to an index of ``model``, which is its counterpart if the model is one of a pair.

    >>> get_query_model("text-embedding-ada-002")
    'text-embedding-ada-002'
    """
    card = load_catalog().models.get(model)
    return card.pair if card is not None and card.pair and card.role is not Role.QUERY else model


class CodeIndex:
    """A code index for reading. Several processes may read it while another one writes.

    Args:
        folder: Folder of the index.
        embedder: Function that loads a model. Called at the first query.

    Raises:
        InputError: There is no index.
    """

    def __init__(self, folder: Path, *, embedder: Callable[[str], Embedder]) -> None:
        self.folder = Path(os.path.realpath(folder))
        if not os.path.isfile(self.folder / "manifest.db"):
            raise InputError(f"There is no index in {format_path(folder)}; create one with `umekomi code index PATH`.")
        self._manifest = Manifest(self.folder / "manifest.db")
        self._load = embedder
        self._embedder: Embedder | None = None
        self._store: Store | None = None

    @property
    def model(self) -> str:
        """The model of the vectors."""
        return self._manifest.metadata().get("model", "")

    def roots(self) -> tuple[Path, ...]:
        """Return the indexed files and folders."""
        return tuple(Path(os.path.normpath(self.folder.parent / root)) for root in self._manifest.roots())

    def info(self) -> dict[str, object]:
        """Return a description of the index as plain data."""
        metadata = self._manifest.metadata()
        chunks, rows = self._manifest.count()
        languages = self._manifest.count_languages()
        return {
            "folder": str(self.folder),
            "roots": self._manifest.roots(),
            "model": metadata.get("model", ""),
            "fingerprint": metadata.get("fingerprint", ""),
            "files": sum(languages.values()),
            "chunks": chunks,
            "vectors": rows,
            "languages": languages,
        }

    def search(
        self,
        query: str,
        *,
        n: int = 5,
        langs: Sequence[str] = (),
        paths: Sequence[str] = (),
        kinds: Sequence[str] = (),
    ) -> list[CodeHit]:
        """Return the ``n`` chunks that are most similar to a query, best first.

        Args:
            query: What to find, in words.
            n: Maximum number of chunks.
            langs: Only return chunks in these languages.
            paths: Only return chunks of files that match a pattern, as in .gitignore: ``tests/``, ``*.rs``, ``!*_test.go``.
            kinds: Only return chunks of these types, such as ``function``.

        Raises:
            InputError: The query is empty.
        """
        if not query.strip():
            raise InputError("The query is empty; describe what to find.")
        return self._nearest(self._embed(query), n, self._where(langs, paths, kinds))

    def similar(
        self,
        file: Path,
        line: int,
        *,
        n: int = 5,
        langs: Sequence[str] = (),
        paths: Sequence[str] = (),
        kinds: Sequence[str] = (),
    ) -> list[CodeHit]:
        """Return the ``n`` chunks that are most similar to the innermost chunk around a line, without that chunk.

        Args:
            file: An indexed file.
            line: Line in the file, from 1.
            n: Maximum number of chunks.
            langs: See :meth:`search`.
            paths: See :meth:`search`.
            kinds: See :meth:`search`.

        Raises:
            InputError: The file is not in the index, or no chunk contains the line.
        """
        name = Path(os.path.relpath(os.path.realpath(file), self.folder.parent)).as_posix()
        rows = self._manifest.rows_of(name) if is_utf8(name) else []
        if not rows:
            raise InputError(
                f"{format_path(file)} is not in the index; add it with `umekomi code index {format_path(file)}`."
            )
        containing = [row for row in rows if row.first <= line <= row.last and row.piece == 0]
        if not containing:
            first, last = min(row.first for row in rows), max(row.last for row in rows)
            raise InputError(
                f"Line {line} of {file} is in no function, class or section; its chunks are in lines {first} to {last}."
            )
        chunk = min(containing, key=lambda row: (row.last - row.first, row.id))
        vectors = self._open().get_vectors([chunk.id])
        hits = self._nearest(next(iter(vectors.values()))[None, :], n + 1, self._where(langs, paths, kinds))
        return [hit for hit in hits if (hit.path, hit.start, hit.end) != (name, chunk.first, chunk.last)][:n]

    def duplicates(
        self,
        *,
        alike: float = MIN_SIMILARITY,
        min_lines: int = _MIN_LINES,
        langs: Sequence[str] = (),
        paths: Sequence[str] = (),
    ) -> list[DuplicateGroup]:
        """Return groups of functions and methods that are near-duplicates, largest group first.

        Args:
            alike: Minimum share of words that two functions have in common, from 0 to 1.
            min_lines: Minimum number of lines of a function.
            langs: See :meth:`search`.
            paths: See :meth:`search`.

        Raises:
            InputError: ``alike`` is not between 0 and 1.
        """
        if not 0.0 < alike <= 1.0:
            raise InputError(f"The share of words is {alike}; it must be above 0 and at most 1.")
        matching = self._matching(paths) if paths else None
        chunks: list[CodeHit] = []
        for _, _, records in self._open().iterate(size=4096):
            for record in records.to_pylist():
                if (
                    record["kind"] in ("function", "method")
                    and record["piece"] == 0
                    and record["end"] - record["start"] + 1 >= min_lines
                    and (not langs or record["lang"] in langs)
                    and (matching is None or record["path"] in matching)
                ):
                    chunks.append(self._hit(1.0, record))
        return _group_duplicates(chunks, alike)

    def _embed(self, query: str) -> FloatArray:
        if self._embedder is None:
            model = require_consent(self.model, source=f"The index {self.folder}")
            self._embedder = self._load(get_query_model(model))
            space = Space(self._embedder.model, self._embedder.fingerprint, self._embedder.dims)
            self._open().require_space(space)
        return self._embedder.embed([query], role=Role.QUERY)

    def _open(self) -> Store:
        if self._store is None:
            try:
                self._store = open_store(collection_url(self.folder))
            except CollectionNotFoundError as error:
                raise InputError(f"The index in {self.folder} is empty; run `umekomi code index PATH`.") from error
        return self._store

    def _where(self, langs: Sequence[str], paths: Sequence[str], kinds: Sequence[str]) -> Where | None:
        parts: list[Where] = []
        if langs:
            parts.append(In("lang", tuple(langs)))
        if kinds:
            parts.append(In("kind", tuple(kinds)))
        if paths:
            names = sorted(self._matching(paths))
            # The filter language has no empty list, so use a condition that matches no row.
            parts.append(In("path", tuple(names)) if names else Compare("start", "<", 0))
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _matching(self, patterns: Sequence[str]) -> set[str]:
        try:
            plain = [pattern.removeprefix("./") for pattern in patterns]
            included = parse_ignore_rules([name for name in plain if not name.startswith("!")] or ["*"])
            excluded = parse_ignore_rules([name[1:] for name in plain if name.startswith("!")])
        except ValueError as error:
            raise InputError(
                f"--path {' '.join(patterns)!r} is not a valid pattern; write it as in .gitignore, like tests/ or *.rs."
            ) from error
        return {path for path in self._manifest.files() if included.match_file(path) and not excluded.match_file(path)}

    def _nearest(self, vector: FloatArray, n: int, where: Where | None) -> list[CodeHit]:
        """Return the ``n`` most similar chunks. The score of a chunk is that of its best piece."""
        k = 2 * n
        while True:
            hits = self._open().search(vector, k=k, where=where)[0]
            best: dict[tuple[object, ...], Hit] = {}
            for hit in hits:
                record = hit.record
                best.setdefault((record["path"], record["start"], record["end"], record["name"]), hit)
            if len(best) >= n or len(hits) < k:
                return [self._hit(hit.score, hit.record) for hit in list(best.values())[:n]]
            k *= 2

    def _hit(self, score: float, record: dict[str, object]) -> CodeHit:
        fields = {
            name: record[name]
            for name in ("path", "start", "end", "kind", "lang", "name", "signature", "doc", "source", "cell")
        }
        file = os.path.normpath(self.folder.parent / str(record["path"]))
        return CodeHit(score=round(score, 6), file=file, **fields)  # type: ignore[arg-type]


def _group_duplicates(chunks: list[CodeHit], alike: float) -> list[DuplicateGroup]:
    words = [Counter(re.findall(r"\w+|[^\w\s]", chunk.source)) for chunk in chunks]
    parent = list(range(len(chunks)))  # a disjoint-set forest

    def find_root(index: int) -> int:
        while parent[index] != index:
            parent[index] = parent[parent[index]]
            index = parent[index]
        return index

    for left, right in _candidates(words, alike):
        if (
            find_root(left) != find_root(right)
            and not _overlaps(chunks[left], chunks[right])
            and _similarity(words[left], words[right]) >= alike
        ):
            parent[find_root(right)] = find_root(left)
    members: dict[int, list[int]] = {}
    for index in range(len(chunks)):
        members.setdefault(find_root(index), []).append(index)
    groups = []
    for indices in members.values():
        if len(indices) > 1:
            indices.sort(key=lambda index: (chunks[index].path, chunks[index].start))
            similarity = min(_similarity(words[indices[0]], words[index]) for index in indices[1:])
            groups.append(DuplicateGroup(round(similarity, 4), tuple(chunks[index] for index in indices)))
    return sorted(
        groups, key=lambda group: (-len(group.chunks), -group.alike, group.chunks[0].path, group.chunks[0].start)
    )


def _overlaps(left: CodeHit, right: CodeHit) -> bool:
    """Return whether one function contains the other, which is no duplication."""
    return left.path == right.path and left.start <= right.end and right.start <= left.end


def _candidates(words: Sequence[Counter[str]], alike: float) -> Iterator[tuple[int, int]]:
    """Yield a superset of the pairs of texts whose similarity is at least ``alike``.

    Prefix filtering (Chaudhuri et al. 2006; Bayardo et al. 2007): if the words of each text are sorted from rare to frequent, two
    similar texts have one of their first words in common. Repeated words count as different words.
    """
    texts = [[(word, n) for word, count in text.items() for n in range(count)] for text in words]
    frequencies = Counter(word for text in texts for word in text)
    containing: dict[tuple[str, int], list[int]] = {}
    for index in sorted(range(len(texts)), key=lambda index: len(texts[index])):
        text = sorted(texts[index], key=lambda word: (frequencies[word], word))
        required = math.ceil(alike * len(text) - 1e-9)
        partners: set[int] = set()
        for word in text[: len(text) - required + 1]:
            others = containing.setdefault(word, [])
            partners.update(other for other in others if len(texts[other]) >= required)
            others.append(index)
        yield from ((other, index) for other in sorted(partners))


def _similarity(left: Counter[str], right: Counter[str]) -> float:
    """Return the share of words that two texts have in common, as the Jaccard index of multisets."""
    return (left & right).total() / max(1, (left | right).total())
