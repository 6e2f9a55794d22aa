"""Views of a data set: what the explorer's page shows. Each view is computed when it is first requested, and cached.

Outliers, near-duplicates, labels and clusters are those of :mod:`umekomi.tasks`, so that the page and the command line
agree. Views never change the data set. Rows are identified by their index in it.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from ..catalog import NOT_OPENAI, Role
from ..embedder import Embedder
from ..errors import InputError, UmekomiError
from ..settings import Settings
from ..tasks.anomalies import find_anomalies
from ..tasks.diversity import near_duplicates
from ..tasks.neighbors import top_k
from ..tasks.terms import extract_terms, rank_terms
from ..tasks.zero_shot import embed_labels, zero_shot
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray
from .dataset import NO_CODE, Column, Dataset
from .layout import MapGroup, MapGroups, compute_positions, find_groups
from .values import CsvStyle, as_csv

MAX_HITS = 20
N_TERMS = 14
N_NEIGHBORS = 10
ANOMALY_NEIGHBORS = 20
MAX_SELECTION_ROWS = 200
MAX_OUTLIERS = 30
MAX_DUPLICATE_GROUPS = 100
N_LABEL_EXAMPLES = 3
MAX_EXACT_ROWS = 20_000
"""With more rows, outliers are compared with this many rows drawn at random, and near-duplicates are searched within
the finest groups only, because comparing all rows with each other would take too long."""
MAX_PREVIEW = 300
"""Number of characters of a text in a list. The record has the full text."""


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Summary of a data set, which the page requests first."""

    #: Digest of the content.
    dataset: str
    name: str
    #: Number of rows.
    rows: int
    #: Number of rows whose vectors are missing, zero or not finite.
    skipped: int
    model: str
    fingerprint: str
    dims: int
    #: Statement that the vectors are not OpenAI's.
    note: str
    #: Whether the model of the vectors is available.
    searchable: bool
    #: Why searches are not possible; empty if they are.
    search_problem: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class RowPreview:
    """A row in a list."""

    index: int
    #: The beginning of the text.
    text: str
    #: A cosine, unless the view says otherwise.
    score: float


@dataclass(frozen=True, slots=True)
class Outlier(RowPreview):
    """A row that is unlike the others. The score is the anomaly score."""

    #: As in :class:`umekomi.tasks.anomalies.Anomalies`.
    p_value: float


@dataclass(frozen=True, slots=True)
class RowDetails:
    """One row with its full text, its record and its nearest neighbors."""

    index: int
    text: str
    record: dict[str, Any]
    neighbors: tuple[RowPreview, ...]


@dataclass(frozen=True, slots=True)
class SearchResult:
    """The nearest rows of a query, and the similarity of every row."""

    hits: tuple[RowPreview, ...]
    #: ``(rows,) uint8``: 0 for the lowest cosine, 255 for the highest.
    scores: npt.NDArray[np.uint8]
    #: Lowest cosine.
    low: float
    #: Highest cosine.
    high: float


@dataclass(frozen=True, slots=True)
class Cluster:
    """A group of similar rows."""

    cluster: int
    name: str
    #: Number of rows.
    size: int
    #: Position of the name on the map.
    x: float
    y: float
    #: Distinctive terms.
    terms: tuple[str, ...]
    #: Rows nearest to the center.
    central: tuple[RowPreview, ...]
    #: Means of the columns with an order, such as the stars of a review.
    means: dict[str, float]


@dataclass(frozen=True, slots=True)
class ClusterLevel:
    """The groups of one zoom level."""

    k: int
    clusters: tuple[Cluster, ...]


@dataclass(frozen=True, slots=True)
class ClusterLevels:
    """The groups of all zoom levels."""

    #: Coarse first.
    levels: tuple[ClusterLevel, ...]
    #: ``(rows,) uint16``, the coarse group of each row, or ``NO_CODE``.
    codes: npt.NDArray[np.uint16]


@dataclass(frozen=True, slots=True)
class LabelCount:
    """A label with the rows that it is assigned to."""

    label: str
    #: Number of rows.
    count: int
    #: Rows with the largest margins, which are their scores.
    examples: tuple[RowPreview, ...]


