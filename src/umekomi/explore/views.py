"""What the explorer shows of a set of embeddings. Each view is computed when it is first asked for, and kept.

Nothing here writes to the set. Rows are named by their place in it.
"""

from __future__ import annotations

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
from ..tasks.terms import extract_terms, rank_terms
from ..vectors.arithmetic import DoubleArray, FloatArray
from .dataset import NO_CODE, Column, Dataset
from .layout import LETTERS, Groups, group, lay_out
from .nearest import best, near_copies
from .values import CsvStyle, as_csv

HITS = 20
WORDS = 14
NEIGHBOURS = 10
SHOWN_ROWS = 200
OUTLIERS = 30
COPIES = 100
REFERENCE = 20_000
"""Rows that the others are compared with for outliers; and the most among which near-copies are looked for all at once."""
BRIEF = 300
"""Characters of a text in a list; the whole text comes with its row."""


@dataclass(frozen=True, slots=True)
class Meta:
    """What the page reads first.

    ``dataset`` identifies the set by its content. ``skipped`` counts the rows whose vectors are missing, zero or not finite.
    """

    dataset: str
    name: str
    rows: int
    skipped: int
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
    """The groups at each depth; ``codes`` is ``(rows,) uint16``, the coarse group of each row, or ``NO_CODE``."""

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
    """The label of every row: ``codes`` is ``(rows,) uint16``, places in ``counts``, or ``NO_CODE``."""

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
            dataset=data.id,
            name=data.name,
            rows=len(data),
            skipped=len(data) - len(data.usable),
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

    def column(self, name: str) -> npt.NDArray[np.uint16] | DoubleArray:
        """The categories' codes of each row ``(rows,) uint16``, or its numbers ``(rows,) float64``.

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
        neighbours: tuple[Brief, ...] = ()
        if self.dataset.vectors[place].any():
            cosines = self._cosines(self.dataset.vectors[place])
            nearest = best(cosines, min(NEIGHBOURS + 1, len(self.dataset.usable)))
            neighbours = self._brief([other for other in nearest if other != place][:NEIGHBOURS], cosines)
        return Row(place, text, self.dataset.rows([place])[0], neighbours)

    def _cosines(self, vector: FloatArray) -> FloatArray:
        """The cosine of each row with a vector; rows without a vector come last, with minus infinity."""
        cosines: FloatArray = self.dataset.vectors @ vector
        if len(self.dataset.usable) < len(cosines):
            skipped = np.ones(len(cosines), dtype=bool)
            skipped[self.dataset.usable] = False
            cosines[skipped] = -np.inf
        return cosines

    # ------------------------------------------------------------ searching

    def search(self, query: str) -> Found:
        """The rows nearest to a query in words."""
        embedder = self.embedder().for_role(Role.QUERY)
        embedder.require_counterpart(self.dataset.space.role, where=self.dataset.name)
        return self._found(embedder.embed([query], role=Role.QUERY)[0])

    def like(self, place: int) -> Found:
        """The rows nearest to one of them, that one first."""
        self._check([place])
        return self._found(self.dataset.vectors[place])

    def _found(self, vector: FloatArray) -> Found:
        cosines = self._cosines(vector)
        known = cosines[self.dataset.usable]
        low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
        scores = np.rint((np.maximum(cosines, low) - low) * (255 / (high - low or 1.0))).astype(np.uint8)
        return Found(self._brief(best(cosines, min(HITS, len(known))), cosines), scores, low, high)

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
        numbers = dict(self._scales())
        levels = []
        for groups in self._groups.levels:
            clusters = []
            for found in groups:
                if not found.size:
                    continue
                center = self.dataset.vectors[found.places].mean(axis=0)
                central = self._brief(found.central, self.dataset.vectors @ center) if found.central else ()
                means = {name: float(np.nanmean(values[found.places])) for name, values in numbers.items()}
                clusters.append(
                    Cluster(found.cluster, found.name, found.size, found.x, found.y, found.terms, central, means)
                )
            levels.append(Level(len(clusters), tuple(clusters)))
        return Clusters(tuple(levels), self._groups.codes)

    def _scales(self) -> list[tuple[str, DoubleArray]]:
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
        usable = self.dataset.usable
        vectors = self.dataset.vectors[usable] if len(usable) < len(self.dataset) else self.dataset.vectors
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
        spread = np.zeros(len(self.dataset), dtype=np.float32)
        spread[usable] = scores
        places = [int(usable[row]) for row in best(scores, OUTLIERS)]
        return tuple(
            Outlier(brief.place, brief.text, brief.score, float((n - np.searchsorted(ranks, spread[brief.place])) / n))
            for brief in self._brief(places, spread)
        )

    def duplicates(self) -> tuple[tuple[Brief, ...], ...]:
        """Groups of rows that say nearly the same, the largest first; the score is the cosine to the first of the group."""
        with self._lock:
            return self._duplicates

    @cached_property
    def _duplicates(self) -> tuple[tuple[Brief, ...], ...]:
        vectors, usable = self.dataset.vectors, self.dataset.usable
        if not len(usable):
            return ()
        # Of very many rows only those of one fine group are compared: near-copies lie together.
        rooms = [usable] if len(usable) <= REFERENCE else [found.places for found in self._groups.levels[-1]]
        groups: list[list[int]] = []
        for room in rooms:
            groups += near_copies(vectors, room)
        groups.sort(key=lambda places: (-len(places), places[0]))
        return tuple(self._brief(places[:HITS], vectors @ vectors[places[0]]) for places in groups[:COPIES])

    def labels(self, labels: Sequence[str]) -> Labelled:
        """The nearest of some labels for every row, both centred on their means so that no label has a start."""
        if len(labels) < 2:
            raise InputError("Give at least two labels.", param="labels")
        named = self.embedder().embed(list(labels))
        usable = self.dataset.usable
        mean = self.dataset.vectors[usable].mean(axis=0) if len(usable) else 0.0
        scores = (self.dataset.vectors - mean) @ (named - named.mean(axis=0)).T
        codes = np.full(len(self.dataset), NO_CODE, dtype=np.uint16)
        codes[usable] = scores[usable].argmax(axis=1)
        counts = []
        for code, label in enumerate(labels):
            mine = np.flatnonzero(codes == code)
            others = np.delete(scores[mine], code, axis=1).max(axis=1)
            sure = mine[np.argsort(others - scores[mine, code], kind="stable")[:3]]
            counts.append(LabelCount(label, len(mine), self._brief([int(p) for p in sure], scores[:, code])))
        return Labelled(codes, tuple(counts))

    def _brief(self, places: Sequence[int], scores: FloatArray) -> tuple[Brief, ...]:
        texts = self.dataset.texts(places)
        return tuple(Brief(place, _cut(text), float(scores[place])) for place, text in zip(places, texts, strict=True))

    # ------------------------------------------------------------ selecting

    def selection(self, places: Sequence[int]) -> Selected:
        """What rows have in common: their distinctive words, and the first of them as a table."""
        self._check(places)
        rows = tuple(
            SelectedRow(place, _cut(text), record)
            for place, text, record in zip(
                places[:SHOWN_ROWS],
                self.dataset.texts(places[:SHOWN_ROWS]),
                self.dataset.rows(places[:SHOWN_ROWS]),
                strict=True,
            )
        )
        return Selected(len(places), rows, self._words(places))

    def csv(self, places: Sequence[int], *, style: CsvStyle = CsvStyle.SPREADSHEET) -> str:
        """Rows as CSV, with every column and the text."""
        self._check(places)
        names = [column.name for column in self.dataset.columns]
        records, texts = self.dataset.rows(places), self.dataset.texts(places)
        rows = ([*record.values(), text] for record, text in zip(records, texts, strict=True))
        return as_csv([*names, self.dataset.text_column or "text"], rows, style=style)

    def _words(self, places: Sequence[int]) -> tuple[Word, ...]:
        here: Counter[str] = Counter()
        for text in self.dataset.texts(places):
            here.update(set(extract_terms(text[:LETTERS])))
        n, rest = len(places), max(len(self.dataset) - len(places), 1)
        terms = rank_terms(here, n, self._word_counts, len(self.dataset), n=WORDS)
        return tuple(Word(term, here[term] / n, (self._word_counts[term] - here[term]) / rest) for term in terms)

    @cached_property
    def _word_counts(self) -> Counter[str]:
        counts: Counter[str] = Counter()
        for text in self.dataset.texts():
            counts.update(set(extract_terms(text[:LETTERS])))
        return counts

    def _check(self, places: Sequence[int]) -> None:
        wrong = next((place for place in places if not 0 <= place < len(self.dataset)), None)
        if wrong is not None:
            raise InputError(f"There is no row {wrong}; the rows are 0 to {len(self.dataset) - 1}.", param="place")


def _cut(text: str) -> str:
    return text if len(text) <= BRIEF else text[: BRIEF - 1] + "…"
