"""The helpers that OpenAI's embeddings guide imports, which the openai package dropped with its version 1.0.

Write ``from umekomi.embeddings_utils import …`` where the guide has ``from openai.embeddings_utils import …``; the names, the
arguments and what comes back are the same. Texts are embedded on this machine, by the model that ``engine`` names: its vectors
are not OpenAI's. Only ``print`` in :func:`plot_multiclass_precision_recall` is a habit of theirs that is not one of ours.

>>> round(float(cosine_similarity([1.0, 0.0], [1.0, 1.0])), 3)
0.707
>>> indices_of_nearest_neighbors_from_distances(distances_from_embeddings([1.0, 0.0], [[0.0, 1.0], [2.0, 0.0]])).tolist()
[1, 0]
"""

from __future__ import annotations

import asyncio
import html
import textwrap
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .embedder import Embedder
from .errors import InputError
from .extras import import_optional
from .vectors.arithmetic import DoubleArray, FloatArray, Metric

MAX_BATCH = 2048
"""As many texts as the API takes at once."""

# What the old client took beside the text: who asks and how to reach the server. Here there is nobody to reach.
_WITHOUT_EFFECT = {
    "user", "encoding_format", "api_key", "api_base", "api_type", "api_version", "organization", "headers", "timeout",
    "request_timeout", "request_id", "deployment_id",
}  # fmt: skip


def get_embedding(text: str, engine: str = "text-similarity-davinci-001", **kwargs: Any) -> list[float]:
    """The vector of a text, newlines in it taken as spaces: ``dims`` numbers.

    Args:
        text: what to embed.
        engine: the model; ``model=`` means the same and wins.
        kwargs: ``dimensions`` for models that can shorten; what told the old client how to reach a server has no effect.

    Raises:
        InputError: the text is empty, or there is no such argument.
        ModelNotFoundError: there is no such model.
        TokenLimitError: the text is longer than the model takes.
    """
    return get_embeddings([text], engine, **kwargs)[0]


async def aget_embedding(text: str, engine: str = "text-similarity-davinci-001", **kwargs: Any) -> list[float]:
    """:func:`get_embedding` without holding up the event loop: it runs in a thread."""
    return await asyncio.to_thread(get_embedding, text, engine, **kwargs)


def get_embeddings(
    list_of_text: Sequence[str], engine: str = "text-similarity-babbage-001", **kwargs: Any
) -> list[list[float]]:
    """The vectors of at most 2,048 texts, as :func:`get_embedding`.

    Raises:
        InputError: there are more.
    """
    if len(list_of_text) > MAX_BATCH:
        raise InputError(
            f"There are {len(list_of_text)} texts; give at most {MAX_BATCH} at once.", param="list_of_text"
        )
    strange = sorted(set(kwargs) - _WITHOUT_EFFECT - {"model", "dimensions"})
    if strange:
        raise InputError(f"There is no argument {strange[0]!r}; use engine, model or dimensions.", param=strange[0])
    texts = [text.replace("\n", " ") for text in list_of_text]
    embedder = _load(kwargs.get("model") or engine)
    vectors: list[list[float]] = embedder.embed(texts, dimensions=kwargs.get("dimensions")).tolist()
    return vectors


async def aget_embeddings(
    list_of_text: Sequence[str], engine: str = "text-similarity-babbage-001", **kwargs: Any
) -> list[list[float]]:
    """:func:`get_embeddings` without holding up the event loop: it runs in a thread."""
    return await asyncio.to_thread(get_embeddings, list_of_text, engine, **kwargs)


def cosine_similarity(a: npt.ArrayLike, b: npt.ArrayLike) -> Any:
    """The cosine of the angle between ``a`` ``(dims,)`` or ``(n, dims)`` and ``b`` ``(dims,)``; NaN where one is all zeros."""
    left, right = np.asarray(a), np.asarray(b)
    return left @ right / (np.linalg.norm(left) * np.linalg.norm(right))


