"""Profiles: a user is the mean of what they wrote, a product the mean of what was written about it.

Two profiles tell how well the two suit each other before they have met (the cold start of a recommender). A mean of one or
two texts is mostly chance, so that profiles can be shrunk towards the mean of all, and such of little support left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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
    """One vector a key, in the order in which the keys came.

    ``vectors`` is ``(k, dims) float32`` of length 1, ``counts`` the texts behind each.
    """

    keys: tuple[Hashable, ...]
    vectors: FloatArray
    counts: IntArray

    def place(self, key: Hashable) -> int | None:
        """Where a key is, or None if it has no profile."""
        try:
            return self.keys.index(key)
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A product for a user; ``score`` is the cosine of their profiles."""

    key: Hashable
    score: float


@dataclass(frozen=True, slots=True)
class Fit:
    """How well the similarity of two profiles predicts a score, on pairs whose text is in neither profile.

    Attributes:
        similarities: cosines of the profiles, ``(n,)``, rounded to five decimals, because the order of copies would otherwise
            depend on rounding errors.
        percentiles: their ranks from 0 to 1; equal similarities share one.
        scores: ``(n,)``.
        units: ``(n,)``, the independent unit of each pair: pairs of one user, or with copies of one text, are in one unit.
        correlation: Pearson's between percentile and score, as in OpenAI's guide; NaN where there are no two pairs or all scores
            are equal.
        low, high: its 95 % interval, by the bootstrap over the units.
        copied: how many pairs had a copy of their own text in one of the profiles, before copies were left out.
    """

    similarities: DoubleArray
    percentiles: DoubleArray
    scores: DoubleArray
    units: IntArray
    correlation: float
    low: float
    high: float
    copied: int


def make_profiles(
    vectors: FloatArray,
    keys: Sequence[Hashable],
    *,
    min_support: int = 1,
    shrinkage: float = 0.0,
    center: FloatArray | None = None,
) -> Profiles:
    """The mean vector of each key.

    Args:
        vectors: ``(n, dims) float32``, one a text.
        keys: whose each text is; a text of None is nobody's.
        min_support: a key with fewer texts than this has no profile.
        shrinkage: how many texts like the mean of all are added to each key's own.
        center: ``(dims,)``, taken from every vector first: what all texts share says nothing of a key. With it, the mean of
            all is about zero.

    Raises:
        InputError: there is not one key a vector, a vector is all zeros or not finite, an option is negative, or no key has
            enough texts.
    """
    matrix = require_nonzero(vectors)
    if len(keys) != len(matrix):
        raise InputError(f"There are {len(matrix)} vectors and {len(keys)} keys; give one key a vector.")
    if min_support < 1 or shrinkage < 0:
        raise InputError("The minimum support is at least 1, and the shrinkage not negative.")
    places: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            places.setdefault(key, []).append(row)
    kept = {key: rows for key, rows in places.items() if len(rows) >= min_support}
    if not kept:
        most = max(map(len, places.values()), default=0)
        raise InputError(f"No key has {min_support} texts; the most that one has is {most}. Ask for less support.")
    everything = matrix.mean(axis=0)
    moved = matrix if center is None else matrix - center
    prior = everything if center is None else everything - center
    means = np.stack(
        [(moved[rows].sum(axis=0) + shrinkage * prior) / (len(rows) + shrinkage) for rows in kept.values()]
    )
    counts = np.array([len(rows) for rows in kept.values()], dtype=np.int64)
    return Profiles(tuple(kept), normalize(means.astype(np.float32)), counts)


def suggest(
    users: Profiles, products: Profiles, user: Hashable, *, n: int = 5, seen: Sequence[Hashable] = ()
) -> list[Suggestion]:
    """The products whose profiles are most like a user's, those that the user has ``seen`` left out.

    Raises:
        InputError: the user has no profile, or the profiles are of different dimensions.
    """
    place = users.place(user)
    if place is None:
        raise InputError(f"There is no profile of {user!r}; it has no text here, or fewer than the minimum support.")
    if users.vectors.shape[1] != products.vectors.shape[1]:
        raise InputError("The profiles of users and of products are of different models; make both from one file.")
    scores = products.vectors @ users.vectors[place]
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
) -> Fit:
    """Do similar profiles go with high scores? Measured on texts that are in neither profile.

    Args:
        vectors: ``(n, dims) float32``, one a text.
        users: who wrote each.
        products: what each is about.
        scores: what each gave.
        test: the rows to measure on, which then are in no profile, as in OpenAI's guide. By default every row in turn, its
            own user's and product's profiles made without it: the most pairs that the data have.
        min_support: a pair counts where both profiles have this many texts.
        shrinkage: as of :func:`make_profiles`.
        center: take the mean of all texts from every vector first.
        texts: the ``n`` texts, to find copies by; by default they are found by their vectors alone.
        copies: ``exclude`` leaves copies of the measured text out of both profiles, since they contain its answer (some users
            send one review for several products). ``keep`` is what OpenAI's guide does.
        seed: of the bootstrap.

    Raises:
        InputError: the lengths differ, a score is not a number, or no pair is left.
    """
    matrix = require_nonzero(vectors)
    given = np.asarray(scores, dtype=np.float64)
    if not len(matrix) == len(users) == len(products) == len(given):
        raise InputError("Give one user, one product and one score a vector.")
    if not np.isfinite(given).all():
        raise InputError(f"The score of row {int(np.flatnonzero(~np.isfinite(given))[0])} is not a number.")
    held = np.zeros(len(matrix), dtype=bool)
    if test is not None:
        held[test] = True
    groups = group_copies(matrix, texts)
    prior = matrix[~held].mean(axis=0)
    moved = matrix - prior if center else matrix
    base = np.zeros_like(prior) if center else prior
    of_user, of_product = _rows(users, held), _rows(products, held)
    rows, found, copied = [], [], 0
    for row in np.flatnonzero(held).tolist() if test is not None else range(len(matrix)):
        mine = [i for i in of_user.get(users[row], []) if i != row]
        its = [i for i in of_product.get(products[row], []) if i != row]
        if mine and its and any(groups[i] == groups[row] for i in (*mine, *its)):
            copied += 1
        if Copies(copies) is Copies.EXCLUDE:
            mine, its = ([i for i in some if groups[i] != groups[row]] for some in (mine, its))
        if min(len(mine), len(its)) >= max(1, min_support):
            left, right = (
                (moved[some].sum(axis=0) + shrinkage * base) / (len(some) + shrinkage) for some in (mine, its)
            )
            rows.append(row)
            found.append(float(left @ right / max(float(np.linalg.norm(left) * np.linalg.norm(right)), 1e-12)))
    if not rows:
        raise InputError(
            "No text has both a profile of its user and one of its product without it; ask for less support."
        )
    units = merge_groups([users[row] for row in rows], groups[rows].tolist())
    return _fit(np.round(found, _DECIMALS), given[rows], units, copied, seed)


def _rows(keys: Sequence[Hashable], held: npt.NDArray[np.bool_]) -> dict[Hashable, list[int]]:
    places: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None and not held[row]:
            places.setdefault(key, []).append(row)
    return places


def _fit(similarities: DoubleArray, scores: DoubleArray, units: IntArray, copied: int, seed: int) -> Fit:
    percentiles = metrics.ranks(similarities) / len(similarities)
    found = metrics.bootstrap(
        lambda rows: metrics.pearson(metrics.ranks(similarities[rows]), scores[rows]),
        len(scores),
        groups=units,
        seed=seed,
        resamples=RESAMPLES,
    )
    return Fit(similarities, percentiles, scores, units, found.value, found.low, found.high, copied)
