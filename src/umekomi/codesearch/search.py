"""Code search: an index of source files asked in plain words, by example, or for near-copies of itself."""

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
from .collection import store_url
from .files import ignore_rules, is_utf8, printable
from .manifest import Manifest

NEAR_COPY = 0.8
"""The share of words that two near-copies have in common, by default."""

_MIN_LINES = 5


@dataclass(frozen=True, slots=True)
class CodeHit:
    """A found chunk. ``score`` is the cosine similarity; ``path`` is as the index has it, ``file`` where it is on this machine.

    ``source`` contains its lines as they were when they were indexed, from ``start``; of a long chunk the first 200 lines and
    50,000 characters. ``cell`` is the number of the notebook's cell, from 1, and 0 outside of notebooks. Lines of a notebook are
    counted through the sources of its code and Markdown cells.
    """

    score: float
    path: str
    file: str
    start: int
    end: int
    kind: str
    lang: str
    name: str
    signature: str
    doc: str
    source: str
    cell: int = 0


@dataclass(frozen=True, slots=True)
class Copies:
    """Chunks that are near-copies; ``alike`` is the least share of words that one of them has in common with the first."""

    alike: float
    chunks: tuple[CodeHit, ...]


def query_model(model: str) -> str:
    """The model that embeds the questions to an index that ``model`` made: the text half of a pair.

    >>> query_model("text-embedding-ada-002")
    'text-embedding-ada-002'
    """
    card = load_catalog().models.get(model)
    return card.pair if card is not None and card.pair and card.role is not Role.QUERY else model


