"""What the explorer shows of a set of embeddings. Each view is computed when it is first asked for, and kept.

Nothing here writes to the set. Rows are named by their place in it.
"""

from __future__ import annotations

import csv
import io
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from ..catalog import NOT_OPENAI, Role
from ..embedder import Embedder
from ..errors import InputError, UmekomiError
from ..settings import Settings
from ..tasks.terms import terms_of, without_repeats
from ..vectors import FloatArray
from .dataset import Column, Dataset
from .layout import LETTERS, Groups, group, lay_out

HITS = 20
WORDS = 14
NEIGHBOURS = 10
SHOWN_ROWS = 200
OUTLIERS = 30
COPIES = 100
NEAR_COPY = 0.95
"""Texts whose cosine is at least this say nearly the same."""
REFERENCE = 20_000
"""Rows that the others are compared with for outliers; and the most among which near-copies are looked for all at once."""
BRIEF = 300
"""Characters of a text in a list; the whole text comes with its row."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What the page is told first."""

    name: str
    rows: int
    model: str
    fingerprint: str
    dims: int
    note: str
    searchable: bool
    search_problem: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class Brief:
    """A row in a list: the beginning of its text, and a score (a cosine, unless the view says otherwise)."""

    place: int
    text: str
    score: float


@dataclass(frozen=True, slots=True)
class Outlier:
    """A row far from all others. ``p_value`` is the share of ordinary rows that would look as strange."""

    place: int
    text: str
    score: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Row:
    """One row, whole, with its nearest neighbours."""

    place: int
    text: str
    record: dict[str, Any]
    neighbours: tuple[Brief, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """A search: the nearest rows, and how near every row is.

    ``scores`` is ``(rows,) uint8``: 0 for the least cosine (``low``), 255 for the greatest (``high``).
    """

    hits: tuple[Brief, ...]
    scores: npt.NDArray[np.uint8]
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group as the page shows it. ``means`` are of the columns of numbers and of ordered categories."""

    cluster: int
    name: str
    size: int
    x: float
    y: float
    terms: tuple[str, ...]
    central: tuple[Brief, ...]
    means: dict[str, float]


@dataclass(frozen=True, slots=True)
class Level:
    """The groups at one depth."""

    k: int
    clusters: tuple[Cluster, ...]


@dataclass(frozen=True, slots=True)
class Clusters:
    """The groups at each depth; ``codes`` is ``(rows,) uint16``, the coarse group of each row."""

    levels: tuple[Level, ...]
    codes: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class LabelCount:
    """A label, the rows nearest to it, and those that are surest."""

    label: str
    count: int
    examples: tuple[Brief, ...]


@dataclass(frozen=True, slots=True)
class Labelled:
    """The label of every row: ``codes`` is ``(rows,) uint16``, places in ``counts``."""

    codes: npt.NDArray[np.uint16]
    counts: tuple[LabelCount, ...]


@dataclass(frozen=True, slots=True)
class SelectedRow:
    """A row of a selection's table."""

    place: int
    text: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Word:
    """A word that is commoner in the selection than elsewhere; both as shares of the texts that hold it."""

    term: str
    share: float
    elsewhere: float


@dataclass(frozen=True, slots=True)
class Selected:
    """Rows that were chosen: how many, the first of them, and their distinctive words."""

    n: int
    rows: tuple[SelectedRow, ...]
    words: tuple[Word, ...]


class Explorer:
    """A set of embeddings and its views. It may be used from several threads; a view is computed once.

    Args:
        dataset: the set.
        embedder: gives the model of the set's space, for searches and labels; called once, when first needed. It raises
            UmekomiError where there is none, and the views that need it say why.
        settings: where maps are kept between runs.
    """

    def __init__(self, dataset: Dataset, *, embedder: Callable[[], Embedder], settings: Settings) -> None:
        self.dataset = dataset
        self._make_embedder = embedder
        self._settings = settings
        self._lock = threading.RLock()
        self._problem = ""

    # ------------------------------------------------------------ the set

    def meta(self) -> Meta:
        """What the page is told first."""
        data, space = self.dataset, self.dataset.space
        return Meta(
            name=data.name,
            rows=len(data),
            model=space.model,
            fingerprint=space.fingerprint,
            dims=space.dims,
            note=NOT_OPENAI,
            searchable=not self._problem,
            search_problem=self._problem,
            columns=data.columns,
        )

    def prepare(self) -> None:
        """Load the model and lay the map out now, so that nobody waits for them later."""
        try:
            self.embedder()
        except UmekomiError as error:
            self._problem = str(error)
        if len(self.dataset):
            self.clusters()

    def embedder(self) -> Embedder:
        """The model of the set's space.

        Raises:
            UmekomiError: it cannot be loaded, or is another version than the one that made the vectors.
        """
        with self._lock:
            return self._embedder

    @cached_property
    def _embedder(self) -> Embedder:
        found = self._make_embedder()
        found.require_space(self.dataset.space.fingerprint, where=self.dataset.name)
        return found

    def positions(self) -> FloatArray:
        """Where each row is on the map: ``(rows, 2) float32``."""
        with self._lock:
            return self._positions

    @cached_property
    def _positions(self) -> FloatArray:
        return lay_out(self.dataset, self._settings)

    def column(self, name: str) -> npt.NDArray[np.uint16] | npt.NDArray[np.float32]:
        """The categories' codes of each row ``(rows,) uint16``, or its numbers ``(rows,) float32``.

        Raises:
            InputError: there is no such column.
        """
        column = self.dataset.column(name)
        if column is None:
            names = ", ".join(column.name for column in self.dataset.columns)
            raise InputError(f"There is no column {name[:80]!r}; the columns are {names}.", param="name")
        return self.dataset.numbers(name) if column.low is not None else self.dataset.codes(name)

    def text(self, place: int) -> str:
        """The text of one row."""
        self._check([place])
        return self.dataset.texts([place])[0]

    def row(self, place: int) -> Row:
        """One row, with its nearest neighbours."""
        text = self.text(place)
        cosines = self.dataset.vectors @ self.dataset.vectors[place]
        nearest = _best(cosines, NEIGHBOURS + 1)
        neighbours = self._brief([other for other in nearest if other != place][:NEIGHBOURS], cosines)
        return Row(place, text, self.dataset.record(place), neighbours)

    # ------------------------------------------------------------ searching

    def search(self, query: str) -> Found:
        """The rows nearest to a query in words."""
        embedder = self.embedder().for_side(Role.QUERY)
        embedder.require_other_side(self.dataset.space.role, where=self.dataset.name)
        return self._found(embedder.embed([query], role=Role.QUERY)[0])

    def like(self, place: int) -> Found:
        """The rows nearest to one of them, that one first."""
        self._check([place])
        return self._found(self.dataset.vectors[place])

    def _found(self, vector: npt.NDArray[np.float32]) -> Found:
        cosines = self.dataset.vectors @ vector
        low, high = (float(cosines.min()), float(cosines.max())) if len(cosines) else (0.0, 0.0)
        scores = np.rint((cosines - low) * (255 / (high - low or 1.0))).astype(np.uint8)
        return Found(self._brief(_best(cosines, HITS), cosines), scores, low, high)

    # ------------------------------------------------------------ understanding

    def clusters(self) -> Clusters:
        """The groups of the set at several depths, with their names and their places on the map."""
        with self._lock:
            return self._clusters

    @cached_property
    def _groups(self) -> Groups:
        return group(self.dataset, self._positions)

    @cached_property
    def _clusters(self) -> Clusters:
        if not len(self.dataset):
            return Clusters((), np.empty(0, np.uint16))
        numbers = dict(self._scales())
        levels = []
        for groups in self._groups.levels:
            clusters = []
            for found in groups:
                center = self.dataset.vectors[found.places].mean(axis=0)
                central = self._brief(found.central, self.dataset.vectors @ center) if found.central else ()
                means = {name: float(np.nanmean(values[found.places])) for name, values in numbers.items()}
                clusters.append(
                    Cluster(found.cluster, found.name, found.size, found.x, found.y, found.terms, central, means)
                )
            levels.append(Level(len(clusters), tuple(clusters)))
        return Clusters(tuple(levels), self._groups.codes)

    def _scales(self) -> list[tuple[str, npt.NDArray[np.float32]]]:
        """The columns whose mean tells something of a group: those with an order, as the stars of a review."""
        return [
            (column.name, values)
            for column in self.dataset.columns
            if column.ordered and np.isfinite(values := self.dataset.numbers(column.name)).all()
        ]

    def outliers(self) -> tuple[Outlier, ...]:
        """The rows farthest from all others, the farthest first.

        The score is one minus the mean cosine to the five nearest rows; the p-value is the share of rows that score as high
        (of all rows, the row itself counted, as in conformal anomaly detection, Laxhammar and Falkman 2011).
        """
        with self._lock:
            return self._outliers

    @cached_property
    def _outliers(self) -> tuple[Outlier, ...]:
        vectors = self.dataset.vectors
        n = len(vectors)
        if n < 3:
            return ()
        random = np.random.default_rng(0)
        reference = np.sort(random.choice(n, REFERENCE, replace=False)) if n > REFERENCE else np.arange(n)
        k = min(6, len(reference) - 1)
        scores = np.empty(n, dtype=np.float32)
        for start in range(0, n, 1024):
            cosines = vectors[start : start + 1024] @ vectors[reference].T
            rows = np.arange(start, start + len(cosines))
            cosines[rows[:, None] == reference[None, :]] = -1.0  # a row is not its own neighbour
            nearest = np.partition(cosines, -k, axis=1)[:, -k:]
            scores[start : start + 1024] = 1.0 - nearest.mean(axis=1)
        ranks = np.sort(scores)
        places = _best(scores, OUTLIERS)
        return tuple(
            Outlier(brief.place, brief.text, brief.score, float((n - np.searchsorted(ranks, scores[brief.place])) / n))
            for brief in self._brief(places, scores)
        )

    def duplicates(self) -> tuple[tuple[Brief, ...], ...]:
        """Groups of rows that say nearly the same, the largest first; the score is the cosine to the first of the group."""
        with self._lock:
            return self._duplicates

    @cached_property
    def _duplicates(self) -> tuple[tuple[Brief, ...], ...]:
        vectors = self.dataset.vectors
        n = len(vectors)
        if not n:
            return ()
        # Of very many rows only those of one fine group are compared: near-copies lie together.
        rooms = [np.arange(n)] if n <= REFERENCE else [found.places for found in self._groups.levels[-1]]
        groups: list[list[int]] = []
        for room in rooms:
            groups += _near_copies(vectors, room)
        groups.sort(key=lambda places: (-len(places), places[0]))
        return tuple(self._brief(places[:HITS], vectors @ vectors[places[0]]) for places in groups[:COPIES])

    def labels(self, labels: Sequence[str]) -> Labelled:
        """The nearest of some labels for every row, both centred on their means so that no label has a start."""
        if len(labels) < 2:
            raise InputError("Give at least two labels.", param="labels")
        named = self.embedder().embed(list(labels))
        scores = (self.dataset.vectors - self.dataset.vectors.mean(axis=0)) @ (named - named.mean(axis=0)).T
        codes = scores.argmax(axis=1).astype(np.uint16)
        counts = []
        for code, label in enumerate(labels):
            mine = np.flatnonzero(codes == code)
            others = np.delete(scores[mine], code, axis=1).max(axis=1)
            sure = mine[np.argsort(others - scores[mine, code], kind="stable")[:3]]
            counts.append(LabelCount(label, len(mine), self._brief([int(p) for p in sure], scores[:, code])))
        return Labelled(codes, tuple(counts))

    def _brief(self, places: Sequence[int], scores: npt.NDArray[np.float32]) -> tuple[Brief, ...]:
        texts = self.dataset.texts(places)
        return tuple(Brief(place, _cut(text), float(scores[place])) for place, text in zip(places, texts, strict=True))

    # ------------------------------------------------------------ selecting

    def selection(self, places: Sequence[int]) -> Selected:
        """What rows have in common: their distinctive words, and the first of them as a table."""
        self._check(places)
        rows = tuple(
            SelectedRow(place, _cut(text), self.dataset.record(place))
            for place, text in zip(places[:SHOWN_ROWS], self.dataset.texts(places[:SHOWN_ROWS]), strict=True)
        )
        return Selected(len(places), rows, self._words(places))

    def csv(self, places: Sequence[int]) -> str:
        """Rows as CSV, with every column that can be written and the text."""
        self._check(places)
        names = [column.name for column in self.dataset.columns]
        output = io.StringIO()
        writer = csv.writer(output)
        writer.writerow([*names, self.dataset.text_column or "text"])
        for place, text in zip(places, self.dataset.texts(places), strict=True):
            record = self.dataset.record(place)
            writer.writerow([*(record[name] for name in names), text])
        return output.getvalue()

    def _words(self, places: Sequence[int]) -> tuple[Word, ...]:
        here: Counter[str] = Counter()
        for text in self.dataset.texts(places):
            here.update(set(terms_of(text[:LETTERS])))
        n, rest = len(places), max(len(self.dataset) - len(places), 1)
        scored = []
        for term, count in here.items():
            if count < 2 and n > 4:
                continue
            share, elsewhere = count / n, max(self._word_counts[term] - count, 0) / rest
            scored.append(
                (share * float(np.log((share + 0.5 / n) / (elsewhere + 0.5 / rest))), Word(term, share, elsewhere))
            )
        scored.sort(key=lambda pair: (-pair[0], pair[1].term))
        words = {word.term: word for _, word in scored[: 20 * WORDS]}
        return tuple(words[term] for term in without_repeats(list(words), WORDS))

    @cached_property
    def _word_counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for text in self.dataset.texts():
            counts.update(set(terms_of(text[:LETTERS])))
        return counts

    def _check(self, places: Sequence[int]) -> None:
        wrong = next((place for place in places if not 0 <= place < len(self.dataset)), None)
        if wrong is not None:
            raise InputError(f"There is no row {wrong}; the rows are 0 to {len(self.dataset) - 1}.", param="place")


def _best(scores: npt.NDArray[np.float32], k: int) -> list[int]:
    """The places of the ``k`` greatest, the greatest first."""
    k = min(k, len(scores))
    if not k:
        return []
    some = np.argpartition(-scores, k - 1)[:k]
    return [int(place) for place in some[np.lexsort((some, -scores[some]))]]


def _near_copies(vectors: FloatArray, room: npt.NDArray[np.int64]) -> list[list[int]]:
    """Groups of two rows or more: each row joins the first earlier row that it is a near-copy of."""
    first: dict[int, list[int]] = {}
    joined: set[int] = set()
    for start in range(0, len(room), 1024):
        some = room[start : start + 1024]
        rows, others = np.nonzero(vectors[some] @ vectors[room].T >= NEAR_COPY)
        for row, other in zip(some[rows].tolist(), room[others].tolist(), strict=True):
            if row < other and row not in joined and other not in joined:
                first.setdefault(row, [row]).append(other)
                joined.add(other)
    return list(first.values())


def _cut(text: str) -> str:
    return text if len(text) <= BRIEF else text[: BRIEF - 1] + "…"
