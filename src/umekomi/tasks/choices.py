"""What a task can be done by, where there is a choice: apart from what does it, which takes a second to import."""

from __future__ import annotations

from enum import StrEnum


class AnomalyMethod(StrEnum):
    """``knn``: the mean cosine distance to the k nearest rows. ``lof``: the local outlier factor (Breunig et al. 2000), how
    much sparser a row's surroundings are than its neighbours' own."""

    KNN = "knn"
    LOF = "lof"


class ClusterMethod(StrEnum):
    """How to cluster. K-means goes over to mini-batches (Sculley 2010) from 50,000 rows on."""

    KMEANS = "kmeans"
    HDBSCAN = "hdbscan"


class Learner(StrEnum):
    """What learns: the default, or the guide's random forest of 100 trees (which can be measured, and not saved)."""

    DEFAULT = "default"
    FOREST = "forest"


class Copies(StrEnum):
    """What becomes of copies of a measured text in the profiles: left out, or kept as in OpenAI's guide."""

    EXCLUDE = "exclude"
    KEEP = "keep"


class Split(StrEnum):
    """Which rows are kept for measuring. ``text``: all copies of a text are on one side, and every class gives its share.
    ``rows``: a plain random draw of rows, the split of OpenAI's guide, in which copies of training rows are tested on."""

    TEXT = "text"
    ROWS = "rows"


class MapMethod(StrEnum):
    """``tsne``: t-SNE (van der Maaten & Hinton 2008) with the guide's parameters, for some thousands of rows. ``fast``: t-SNE by
    interpolation (Linderman et al. 2019, openTSNE) from the first principal components, for hundreds of thousands. ``pca``: the
    two or three strongest directions. ``auto``: ``tsne`` up to 5,000 rows, then ``fast``."""

    AUTO = "auto"
    TSNE = "tsne"
    FAST = "fast"
    PCA = "pca"