class CodeIndex:
    """An index for reading; several processes may read while another writes.

    Args:
        folder: where it is kept.
        embedder: gives the model of an id; called at the first question.

    Raises:
        InputError: there is no index.
    """

    def __init__(self, folder: Path, *, embedder: Callable[[str], Embedder]) -> None:
        self.folder = Path(os.path.realpath(folder))
        if not os.path.isfile(self.folder / "manifest.db"):
            raise InputError(f"There is no index in {printable(folder)}; make one with `umekomi code index PATH`.")
        self._manifest = Manifest(self.folder / "manifest.db")
        self._load = embedder
        self._embedder: Embedder | None = None
        self._store: Store | None = None

    @property
    def model(self) -> str:
        """The model that made the index."""
        return self._manifest.about().get("model", "")

    def roots(self) -> tuple[Path, ...]:
        """The files and folders that the index is made of."""
        return tuple(Path(os.path.normpath(self.folder.parent / root)) for root in self._manifest.roots())

    def info(self) -> dict[str, object]:
        """What the index holds, as plain data."""
        about = self._manifest.about()
        chunks, rows = self._manifest.count()
        languages = self._manifest.languages()
        return {
            "folder": str(self.folder),
            "roots": self._manifest.roots(),
            "model": about.get("model", ""),
            "fingerprint": about.get("fingerprint", ""),
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
        """The ``n`` chunks nearest to a question in words, nearest first.

        Args:
            query: the question.
            langs: only these languages.
            paths: only files that match one of these patterns, written as in .gitignore: ``tests/``, ``*.rs``, ``!*_test.go``.
            kinds: only these kinds, as ``function``.

        Raises:
            InputError: the question is empty.
        """
        if not query.strip():
            raise InputError("The query is empty; say in words what to find.")
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
        """The chunks nearest to the one that a line of an indexed file is in, itself left out.

        Raises:
            InputError: the file is not in the index, or no chunk holds the line.
        """
        name = Path(os.path.relpath(os.path.realpath(file), self.folder.parent)).as_posix()
        rows = self._manifest.rows_of(name) if is_utf8(name) else []
        if not rows:
            raise InputError(
                f"{printable(file)} is not in the index; bring it in with `umekomi code index {printable(file)}`."
            )
        around = [row for row in rows if row.first <= line <= row.last and row.piece == 0]
        if not around:
            first, last = min(row.first for row in rows), max(row.last for row in rows)
            raise InputError(
                f"Line {line} of {file} is in no function, class or section; its chunks are in lines {first} to {last}."
            )
        own = min(around, key=lambda row: (row.last - row.first, row.id))
        vectors = self._open().get_vectors([own.id])
        hits = self._nearest(next(iter(vectors.values()))[None, :], n + 1, self._where(langs, paths, kinds))
        return [hit for hit in hits if (hit.path, hit.start, hit.end) != (name, own.first, own.last)][:n]

    def duplicates(
        self,
        *,
        alike: float = NEAR_COPY,
        min_lines: int = _MIN_LINES,
        langs: Sequence[str] = (),
        paths: Sequence[str] = (),
    ) -> list[Copies]:
        """Functions and methods that are near-copies of others, in groups, the largest first.

        Raises:
            InputError: ``alike`` is not between 0 and 1.
        """
        if not 0.0 < alike <= 1.0:
            raise InputError(f"The share of words is {alike}; it must be above 0 and at most 1.")
        wanted = self._matching(paths) if paths else None
        chunks: list[CodeHit] = []
        for _, _, records in self._open().iterate(size=4096):
            for record in records.to_pylist():
                if (
                    record["kind"] in ("function", "method")
                    and record["piece"] == 0
                    and record["end"] - record["start"] + 1 >= min_lines
                    and (not langs or record["lang"] in langs)
                    and (wanted is None or record["path"] in wanted)
                ):
                    chunks.append(self._hit(1.0, record))
        return _groups(chunks, alike)

    def _embed(self, query: str) -> FloatArray:
        if self._embedder is None:
            model = require_consent(self.model, source=f"The index {self.folder}")
            self._embedder = self._load(query_model(model))
            space = Space(self._embedder.model, self._embedder.fingerprint, self._embedder.dims)
            self._open().require_space(space)
        return self._embedder.embed([query], role=Role.QUERY)

    def _open(self) -> Store:
        if self._store is None:
            try:
                self._store = open_store(store_url(self.folder))
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
            # A filter has one value at least: of no file there is none.
            parts.append(In("path", tuple(names)) if names else Compare("start", "<", 0))
        if not parts:
            return None
        return parts[0] if len(parts) == 1 else And(tuple(parts))

    def _matching(self, patterns: Sequence[str]) -> set[str]:
        try:
            plain = [pattern.removeprefix("./") for pattern in patterns]
            wanted = ignore_rules([name for name in plain if not name.startswith("!")] or ["*"])
            unwanted = ignore_rules([name[1:] for name in plain if name.startswith("!")])
        except ValueError as error:
            raise InputError(
                f"--path {' '.join(patterns)!r} is no pattern; write it as in .gitignore, like tests/ or *.rs."
            ) from error
        return {path for path in self._manifest.files() if wanted.match_file(path) and not unwanted.match_file(path)}

    def _nearest(self, vector: FloatArray, n: int, where: Where | None) -> list[CodeHit]:
        """The ``n`` nearest chunks: of the pieces of each, the best."""
        wanted = n
        while True:
            hits = self._open().search(vector, k=2 * wanted, where=where)[0]
            best: dict[tuple[object, ...], Hit] = {}
            for hit in hits:
                record = hit.record
                best.setdefault((record["path"], record["start"], record["end"], record["name"]), hit)
            if len(best) >= n or len(hits) < 2 * wanted:
                return [self._hit(hit.score, hit.record) for hit in list(best.values())[:n]]
            wanted *= 2

    def _hit(self, score: float, record: dict[str, object]) -> CodeHit:
        facts = {
            name: record[name]
            for name in ("path", "start", "end", "kind", "lang", "name", "signature", "doc", "source", "cell")
        }
        file = os.path.normpath(self.folder.parent / str(record["path"]))
        return CodeHit(score=round(score, 6), file=file, **facts)  # type: ignore[arg-type]


def _groups(chunks: list[CodeHit], alike: float) -> list[Copies]:
    words = [Counter(re.findall(r"\w+|[^\w\s]", chunk.source)) for chunk in chunks]
    group = list(range(len(chunks)))

    def top(place: int) -> int:
        while group[place] != place:
            group[place] = group[group[place]]
            place = group[place]
        return place

    for left, right in _candidates(words, alike):
        if (
            top(left) != top(right)
            and not _is_part(chunks[left], chunks[right])
            and _share(words[left], words[right]) >= alike
        ):
            group[top(right)] = top(left)
    members: dict[int, list[int]] = {}
    for place in range(len(chunks)):
        members.setdefault(top(place), []).append(place)
    found = []
    for places in members.values():
        if len(places) > 1:
            places.sort(key=lambda place: (chunks[place].path, chunks[place].start))
            least = min(_share(words[places[0]], words[place]) for place in places[1:])
            found.append(Copies(round(least, 4), tuple(chunks[place] for place in places)))
    return sorted(
        found, key=lambda copies: (-len(copies.chunks), -copies.alike, copies.chunks[0].path, copies.chunks[0].start)
    )


def _is_part(one: CodeHit, other: CodeHit) -> bool:
    """Whether one function is inside of the other: it is part of it, not a copy."""
    return one.path == other.path and one.start <= other.end and other.start <= one.end


def _candidates(words: Sequence[Counter[str]], alike: float) -> Iterator[tuple[int, int]]:
    """Pairs of texts that may have a share of ``alike`` in common; no other pair has.

    Prefix filtering (Chaudhuri et al. 2006; Bayardo et al. 2007): with the words of each in the order of how rare they are, two
    texts that are so much alike have one of their first words in common. A word that is there twice is two words.
    """
    texts = [[(word, n) for word, count in text.items() for n in range(count)] for text in words]
    rare = Counter(word for text in texts for word in text)
    holders: dict[tuple[str, int], list[int]] = {}
    for place in sorted(range(len(texts)), key=lambda place: len(texts[place])):
        text = sorted(texts[place], key=lambda word: (rare[word], word))
        needed = math.ceil(alike * len(text) - 1e-9)
        seen: set[int] = set()
        for word in text[: len(text) - needed + 1]:
            others = holders.setdefault(word, [])
            seen.update(other for other in others if len(texts[other]) >= needed)
            others.append(place)
        yield from ((other, place) for other in sorted(seen))


def _share(left: Counter[str], right: Counter[str]) -> float:
    """Of all words of two texts, repeated ones counted, the share that both have."""
    return (left & right).total() / max(1, (left | right).total())
