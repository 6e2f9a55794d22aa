"""The map's layout and its groups: where each row lies in two dimensions, and what the regions are about.

Up to ``LANDMARKS`` rows, t-SNE of all of them (van der Maaten and Hinton 2008, with the interpolation of Linderman et al. 2019,
as openTSNE has it). Of more, t-SNE of as many drawn at random, and each other row at the weighted mean of its nearest of
them: the map of 200,000 rows costs little more than that of 10,000. A layout is kept in the cache, by the vectors' checksum.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from openTSNE import TSNE
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning

from ..errors import InputError
from ..files.outputs import atomic_write
from ..machine import available_cores
from ..settings import Settings
from ..tasks.terms import distinctive_terms, extract_terms
from ..vectors.arithmetic import DoubleArray, FloatArray, IntArray
from .dataset import NO_CODE, Dataset

LANDMARKS = 10_000
COMPONENTS = 50
"""t-SNE starts from so many principal components: the rest is noise to it, and costs time."""
LETTERS = 4000
"""So much of a text counts for the words of its group."""
SEED = 0
DEPTHS = (9, 30, 90)
"""How many groups the map names: at first, and as one zooms in."""
_VERSION = 1


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of like meaning. ``x``, ``y``: where its name stands on the map."""

    cluster: int
    name: str
    size: int
    x: float
    y: float
    terms: tuple[str, ...]
    places: IntArray
    central: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups at each depth, coarse first; ``codes`` is ``(rows,) uint16``, the coarse group of each row, or ``NO_CODE``."""

    levels: tuple[tuple[Group, ...], ...]
    codes: npt.NDArray[np.uint16]


def lay_out(dataset: Dataset, settings: Settings) -> FloatArray:
    """Positions ``(rows, 2) float32``, about the origin; the same vectors get the same map. NaN for rows without a vector."""
    positions = np.full((len(dataset), 2), np.nan, dtype=np.float32)
    cached = settings.cache / "maps" / f"{dataset.vectors_digest}-{_VERSION}.npy"
    found = _load(cached, len(dataset.usable))
    if found is None:
        found = _project(dataset.vectors[dataset.usable])
        _keep(found, cached)
    positions[dataset.usable] = found
    return positions


def _load(path: Path, n: int) -> FloatArray | None:
    """A cached layout of ``n`` rows; None if there is none, or the file is damaged."""
    try:
        found: FloatArray = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):
        return None
    usable = isinstance(found, np.ndarray) and found.dtype == np.float32 and found.shape == (n, 2)
    return found if usable and np.isfinite(found).all() else None


def _project(vectors: FloatArray) -> FloatArray:
    n = len(vectors)
    if n < 5:
        # Too few for neighbourhoods to mean anything: a row of points, none upon another.
        return np.stack([np.arange(n) - (n - 1) / 2, np.zeros(n)], axis=1).astype(np.float32)
    random = np.random.default_rng(SEED)
    chosen = np.sort(random.choice(n, LANDMARKS, replace=False)) if n > LANDMARKS else np.arange(n)
    pca = PCA(min(COMPONENTS, n - 1, vectors.shape[1]), random_state=SEED, svd_solver="randomized").fit(vectors[chosen])
    reduced = pca.transform(vectors).astype(np.float32)
    if float(np.ptp(reduced[chosen], axis=0).max()) < 1e-5:
        return _spiral(n)  # all vectors are alike: t-SNE would divide by their spread
    perplexity = min(30.0, (len(chosen) - 1) / 3)
    # Threads wait for each other at every step: of few rows, one is faster, above all on a busy machine.
    jobs = available_cores() if len(chosen) >= 1000 else 1
    tsne = TSNE(perplexity=perplexity, initialization="pca", random_state=SEED, n_jobs=jobs)
    marks = np.asarray(tsne.fit(reduced[chosen]), dtype=np.float64)
    if n > LANDMARKS:
        marks = np.concatenate([_between(some, reduced[chosen], marks) for some in np.array_split(reduced, n // 2048)])
    marks -= np.median(marks, axis=0)
    return marks.astype(np.float32)


def _spiral(n: int) -> FloatArray:
    """Points around the origin at equal density, none upon another."""
    angle = np.arange(n) * np.pi * (3 - 5**0.5)
    points: FloatArray = np.stack([np.cos(angle), np.sin(angle)], axis=1) * np.sqrt(np.arange(n))[:, None]
    return points.astype(np.float32)


def _between(rows: FloatArray, landmarks: FloatArray, marks: DoubleArray) -> DoubleArray:
    """Where rows lie on the map, from where their ten nearest landmarks lie: a landmark itself lies where it is."""
    squares = np.square(landmarks).sum(axis=1) - 2.0 * (rows @ landmarks.T)
    places = np.argpartition(squares, 10, axis=1)[:, :10]
    distances = np.linalg.norm(rows[:, None, :] - landmarks[places], axis=2)
    weights = 1.0 / np.maximum(distances, 1e-6) ** 3
    weights /= weights.sum(axis=1, keepdims=True)
    between: DoubleArray = np.einsum("nk,nkd->nd", weights, marks[places])
    return between


def _keep(positions: FloatArray, place: Path) -> None:
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(place) as temporary, temporary.open("wb") as stream:
            np.save(stream, positions, allow_pickle=False)
    except (OSError, InputError):
        return  # a cache that cannot be written costs time only


def group(dataset: Dataset, positions: FloatArray) -> Groups:
    """Groups of like meaning at three depths: the coarse ones by the vectors, the finer ones by where rows lie on the map."""
    usable = dataset.usable
    n = len(usable)
    codes = np.full(len(dataset), NO_CODE, dtype=np.uint16)
    if not n:
        return Groups((), codes)
    texts = [text[:LETTERS] for text in dataset.texts(usable.tolist())]
    terms_by_row = [frozenset(extract_terms(text)) for text in texts]
    levels: list[tuple[Group, ...]] = []
    for depth, wanted in enumerate(DEPTHS):
        k = min(wanted, max(1, n // 8))
        if depth and k <= len(levels[-1]):
            break
        found = _k_means((dataset.vectors if depth == 0 else positions)[usable], k)
        order = np.argsort(-np.bincount(found, minlength=k), kind="stable")
        rank = np.empty(k, dtype=np.int64)
        rank[order] = np.arange(k)
        found = rank[found]
        if depth == 0:
            codes[usable] = found
        words = distinctive_terms(texts, found.tolist(), k, n=6, terms=terms_by_row)
        levels.append(
            tuple(_group(dataset, positions, usable[found == cluster], cluster, words[cluster]) for cluster in range(k))
        )
    return Groups(tuple(levels), codes)


def _k_means(values: FloatArray, k: int) -> IntArray:
    if len(values) > 20_000:
        return np.asarray(MiniBatchKMeans(k, random_state=SEED, n_init=3, batch_size=4096).fit_predict(values))
    with warnings.catch_warnings():
        # Fewer distinct vectors than groups: the groups without rows are left empty.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return np.asarray(KMeans(k, random_state=SEED, n_init=4).fit_predict(values))


def _group(dataset: Dataset, positions: FloatArray, places: IntArray, cluster: int, terms: tuple[str, ...]) -> Group:
    if not len(places):
        return Group(cluster, "", 0, 0.0, 0.0, (), places, ())
    center = dataset.vectors[places].mean(axis=0)
    central = places[np.argsort(-(dataset.vectors[places] @ center), kind="stable")[:5]]
    x, y = _dense_spot(positions[places])
    name = ", ".join(terms[:2])
    return Group(cluster, name, len(places), x, y, terms, places, tuple(int(place) for place in central))


def _dense_spot(points: FloatArray) -> tuple[float, float]:
    """Where most of the points are: the middle would often be a place where none is."""
    spot = np.median(points, axis=0)
    spread = float(np.median(np.linalg.norm(points - spot, axis=1))) or 1.0
    for _ in range(8):  # mean shift with a shrinking window
        weights = np.exp(-((np.linalg.norm(points - spot, axis=1) / spread) ** 2))
        spot = (points * weights[:, None]).sum(axis=0) / max(float(weights.sum()), 1e-9)
        spread *= 0.85
    return float(spot[0]), float(spot[1])
