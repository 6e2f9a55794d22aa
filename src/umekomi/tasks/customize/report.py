"""Customization of a model: learn a matrix from pairs of texts, and measure it on pairs whose texts it has not seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...catalog import Role
from ...embedder import Embedder
from ...errors import InputError
from ...evaluation.duplicates import merge_groups, normalize_text
from ...evaluation.metrics import Estimate, bootstrap, ndcg, paired_difference, ranks, spearman
from ...extras import needed_for
from ...progress import Progress, no_progress
from ...vectors.arithmetic import DoubleArray, FloatArray, IntArray
from ...vectors.matrices import Matrix
from .learning import LabelLoss, Loss, SearchLoss, learn_matrix
from .pairs import Goal, Pairs, PairSplit, split_pairs


@dataclass(frozen=True, slots=True)
class Comparison:
    """A metric of the test rows before and after, with 95 % intervals."""

    metric: str
    before: Estimate
    after: Estimate
    difference: Estimate


@dataclass(frozen=True, slots=True)
class Customization:
    """A learned matrix and its measurement."""

    matrix: Matrix
    goal: Goal
    n_train: int
    n_test: int
    #: Number of rows that were used on neither side, because one of their texts is on each side.
    n_dropped: int
    rank: int
    penalty: float
    steps: int
    #: The first one decides whether there is a gain.
    comparisons: tuple[Comparison, ...]

    @property
    def is_gain(self) -> bool:
        """Whether the interval of the first metric's difference is above 0."""
        return self.comparisons[0].difference.low > 0

    def facts(self) -> dict[str, Any]:
        """Return the measurement without the matrix, for JSON."""
        values = {
            name: getattr(self, name) for name in ("goal", "n_train", "n_test", "n_dropped", "rank", "penalty", "steps")
        }
        return {**values, "is_gain": self.is_gain, "comparisons": [asdict(row) for row in self.comparisons]}


def customize(
    pairs: Pairs,
    embedder: Embedder,
    *,
    test_share: float = 0.3,
    seed: int = 42,
    embed_progress: Progress = no_progress,
    learn_progress: Progress = no_progress,
) -> Customization:
    """Learn a matrix from the training rows of pairs, and measure it on the test rows. The same seed gives the same matrix.

    Args:
        pairs: Pairs of texts.
        embedder: The model to customize. For a search with a model of a pair, either one.
        test_share: Share of test rows.
        seed: Seed of the split and of the learning.
        embed_progress: Called with the number of texts that were embedded since the last call.
        learn_progress: Called with the number of steps since the last call; see :func:`~.learning.count_steps`.

    Raises:
        InputError: The model is customized already, or the pairs cannot be split by text.
    """
    require_plain(embedder)
    split = split_pairs(pairs, test_share=test_share, seed=seed)
    left, right = _embed(pairs, embedder, embed_progress)
    train = split.train
    # Small products are slower, and may differ in the last bits, with several threads.
    with needed_for("Learning a matrix"):
        from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
    with threadpool_limits(1):
        learned = learn_matrix(
            left[train],
            right[train],
            _make_loss(pairs, train),
            groups=split.groups[train],
            seed=seed,
            progress=learn_progress,
        )
    matrix = Matrix({"left": learned.left, "right": learned.right}, embedder.model, embedder.fingerprint, pairs.digest)
    test = left[split.test], right[split.test]
    comparisons = _compare(pairs, split, test, (matrix.apply(test[0]), matrix.apply(test[1])))
    counts = len(train), len(split.test), split.n_dropped
    return Customization(matrix, pairs.goal, *counts, learned.rank, learned.penalty, learned.steps, comparisons)


def require_plain(embedder: Embedder) -> None:
    """Raise InputError if a model is customized already."""
    if embedder.matrix is not None:
        raise InputError(f"{embedder.model} has a matrix already. Customize the model itself.")


def count_texts(pairs: Pairs) -> int:
    """Return the number of texts that :func:`customize` embeds."""
    return sum(len(set(texts)) for texts in _sides(pairs))


def _sides(pairs: Pairs) -> list[tuple[str, ...]]:
    """Return the texts that are embedded together: each side of a search has its own role."""
    return [pairs.left, pairs.right] if pairs.goal is Goal.SEARCH else [pairs.left + pairs.right]


def _embed(pairs: Pairs, embedder: Embedder, progress: Progress) -> tuple[FloatArray, FloatArray]:
    """Embed both sides: ``(n, dims), (n, dims) float32``. Each text is embedded once."""
    roles = [Role.QUERY, Role.DOCUMENT] if pairs.goal is Goal.SEARCH else [None]
    vectors = []
    for texts, role in zip(_sides(pairs), roles, strict=True):
        unique = {text: row for row, text in enumerate(dict.fromkeys(texts))}
        model = embedder if role is None else embedder.for_role(role)
        vectors.append(model.embed(list(unique), role=role, progress=progress)[[unique[text] for text in texts]])
    whole = np.concatenate(vectors)
    return whole[: len(pairs.left)], whole[len(pairs.left) :]