def distances_from_embeddings(
    query_embedding: npt.ArrayLike, embeddings: npt.ArrayLike, distance_metric: str = "cosine"
) -> list[float]:
    """How far each of ``embeddings`` is from the query: cosine, L1, L2 or Linf, in double precision.

    Raises:
        InputError: there is no such metric, or the vectors are not of one length.
    """
    query, others = np.asarray(query_embedding, dtype=np.float64), _table(embeddings)
    if distance_metric not in ("cosine", "L1", "L2", "Linf"):
        raise InputError(f"There is no distance {distance_metric!r}; choose one of cosine, L1, L2, Linf.")
    if query.shape != others.shape[1:]:
        raise InputError(f"The query has {query.size} dimensions, the embeddings have {others.shape[1]}.")
    if distance_metric == Metric.COSINE:
        with np.errstate(invalid="ignore"):
            found = 1.0 - others @ query / (np.linalg.norm(others, axis=1) * np.linalg.norm(query))
    else:
        order = {Metric.MANHATTAN: 1, Metric.EUCLIDEAN: 2, Metric.CHEBYSHEV: np.inf}[Metric(distance_metric)]
        found = np.linalg.norm(others - query, ord=order, axis=1)
    listed: list[float] = found.tolist()
    return listed


def indices_of_nearest_neighbors_from_distances(distances: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """The places of the distances, from the smallest to the greatest: ``(n,)``."""
    return np.argsort(np.asarray(distances))


def pca_components_from_embeddings(embeddings: npt.ArrayLike, n_components: int = 2) -> DoubleArray:
    """The first principal components, ``(n, n_components)``."""
    components: DoubleArray = _need("sklearn.decomposition").PCA(n_components).fit_transform(_table(embeddings))
    return components


def tsne_components_from_embeddings(embeddings: npt.ArrayLike, n_components: int = 2, **kwargs: Any) -> FloatArray:
    """A t-SNE map, ``(n, n_components)``, begun from the principal components; ``kwargs`` go to scikit-learn's TSNE."""
    options = {"init": "pca", "learning_rate": "auto", **kwargs}
    tsne = _need("sklearn.manifold").TSNE(n_components=n_components, **options)
    components: FloatArray = tsne.fit_transform(_table(embeddings))
    return components


def chart_from_components(
    components: npt.NDArray[Any],
    labels: Sequence[str] | None = None,
    strings: Sequence[str] | None = None,
    x_title: str = "Component 0",
    y_title: str = "Component 1",
    mark_size: int = 5,
    **kwargs: Any,
) -> Any:
    """An interactive chart of two components, a plotly Figure: a colour and a sign for each label, the strings on hover."""
    return _chart("scatter", components, [x_title, y_title], labels, strings, mark_size, kwargs)


def chart_from_components_3D(  # noqa: N802 - the old name
    components: npt.NDArray[Any],
    labels: Sequence[str] | None = None,
    strings: Sequence[str] | None = None,
    x_title: str = "Component 0",
    y_title: str = "Component 1",
    z_title: str = "Compontent 2",
    mark_size: int = 5,
    **kwargs: Any,
) -> Any:
    """As :func:`chart_from_components`, of three components. (The default of ``z_title`` is spelt as it always was.)"""
    return _chart("scatter_3d", components, [x_title, y_title, z_title], labels, strings, mark_size, kwargs)


def plot_multiclass_precision_recall(
    y_score: npt.ArrayLike, y_true_untransformed: npt.ArrayLike, class_list: Sequence[Any], classifier_name: str
) -> None:
    """Draw precision against recall, for each class and for all together, on a new figure of matplotlib.

    Args:
        y_score: ``(n, classes)``, a score or probability a class.
        y_true_untransformed: ``(n,)``, the true classes.
        class_list: the classes, in the order of the columns of ``y_score``.
        classifier_name: for the title, and for the line with the average precision that is printed.

    Raises:
        InputError: there is not one column a class, or not one row a true class.
    """
    scores, truth = _table(y_score), np.asarray(y_true_untransformed)
    if scores.shape != (len(truth), len(class_list)):
        raise InputError(
            f"y_score has the shape {scores.shape}; {len(truth)} texts and {len(class_list)} classes need as many."
        )
    metrics, pyplot = _need("sklearn.metrics"), _need("matplotlib.pyplot")
    member = np.stack([truth == name for name in class_list], axis=1)
    overall = metrics.average_precision_score(member, scores, average="micro")
    print(f"{classifier_name} - Average precision score over all classes: {overall:0.2f}")

    figure, axes = pyplot.subplots(figsize=(9, 10))
    figure.subplots_adjust(bottom=0.25)
    recall = np.linspace(0.01, 1.0, 200)
    for number, f1 in enumerate((0.2, 0.4, 0.6, 0.8)):
        # Where precision and recall have this harmonic mean.
        right = recall > f1 / 2
        contour = f1 * recall[right] / (2 * recall[right] - f1)
        axes.plot(recall[right], contour, color="gray", alpha=0.2, label="iso-f1 curves" if number == 0 else None)
        axes.annotate(f"f1={f1:0.1f}", (0.9, f1 * 0.9 / (1.8 - f1) + 0.02))
    precision, found, _ = metrics.precision_recall_curve(member.ravel(), scores.ravel())
    axes.plot(found, precision, color="gold", lw=2, label=f"average Precision-recall (auprc = {overall:0.2f})")
    for place, name in enumerate(class_list):
        precision, found, _ = metrics.precision_recall_curve(member[:, place], scores[:, place])
        area = metrics.average_precision_score(member[:, place], scores[:, place])
        axes.plot(found, precision, lw=2, label=f"Precision-recall for class `{name}` (auprc = {area:0.2f})")
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.05), xlabel="Recall", ylabel="Precision")
    axes.set_title(f"{classifier_name}: Precision-Recall curve for each class")
    for text in (axes.title, *axes.legend().get_texts()):
        text.set_parse_math(False)  # names of classes are data, not formulas
    import_optional("umekomi.plots.fonts").use_installed_fonts(figure)


