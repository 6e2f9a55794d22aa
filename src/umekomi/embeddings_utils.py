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
"""Maximum number of texts in one call, as in the API."""

# Arguments of the old client that identify the user or the server. They are accepted and ignored.
_IGNORED = {
    "user", "encoding_format", "api_key", "api_base", "api_type", "api_version", "organization", "headers", "timeout",
    "request_timeout", "request_id", "deployment_id",
}  # fmt: skip


def get_embedding(text: str, engine: str = "text-similarity-davinci-001", **kwargs: Any) -> list[float]:
    """Return the vector of a text as a list of ``dims`` numbers. Newlines are replaced by spaces.

    Args:
        text: Text to embed.
        engine: Id of the model. ``model=`` is the same and takes precedence.
        kwargs: ``dimensions`` for models with shorter vectors. Arguments of the old client about the server are ignored.

    Raises:
        InputError: The text is empty, or an argument is unknown.
        ModelNotFoundError: There is no such model.
        TokenLimitError: The text has too many tokens for the model.
    """
    return get_embeddings([text], engine, **kwargs)[0]


async def aget_embedding(text: str, engine: str = "text-similarity-davinci-001", **kwargs: Any) -> list[float]:
    """Run :func:`get_embedding` in a thread."""
    return await asyncio.to_thread(get_embedding, text, engine, **kwargs)


def get_embeddings(
    list_of_text: Sequence[str], engine: str = "text-similarity-babbage-001", **kwargs: Any
) -> list[list[float]]:
    """Return the vectors of at most 2,048 texts. See :func:`get_embedding`.

    Raises:
        InputError: There are more texts.
    """
    if len(list_of_text) > MAX_BATCH:
        raise InputError(
            f"There are {len(list_of_text)} texts; pass at most {MAX_BATCH} at a time.", param="list_of_text"
        )
    unknown = sorted(set(kwargs) - _IGNORED - {"model", "dimensions"})
    if unknown:
        raise InputError(f"There is no argument {unknown[0]!r}; use engine, model or dimensions.", param=unknown[0])
    texts = [text.replace("\n", " ") for text in list_of_text]
    embedder = _load(kwargs.get("model") or engine)
    vectors: list[list[float]] = embedder.embed(texts, dimensions=kwargs.get("dimensions")).tolist()
    return vectors


async def aget_embeddings(
    list_of_text: Sequence[str], engine: str = "text-similarity-babbage-001", **kwargs: Any
) -> list[list[float]]:
    """Run :func:`get_embeddings` in a thread."""
    return await asyncio.to_thread(get_embeddings, list_of_text, engine, **kwargs)


def cosine_similarity(a: npt.ArrayLike, b: npt.ArrayLike) -> Any:
    """Return the cosine similarity of ``a (dims,)`` or ``(n, dims)`` and ``b (dims,)``; NaN for vectors of zeros."""
    left, right = np.asarray(a), np.asarray(b)
    return left @ right / (np.linalg.norm(left) * np.linalg.norm(right))


def distances_from_embeddings(
    query_embedding: npt.ArrayLike, embeddings: npt.ArrayLike, distance_metric: str = "cosine"
) -> list[float]:
    """Return the distance of each embedding from the query (cosine, L1, L2 or Linf), in double precision.

    Raises:
        InputError: The metric is unknown, or the vectors differ in length.
    """
    query, others = np.asarray(query_embedding, dtype=np.float64), _table(embeddings)
    if distance_metric not in ("cosine", "L1", "L2", "Linf"):
        raise InputError(f"There is no distance {distance_metric!r}; choose one of cosine, L1, L2, Linf.")
    if query.shape != others.shape[1:]:
        raise InputError(f"The query has {query.size} dimensions, the embeddings have {others.shape[1]}.")
    if distance_metric == Metric.COSINE:
        with np.errstate(invalid="ignore"):
            distances = 1.0 - others @ query / (np.linalg.norm(others, axis=1) * np.linalg.norm(query))
    else:
        order = {Metric.MANHATTAN: 1, Metric.EUCLIDEAN: 2, Metric.CHEBYSHEV: np.inf}[Metric(distance_metric)]
        distances = np.linalg.norm(others - query, ord=order, axis=1)
    result: list[float] = distances.tolist()
    return result


def indices_of_nearest_neighbors_from_distances(distances: npt.ArrayLike) -> npt.NDArray[np.intp]:
    """Return the indices of the distances in ascending order: ``(n,)``."""
    return np.argsort(np.asarray(distances))


def pca_components_from_embeddings(embeddings: npt.ArrayLike, n_components: int = 2) -> DoubleArray:
    """Return the first principal components: ``(n, n_components)``."""
    components: DoubleArray = (
        import_optional("sklearn.decomposition").PCA(n_components).fit_transform(_table(embeddings))
    )
    return components


def tsne_components_from_embeddings(embeddings: npt.ArrayLike, n_components: int = 2, **kwargs: Any) -> FloatArray:
    """Return a t-SNE map ``(n, n_components)``, initialized with PCA. ``kwargs`` are passed to scikit-learn's TSNE."""
    options = {"init": "pca", "learning_rate": "auto", **kwargs}
    tsne = import_optional("sklearn.manifold").TSNE(n_components=n_components, **options)
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
    """Return a plotly Figure of two components. Labels have colors and symbols; strings are shown on hover."""
    return _chart("scatter", components, [x_title, y_title], labels, strings, mark_size, kwargs)


