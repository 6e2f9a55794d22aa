"""Options of the tasks, in a module of their own because the tasks take a second to import."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from ..errors import InputError

Choice = TypeVar("Choice", bound=StrEnum)


class AnomalyMethod(StrEnum):
    """Score of an anomaly.

    ``knn`` is the mean cosine distance to the k nearest rows. ``lof`` is the local outlier factor (Breunig et al.
    2000): how much lower the density around a row is than the density around its neighbors.
    """

    KNN = "knn"
    LOF = "lof"


class ClusterMethod(StrEnum):
    """Clustering algorithm. K-means uses mini-batches (Sculley 2010) from 50,000 rows on."""

    KMEANS = "kmeans"
    HDBSCAN = "hdbscan"


class Learner(StrEnum):
    """Model to train: the default, or the guide's random forest of 100 trees, which can be measured but not saved."""

    DEFAULT = "default"
    FOREST = "forest"


class Calibration(StrEnum):
    """What the scores of a row depend on."""

    #: The row and the labels. The result of a text does not depend on other texts.
    NONE = "none"
    #: All rows, from 50 rows and 15 rows per label on (:func:`~umekomi.tasks.zero_shot.zero_shot`).
    BATCH = "batch"


class Copies(StrEnum):
    """Whether profiles exclude copies of the measured text, or keep them as OpenAI's guide does."""

    EXCLUDE = "exclude"
    KEEP = "keep"


class Split(StrEnum):
    """Choice of the test rows.

    ``text`` puts all copies of a text on one side and draws the same share of every class. ``rows`` draws rows at
    random, as OpenAI's guide does, so that test rows can be copies of training rows.
    """

    TEXT = "text"
    ROWS = "rows"


class MapMethod(StrEnum):
    """Projection to two or three dimensions.

    ``tsne`` is t-SNE (van der Maaten & Hinton 2008) with the guide's parameters, for some thousands of rows. ``fast``
    is t-SNE with interpolation (Linderman et al. 2019, openTSNE) of the first principal components, for hundreds of
    thousands of rows. ``pca`` is the first two or three principal components. ``auto`` is ``tsne`` up to 5,000 rows and
    ``fast`` above.
    """

    AUTO = "auto"
    TSNE = "tsne"
    FAST = "fast"
    PCA = "pca"


def parse_method(choices: type[Choice], value: str) -> Choice:
    """Return the choice with this value.

    Raises:
        InputError: No choice has this value.
    """
    try:
        return choices(value)
    except ValueError as error:
        raise InputError(f"There is no method {value!r}; choose one of {', '.join(choices)}.") from error