@dataclass(frozen=True, slots=True)
class LabeledRows:
    """The label of every row."""

    #: ``(rows,) uint16``, the index of each row's label in ``counts``, or ``NO_CODE``.
    codes: npt.NDArray[np.uint16]
    counts: tuple[LabelCount, ...]


@dataclass(frozen=True, slots=True)
class SelectedRow:
    """A row in the table of a selection."""

    index: int
    text: str
    record: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DistinctiveTerm:
    """A term that is more frequent in the selection than elsewhere."""

    term: str
    #: Share of the selected texts that contain it.
    share: float
    #: Share of the other texts that contain it.
    elsewhere: float


@dataclass(frozen=True, slots=True)
class Selection:
    """Selected rows."""

    #: Number of rows.
    n: int
    #: The first rows.
    rows: tuple[SelectedRow, ...]
    words: tuple[DistinctiveTerm, ...]


T = TypeVar("T")


def _cached(compute: Callable[[Explorer], T]) -> Callable[[Explorer], T]:
    """Compute the result of a method once per explorer, in one thread. Errors are not cached."""

    @wraps(compute)
    def method(self: Explorer) -> T:
        with self._lock:
            if compute.__name__ not in self._results:
                self._results[compute.__name__] = compute(self)
            return cast(T, self._results[compute.__name__])

    return method