def _make_loss(pairs: Pairs, rows: IntArray) -> Loss:
    if pairs.goal is not Goal.SEARCH:
        return LabelLoss(pairs.targets[rows])
    queries, documents = _number(pairs)
    pairs_of_ids = zip(queries[rows].tolist(), documents[rows].tolist(), strict=True)
    return SearchLoss(queries[rows], documents[rows], frozenset(pairs_of_ids))


def _number(pairs: Pairs) -> tuple[IntArray, IntArray]:
    """Return a number for each query and each document, which copies share: ``(n,), (n,) int64``."""
    left, right = ([normalize_text(text) for text in side] for side in (pairs.left, pairs.right))
    return merge_groups(left), merge_groups(right)


def _compare(
    pairs: Pairs, split: PairSplit, before: tuple[FloatArray, FloatArray], after: tuple[FloatArray, FloatArray]
) -> tuple[Comparison, ...]:
    groups = split.groups[split.test]
    if pairs.goal is Goal.SEARCH:
        queries, documents = (numbers[split.test] for numbers in _number(pairs))
        values = [_ndcg(queries, documents, *side) for side in (before, after)]
        # One row for each query, in the order of their first rows.
        _, first = np.unique(queries, return_index=True)
        return (_compare_metric("nDCG@10", lambda system, rows: float(values[system][rows].mean()), groups[first]),)
    cosines = [np.einsum("ij,ij->i", *side, dtype=np.float64) for side in (before, after)]
    targets = pairs.targets[split.test]
    # Scores count as labels if they are in the upper half of their range.
    labels = targets >= 0.5
    metrics: dict[str, Callable[[int, IntArray], float]] = {}
    if pairs.goal is Goal.SCORES:
        metrics["Spearman"] = lambda system, rows: spearman(cosines[system][rows], targets[rows])
    if labels.any() and not labels.all():
        metrics["AUC"] = lambda system, rows: area_under_curve(cosines[system][rows], labels[rows])
        metrics["accuracy"] = lambda system, rows: best_accuracy(cosines[system][rows], labels[rows])
    return tuple(_compare_metric(name, metric, groups) for name, metric in metrics.items())


def _compare_metric(name: str, metric: Callable[[int, IntArray], float], groups: IntArray) -> Comparison:
    n = len(groups)
    before, after = (bootstrap(lambda rows, s=system: metric(s, rows), n, groups=groups) for system in (0, 1))  # type: ignore[misc]
    return Comparison(name, before, after, paired_difference(metric, n, groups=groups))


def _ndcg(queries: IntArray, documents: IntArray, left: FloatArray, right: FloatArray) -> DoubleArray:
    """Return the nDCG@10 of each query among all documents of the test rows, in the order of the queries' numbers."""
    query_ids, query_rows = np.unique(queries, return_index=True)
    document_ids, document_rows = np.unique(documents, return_index=True)
    judgments: dict[str, dict[str, int]] = {str(query): {} for query in query_ids}
    for query, document in zip(queries.tolist(), documents.tolist(), strict=True):
        judgments[str(query)][str(document)] = 1
    names = [str(document) for document in document_ids]
    run = {}
    for query, row in zip(query_ids, query_rows, strict=True):
        scores = right[document_rows] @ left[row]
        best = np.argsort(-scores, kind="stable")[:20]
        run[str(query)] = {names[index]: float(scores[index]) for index in best}
    return np.array(list(ndcg(judgments, run).values()))


def area_under_curve(scores: DoubleArray, labels: npt.NDArray[np.bool_]) -> float:
    """Return the probability that a row with label 1 has a greater score than one without, or NaN with one class only."""
    n_positive = int(labels.sum())
    n_negative = len(labels) - n_positive
    if not n_positive or not n_negative:
        return float("nan")
    return float((ranks(scores)[labels].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def best_accuracy(scores: DoubleArray, labels: npt.NDArray[np.bool_]) -> float:
    """Return the accuracy at the threshold that is best for these rows."""
    order = np.argsort(-scores, kind="stable")
    hits = np.concatenate([[0], np.cumsum(labels[order])])
    above = np.arange(len(labels) + 1)
    correct = hits + (len(labels) - above) - (hits[-1] - hits)
    # A threshold between two equal scores does not exist.
    ordered = scores[order]
    exists = np.concatenate([[True], ordered[1:] != ordered[:-1], [True]])
    return float(correct[exists].max() / len(labels))