def _chart(
    kind: str,
    components: npt.NDArray[Any],
    titles: Sequence[str],
    labels: Sequence[str] | None,
    strings: Sequence[str] | None,
    mark_size: int,
    options: dict[str, Any],
) -> Any:
    points = _table(components)
    if points.shape[1] < len(titles):
        raise InputError(f"The components are {points.shape[1]} columns; this chart needs {len(titles)}.")
    columns: dict[str, Any] = {title: points[:, place] for place, title in enumerate(titles)}
    names, texts = list(() if labels is None else labels), list(() if strings is None else strings)
    # Plotly reads some HTML in every text; texts and labels are data, so that it must not.
    columns["label"] = [html.escape(n, quote=False) if isinstance(n, str) else n for n in names] or [""] * len(points)
    columns["string"] = [_folded(text) for text in texts] or [""] * len(points)
    for name in ("label", "string"):
        if len(columns[name]) != len(points):
            raise InputError(f"There are {len(points)} points and {len(columns[name])} {name}s; give one a point.")
    figure = getattr(_need("plotly.express"), kind)(
        pa.table(columns),
        **dict(zip("xyz", titles, strict=False)),
        color="label" if names else None,
        symbol="label" if names else None,
        hover_data=["string"] if texts else None,
        **options,
    )
    return figure.update_traces(marker={"size": mark_size})


def _folded(text: str) -> str:
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(text, width=30))


def _table(values: npt.ArrayLike) -> DoubleArray:
    """Lists, an array, or a pandas column of lists, as ``(n, dims) float64``."""
    try:
        table = np.array(values.tolist() if hasattr(values, "tolist") else values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("The vectors do not form a table of numbers: they must all have the same length.") from error
    if table.ndim != 2:
        raise InputError(f"The vectors have {table.ndim} axes; give a list of vectors.")
    return table


@lru_cache(maxsize=4)
def _load(engine: str) -> Embedder:
    return Embedder(engine)


def _need(module: str) -> Any:
    """A library that only some of these helpers need."""
    return import_optional(module)
