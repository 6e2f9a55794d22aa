"""Profiles: a user is the mean of the texts that they wrote, a product the mean of the texts about it.

The cosine of two profiles predicts whether a user will like a product that they have not reviewed (the cold start of a
recommender). A mean of one or two texts varies a lot, so profiles can be shrunk towards the overall mean, and
profiles with little support can be left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import InputError
from ..evaluation import metrics
from ..evaluation.duplicates import group_copies, merge_groups
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray, normalize, require_nonzero
from .choices import Copies

SHRINKAGE = 1.0
RESAMPLES = 1000
_DECIMALS = 5


@dataclass(frozen=True, slots=True)
class Profiles:
    """One vector per key, in the order in which the keys first appear."""

    #: Keys of the profiles.
    keys: tuple[Hashable, ...]
    #: ``(k, dims) float32``, of length 1.
    vectors: FloatArray
    #: ``(k,) int64``, the number of texts behind each profile.
    counts: IntArray

    def index(self, key: Hashable) -> int | None:
        """Return the index of a key, or None if it has no profile."""
        try:
            return self.keys.index(key)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A product for a user."""

    #: Key of the product.
    key: Hashable
    #: Cosine of the two profiles.
    score: float


@dataclass(frozen=True, slots=True)
class ProfileFit:
    """How well the similarity of two profiles predicts a score, on pairs whose text is in neither profile."""

    #: Cosines of the profiles, ``(n,)``, rounded to five decimals, because the order of copies would otherwise depend
    #: on rounding errors.
    similarities: DoubleArray
    #: Ranks of the similarities from 0 to 1; equal similarities share a rank.
    percentiles: DoubleArray
    #: Scores of the pairs, ``(n,)``.
    scores: DoubleArray
    #: ``(n,)``, the independent unit of each pair: pairs of one user, or with copies of one text, are in one unit.
    units: IntArray
    #: Pearson correlation of percentile and score, as in OpenAI's guide; NaN with fewer than two pairs or if all scores
    #: are equal.
    correlation: float
    #: Lower end of the 95 % interval of the correlation, by the bootstrap over the units.
    low: float
    #: Upper end of this interval.
    high: float
    #: Number of pairs with a copy of their own text in one of the profiles, before copies were excluded.
    n_copied: int

    @property
    def estimate(self) -> metrics.Estimate:
        """The correlation with its interval."""
        return metrics.Estimate(self.correlation, self.low, self.high)


def make_profiles(
    vectors: FloatArray,
    keys: Sequence[Hashable],
    *,
    min_support: int = 1,
    shrinkage: float = 0.0,
    center: FloatArray | None = None,
) -> Profiles:
    """Average the vectors of each key.

    Args:
        vectors: ``(n, dims) float32``, one vector per text.
        keys: Key of each text. Texts with the key None are in no profile.
        min_support: Minimum number of texts of a profile.
        shrinkage: Number of texts equal to the overall mean that are added to each profile.
        center: ``(dims,)``, subtracted from every vector first, because what all texts share says nothing about a key.
            With it, the overall mean is about zero.

    Raises:
        InputError: The number of keys is wrong, a vector is all zeros or not finite, an option is out of range, or no
            key has enough texts.
    """
    matrix = require_nonzero(vectors)
    if len(keys) != len(matrix):
        raise InputError(f"There are {len(matrix)} vectors and {len(keys)} keys; give one key for each vector.")
    if min_support < 1 or shrinkage < 0:
        raise InputError("The minimum support must be at least 1, and the shrinkage must not be negative.")
    rows_by_key = _rows_by_key(keys, np.zeros(len(matrix), dtype=bool))
    selected = {key: rows for key, rows in rows_by_key.items() if len(rows) >= min_support}
    if not selected:
        max_support = max(map(len, rows_by_key.values()), default=0)
        raise InputError(
            f"No key has {min_support} texts; the largest number is {max_support}. Use a smaller minimum support."
        )
    prior = matrix.mean(axis=0)
    if center is not None:
        matrix, prior = matrix - center, prior - center
    means = np.stack([_shrunk_mean(matrix[rows], shrinkage, prior) for rows in selected.values()])
    counts = np.array([len(rows) for rows in selected.values()], dtype=np.int64)
    return Profiles(tuple(selected), normalize(means.astype(np.float32)), counts)


def suggest(
    users: Profiles, products: Profiles, user: Hashable, *, n: int = 5, seen: Sequence[Hashable] = ()
) -> list[Suggestion]:
    """Return the ``n`` products whose profiles are most similar to a user's, without the products in ``seen``.

    Raises:
        InputError: The user has no profile, or the profiles have different dimensions.
    """
    row = users.index(user)
    if row is None:
        raise InputError(f"There is no profile of {user!r}: it has no text, or fewer than the minimum support.")
    if users.vectors.shape[1] != products.vectors.shape[1]:
        raise InputError("The profiles of users and of products are of different models. Compute both from one file.")
    scores = products.vectors @ users.vectors[row]
    order = [i for i in np.argsort(-scores, kind="stable").tolist() if products.keys[i] not in set(seen)]
    return [Suggestion(products.keys[i], float(scores[i])) for i in order[:n]]