class Explorer:
    """A data set and its views. It can be used from several threads.

    Args:
        dataset: The data set.
        embedder: Returns the model of the vectors, for searches and labels. It is called once, when it is first needed,
            and raises UmekomiError if there is no such model. The views that need it then raise this error.
        settings: Settings with the folder where positions are cached.
    """

    def __init__(self, dataset: Dataset, *, embedder: Callable[[], Embedder], settings: Settings) -> None:
        self.dataset = dataset
        self._make_embedder = embedder
        self._settings = settings
        self._lock = threading.RLock()
        self._results: dict[str, object] = {}
        self._problem = ""

    def info(self) -> DatasetInfo:
        """Return the summary of the data set."""
        dataset, space = self.dataset, self.dataset.space
        return DatasetInfo(
            dataset=dataset.id,
            name=dataset.name,
            rows=len(dataset),
            skipped=len(dataset) - len(dataset.usable),
            model=space.model,
            fingerprint=space.fingerprint,
            dims=space.dims,
            note=NOT_OPENAI,
            searchable=not self._problem,
            search_problem=self._problem,
            columns=dataset.columns,
        )

    def prepare(self) -> None:
        """Load the model and compute the map now, so that the first request does not wait for them."""
        try:
            self.embedder()
        except UmekomiError as error:
            self._problem = str(error)
        if len(self.dataset):
            self.clusters()

    @_cached
    def embedder(self) -> Embedder:
        """Return the model of the vectors.

        Raises:
            UmekomiError: The model cannot be loaded, or is another version than the one that made the vectors.
        """
        embedder = self._make_embedder()
        embedder.require_space(self.dataset.space.fingerprint, where=self.dataset.name)
        return embedder

    @_cached
    def positions(self) -> FloatArray:
        """Return the position of each row on the map, ``(rows, 2) float32``."""
        return compute_positions(self.dataset, self._settings)

    def column(self, name: str) -> npt.NDArray[np.uint16] | DoubleArray:
        """Return the category codes of each row, ``(rows,) uint16``, or its numbers, ``(rows,) float64``.

        Raises:
            InputError: There is no such column.
        """
        column = self.dataset.column(name)
        if column is None:
            names = ", ".join(column.name for column in self.dataset.columns)
            raise InputError(f"There is no column {name[:80]!r}; the columns are {names}.", param="name")
        return self.dataset.numbers(name) if column.low is not None else self.dataset.codes(name)

    def text(self, index: int) -> str:
        """Return the text of one row."""
        self._require_rows([index])
        return self.dataset.texts([index])[0]

    def row(self, index: int) -> RowDetails:
        """Return one row with its nearest neighbors."""
        text = self.text(index)
        neighbors: tuple[RowPreview, ...] = ()
        if self.dataset.vectors[index].any():
            cosines = self._cosines(self.dataset.vectors[index])
            nearest = top_k(cosines, min(N_NEIGHBORS + 1, len(self.dataset.usable)))
            neighbors = self._preview([other for other in nearest if other != index][:N_NEIGHBORS], cosines)
        return RowDetails(index, text, self.dataset.rows([index])[0], neighbors)

    def _cosines(self, vector: FloatArray) -> FloatArray:
        """Return the cosine of each row with a vector; minus infinity for rows without a usable vector."""
        return self._scatter((self.dataset.vectors @ vector)[self.dataset.usable], -np.inf)

    def search(self, query: str) -> SearchResult:
        """Return the rows nearest to a query."""
        embedder = self.embedder().for_role(Role.QUERY)
        embedder.require_counterpart(self.dataset.space.role, where=self.dataset.name)
        return self._search(embedder.embed([query], role=Role.QUERY)[0])

    def find_similar(self, index: int) -> SearchResult:
        """Return the rows nearest to a row, starting with the row itself."""
        self._require_rows([index])
        return self._search(self.dataset.vectors[index])

    def _search(self, vector: FloatArray) -> SearchResult:
        cosines = self._cosines(vector)
        usable = cosines[self.dataset.usable]
        low, high = (float(usable.min()), float(usable.max())) if len(usable) else (0.0, 0.0)
        scores = np.rint((np.maximum(cosines, low) - low) * (255 / (high - low or 1.0))).astype(np.uint8)
        return SearchResult(self._preview(top_k(cosines, min(MAX_HITS, len(usable))), cosines), scores, low, high)

    @_cached
    def _groups(self) -> MapGroups:
        return find_groups(self.dataset, self.positions())

    @_cached
    def clusters(self) -> ClusterLevels:
        """Return the groups at all zoom levels with their names and positions."""
        ordered_columns = {
            column.name: values
            for column in self.dataset.columns
            if column.ordered and np.isfinite(values := self.dataset.numbers(column.name)).all()
        }

        def to_cluster(group: MapGroup) -> Cluster:
            summary = group.summary
            center = self.dataset.vectors[group.indices].mean(axis=0)
            central = self._preview(summary.central, self.dataset.vectors @ center)
            means = {name: float(values[group.indices].mean()) for name, values in ordered_columns.items()}
            return Cluster(summary.label, summary.name, summary.size, group.x, group.y, summary.terms, central, means)

        levels = [ClusterLevel(len(groups), tuple(map(to_cluster, groups))) for groups in self._groups().levels]
        return ClusterLevels(tuple(levels), self._groups().codes)

    @_cached
    def outliers(self) -> tuple[Outlier, ...]:
        """Return the most unusual rows, as ``umekomi anomalies`` finds them without a reference."""
        vectors = self.dataset.usable_vectors()
        if len(vectors) < 3:
            return ()
        k = min(ANOMALY_NEIGHBORS, len(vectors) - 1)
        anomalies = find_anomalies(vectors, k=k, max_candidates=MAX_EXACT_ROWS)
        order = np.argsort(-anomalies.scores, kind="stable")[:MAX_OUTLIERS]
        previews = self._preview(self.dataset.usable[order].tolist(), self._scatter(anomalies.scores))
        return tuple(
            Outlier(row.index, row.text, row.score, float(p_value))
            for row, p_value in zip(previews, anomalies.p_values[order], strict=True)
        )

    @_cached
    def duplicates(self) -> tuple[tuple[RowPreview, ...], ...]:
        """Return groups of near-duplicates, as ``umekomi diversity`` finds them, largest first.

        The score is the cosine to the first row of the group.
        """
        vectors, usable = self.dataset.usable_vectors(), self.dataset.usable
        if not len(usable):
            return ()
        groups = near_duplicates(vectors, partition=self._finest_groups()).groups[:MAX_DUPLICATE_GROUPS]
        return tuple(
            self._preview(usable[list(group[:MAX_HITS])].tolist(), self._scatter(vectors @ vectors[group[0]]))
            for group in groups
        )

    def _finest_groups(self) -> IntArray | None:
        """Return the finest group of each usable row, or None if there are few enough rows to compare all of them."""
        if len(self.dataset.usable) <= MAX_EXACT_ROWS:
            return None
        labels = np.zeros(len(self.dataset), dtype=np.int64)
        for group in self._groups().levels[-1]:
            labels[group.indices] = group.summary.label
        return labels[self.dataset.usable]

    def labels(self, labels: Sequence[str]) -> LabeledRows:
        """Assign one of some labels to every row, as ``umekomi zero-shot`` does.

        Raises:
            InputError: There are fewer than two different labels.
        """
        names = list(dict.fromkeys(labels))
        if len(names) < 2:
            raise InputError("Give at least two different labels.", param="labels")
        label_set = embed_labels({name: [name] for name in names}, self.embedder())
        usable = self.dataset.usable
        codes = np.full(len(self.dataset), NO_CODE, dtype=np.uint16)
        margins = np.zeros(len(self.dataset))
        if len(usable):
            result = zero_shot(self.dataset.usable_vectors(), label_set)
            codes[usable], margins[usable] = result.indices, result.margins
        counts = []
        for code, name in enumerate(names):
            rows = np.flatnonzero(codes == code)
            examples = rows[np.argsort(-margins[rows], kind="stable")[:N_LABEL_EXAMPLES]]
            counts.append(LabelCount(name, len(rows), self._preview(examples.tolist(), margins)))
        return LabeledRows(codes, tuple(counts))

    def _scatter(self, values: FloatArray | DoubleArray, missing: float = 0.0) -> FloatArray:
        """Spread a value for each usable row over all rows."""
        scattered = np.full(len(self.dataset), missing, dtype=np.float32)
        scattered[self.dataset.usable] = values
        return scattered

    def _preview(self, indices: Sequence[int], scores: FloatArray | DoubleArray) -> tuple[RowPreview, ...]:
        texts = self.dataset.texts(indices)
        return tuple(
            RowPreview(index, _shorten(text), float(scores[index])) for index, text in zip(indices, texts, strict=True)
        )

    def selection(self, indices: Sequence[int]) -> Selection:
        """Return the distinctive terms of selected rows, and the first of the rows."""
        self._require_rows(indices)
        first = indices[:MAX_SELECTION_ROWS]
        rows = tuple(
            SelectedRow(index, _shorten(text), record)
            for index, text, record in zip(first, self.dataset.texts(first), self.dataset.rows(first), strict=True)
        )
        return Selection(len(indices), rows, self._distinctive_terms(indices))

    def csv(self, indices: Sequence[int], *, style: CsvStyle = CsvStyle.SPREADSHEET) -> str:
        """Return rows as CSV, with every column and the text."""
        self._require_rows(indices)
        names = [column.name for column in self.dataset.columns]
        records, texts = self.dataset.rows(indices), self.dataset.texts(indices)
        rows = ([*record.values(), text] for record, text in zip(records, texts, strict=True))
        return as_csv([*names, self.dataset.text_column or "text"], rows, style=style)

    def _distinctive_terms(self, indices: Sequence[int]) -> tuple[DistinctiveTerm, ...]:
        counts, total = _count_terms(self.dataset.texts(indices)), self._term_counts
        n, n_others = len(indices), max(len(self.dataset) - len(indices), 1)
        return tuple(
            DistinctiveTerm(term, counts[term] / n, max(total[term] - counts[term], 0) / n_others)
            for term in rank_terms(counts, n, total, max(len(self.dataset), n), n=N_TERMS)
        )

    @cached_property
    def _term_counts(self) -> Counter[str]:
        return _count_terms(self.dataset.texts())

    def _require_rows(self, indices: Sequence[int]) -> None:
        missing = next((index for index in indices if not 0 <= index < len(self.dataset)), None)
        if missing is not None:
            raise InputError(f"There is no row {missing}; the rows are 0 to {len(self.dataset) - 1}.", param="index")


def _count_terms(texts: Sequence[str]) -> Counter[str]:
    """Count the texts that contain each term."""
    return Counter(term for text in texts for term in set(extract_terms(text)))


def _shorten(text: str) -> str:
    return text if len(text) <= MAX_PREVIEW else text[: MAX_PREVIEW - 1] + "…"