def chart_from_components_3D(  # noqa: N802 - the original name
    components: npt.NDArray[Any],
    labels: Sequence[str] | None = None,
    strings: Sequence[str] | None = None,
    x_title: str = "Component 0",
    y_title: str = "Component 1",
    z_title: str = "Compontent 2",
    mark_size: int = 5,
    **kwargs: Any,
) -> Any:
    """Return a plotly Figure of three components. The default of ``z_title`` has the spelling of the original."""
    return _chart("scatter_3d", components, [x_title, y_title, z_title], labels, strings, mark_size, kwargs)


def plot_multiclass_precision_recall(
    y_score: npt.ArrayLike, y_true_untransformed: npt.ArrayLike, class_list: Sequence[Any], classifier_name: str
) -> None:
    """Plot precision-recall curves of each class and of all classes together, and print the average precision.

    Args:
        y_score: ``(n, classes)``, scores or probabilities.
        y_true_untransformed: ``(n,)``, the true classes.
        class_list: Classes in the order of the columns of ``y_score``.
        classifier_name: Name of the classifier for the title and the printed line.

    Raises:
        InputError: The shape of ``y_score`` does not match the true classes and the class list.
    """
    scores, truth = _table(y_score), np.asarray(y_true_untransformed)
    if scores.shape != (len(truth), len(class_list)):
        raise InputError(
            f"y_score has the shape {scores.shape}; {len(truth)} texts and {len(class_list)} classes need as many."
        )
    metrics, pyplot = import_optional("sklearn.metrics"), import_optional("matplotlib.pyplot")
    member = np.stack([truth == name for name in class_list], axis=1)
    overall = metrics.average_precision_score(member, scores, average="micro")
    print(f"{classifier_name} - Average precision score over all classes: {overall:0.2f}")

    figure, axes = pyplot.subplots(figsize=(9, 10))
    figure.subplots_adjust(bottom=0.25)
    recall = np.linspace(0.01, 1.0, 200)
    for number, f1 in enumerate((0.2, 0.4, 0.6, 0.8)):
        # Points whose harmonic mean of precision and recall is f1.
        right = recall > f1 / 2
        contour = f1 * recall[right] / (2 * recall[right] - f1)
        axes.plot(recall[right], contour, color="gray", alpha=0.2, label="iso-f1 curves" if number == 0 else None)
        axes.annotate(f"f1={f1:0.1f}", (0.9, f1 * 0.9 / (1.8 - f1) + 0.02))
    precision, recall_values, _ = metrics.precision_recall_curve(member.ravel(), scores.ravel())
    axes.plot(recall_values, precision, color="gold", lw=2, label=f"average Precision-recall (auprc = {overall:0.2f})")
    for index, name in enumerate(class_list):
        precision, recall_values, _ = metrics.precision_recall_curve(member[:, index], scores[:, index])
        area = metrics.average_precision_score(member[:, index], scores[:, index])
        axes.plot(recall_values, precision, lw=2, label=f"Precision-recall for class `{name}` (auprc = {area:0.2f})")
    axes.set(xlim=(0.0, 1.0), ylim=(0.0, 1.05), xlabel="Recall", ylabel="Precision")
    axes.set_title(f"{classifier_name}: Precision-Recall curve for each class")
    for text in (axes.title, *axes.legend().get_texts()):
        text.set_parse_math(False)  # names of classes are data, not formulas
    import_optional("umekomi.plots.fonts").use_installed_fonts(figure)


def _chart(
    chart_type: str,
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
    columns: dict[str, Any] = {title: points[:, index] for index, title in enumerate(titles)}
    names, texts = list(() if labels is None else labels), list(() if strings is None else strings)
    # Plotly interprets HTML in texts, but texts and labels are data.
    columns["label"] = [html.escape(n, quote=False) if isinstance(n, str) else n for n in names] or [""] * len(points)
    columns["string"] = [_wrap(text) for text in texts] or [""] * len(points)
    for name in ("label", "string"):
        if len(columns[name]) != len(points):
            raise InputError(f"There are {len(points)} points and {len(columns[name])} {name}s; pass one per point.")
    figure = getattr(import_optional("plotly.express"), chart_type)(
        pa.table(columns),
        **dict(zip("xyz", titles, strict=False)),
        color="label" if names else None,
        symbol="label" if names else None,
        hover_data=["string"] if texts else None,
        **options,
    )
    return figure.update_traces(marker={"size": mark_size})


def _wrap(text: str) -> str:
    return "<br>".join(html.escape(line, quote=False) for line in textwrap.wrap(text, width=30))


def _table(values: npt.ArrayLike) -> DoubleArray:
    """Convert lists, an array or a pandas column of lists to ``(n, dims) float64``."""
    try:
        table = np.array(values.tolist() if hasattr(values, "tolist") else values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError("The vectors do not form a table of numbers: they must all have the same length.") from error
    if table.ndim != 2:
        raise InputError(f"The vectors have {table.ndim} axes; pass a list of vectors.")
    return table


@lru_cache(maxsize=4)
def _load(engine: str) -> Embedder:
    return Embedder(engine)