def evaluate_profiles(
    vectors: FloatArray,
    users: Sequence[Hashable],
    products: Sequence[Hashable],
    scores: Sequence[float] | DoubleArray,
    *,
    test: IntArray | None = None,
    min_support: int = 1,
    shrinkage: float = SHRINKAGE,
    center: bool = True,
    texts: Sequence[str] | None = None,
    copies: Copies | str = Copies.EXCLUDE,
    seed: int = 0,
) -> ProfileFit:
    """Measure whether similar profiles come with high scores, on texts that are in neither profile.

    Args:
        vectors: ``(n, dims) float32``, one vector per text.
        users: Author of each text.
        products: Product of each text.
        scores: Score of each text.
        test: Rows to measure on, which are then in no profile, as in OpenAI's guide. By default every row in turn, with
            the profiles of its user and product computed without it, which gives the largest number of pairs.
        min_support: Minimum number of texts of both profiles of a pair.
        shrinkage: As of :func:`make_profiles`.
        center: Whether to subtract the mean of all texts from every vector first.
        texts: The ``n`` texts, to find copies by. By default copies are found by their vectors alone.
        copies: ``exclude`` removes copies of the measured text from both profiles, because they contain its answer
            (some users send one review for several products). ``keep`` is what OpenAI's guide does.
        seed: Seed of the bootstrap.

    Raises:
        InputError: The lengths differ, a score is not finite, or there are no pairs.
    """
    matrix = require_nonzero(vectors)
    y = np.asarray(scores, dtype=np.float64)
    if not len(matrix) == len(users) == len(products) == len(y):
        raise InputError("Give one user, one product and one score for each vector.")
    if not np.isfinite(y).all():
        raise InputError(f"The score of row {int(np.flatnonzero(~np.isfinite(y))[0])} is not a number.")
    is_test = np.zeros(len(matrix), dtype=bool)
    if test is not None:
        is_test[test] = True
    text_ids = group_copies(matrix, texts)
    prior = matrix[~is_test].mean(axis=0)
    if center:
        matrix, prior = matrix - prior, np.zeros_like(prior)
    rows_by_user, rows_by_product = _rows_by_key(users, is_test), _rows_by_key(products, is_test)
    measured, similarities, n_copied = [], [], 0
    for row in np.flatnonzero(is_test).tolist() if test is not None else range(len(matrix)):
        sides = [
            [i for i in rows_by_user.get(users[row], []) if i != row],
            [i for i in rows_by_product.get(products[row], []) if i != row],
        ]
        if all(sides) and any(text_ids[i] == text_ids[row] for side in sides for i in side):
            n_copied += 1
        if Copies(copies) is Copies.EXCLUDE:
            sides = [[i for i in side if text_ids[i] != text_ids[row]] for side in sides]
        if min(map(len, sides)) >= max(1, min_support):
            left, right = (_shrunk_mean(matrix[side], shrinkage, prior) for side in sides)
            measured.append(row)
            similarities.append(float(left @ right / max(float(np.linalg.norm(left) * np.linalg.norm(right)), 1e-12)))
    if not measured:
        raise InputError(
            "No text has both a profile of its user and one of its product without it; use a smaller minimum support."
        )
    units = merge_groups([users[row] for row in measured], text_ids[measured].tolist())
    return _fit(np.round(similarities, _DECIMALS), y[measured], units, n_copied, seed)


def _shrunk_mean(vectors: FloatArray, shrinkage: float, prior: FloatArray) -> FloatArray:
    mean: FloatArray = (vectors.sum(axis=0) + shrinkage * prior) / (len(vectors) + shrinkage)
    return mean


def _rows_by_key(keys: Sequence[Hashable], excluded: np.ndarray) -> dict[Hashable, list[int]]:
    rows_by_key: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None and not excluded[row]:
            rows_by_key.setdefault(key, []).append(row)
    return rows_by_key


def _fit(similarities: DoubleArray, scores: DoubleArray, units: IntArray, n_copied: int, seed: int) -> ProfileFit:
    correlation = metrics.bootstrap(
        lambda rows: metrics.pearson(metrics.ranks(similarities[rows]), scores[rows]),
        len(scores),
        groups=units,
        seed=seed,
        resamples=RESAMPLES,
    )
    percentiles = metrics.ranks(similarities) / len(similarities)
    return ProfileFit(
        similarities, percentiles, scores, units, correlation.value, correlation.low, correlation.high, n_copied
    )
