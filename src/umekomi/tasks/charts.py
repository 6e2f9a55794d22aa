"""Still pictures, PNG or SVG by the file's name: maps, confusion matrices, curves, histograms."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from ..errors import InputError
from ..vectors import FloatArray
from .colours import Colouring
from .predict_report import ClassificationReport

_SIZE = (8.0, 6.0)
_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "umekomi", "svg.fonttype": "path", "font.family": ["DejaVu Sans"]}
_JAPANESE = ("Noto Sans CJK JP", "IPAexGothic", "IPAGothic", "Hiragino Sans", "Yu Gothic", "Meiryo", "TakaoGothic")


def draw_map(
    points: FloatArray, colouring: Colouring, path: str | Path, *, title: str = "", labels: Sequence[str] = ()
) -> None:
    """Draw a map: ``points`` is ``(n, 2)`` or ``(n, 3)``. ``labels`` are written at the middle of the groups of those places.

    Raises:
        InputError: the name ends neither in .png nor in .svg, or the file cannot be written.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")
    solid = points.shape[1] == 3
    axes: Any = figure.add_subplot(projection="3d" if solid else None)
    group = np.asarray(colouring.group)
    size = float(np.clip(6000 / len(points), 0.5, 14))
    for place, (name, colour) in enumerate(zip(colouring.names, colouring.colours, strict=True)):
        rows = group == place
        axes.scatter(
            *points[rows].T,
            s=size,
            color=colour,
            alpha=0.55,
            linewidths=0,
            label=_plain(name),
            rasterized=len(points) > 5000,
        )
    for place, label in enumerate(labels):
        rows = group == place
        if label and rows.any():
            middle = np.median(points[rows], axis=0)
            axes.text(*middle, _plain(label), ha="center", va="center", fontsize=9, bbox=_BOX)
    if solid:
        axes.tick_params(labelsize=6)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if len(colouring.names) > 1:
        legend = axes.legend(title=colouring.title or None, loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
        for handle in legend.legend_handles:
            handle.set_sizes([30])
            handle.set_alpha(1)
    if title:
        axes.set_title(_plain(title))
    save(figure, path)


_BOX = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "#888888", "alpha": 0.85, "linewidth": 0.6}


def draw_confusion(report: ClassificationReport, path: str | Path) -> None:
    """Draw the confusion matrix, shaded by the share of each true class."""
    counts = np.array(report.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.6 + 0.8 * len(counts), 1.4 + 0.7 * len(counts)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        axes.text(
            column,
            row,
            str(counts[row, column]),
            ha="center",
            va="center",
            color="white" if shares[row, column] > 0.55 else "black",
        )
    names = [_plain(str(label)) for label in report.labels]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {report.accuracy.value:.3f}, macro F1 {report.macro_f1.value:.3f}", fontsize=10)
    save(figure, path)


def draw_curves(report: ClassificationReport, path: str | Path) -> None:
    """Draw each class's precision-recall curve."""
    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    axes = figure.add_subplot()
    averages = {each.label: each.average_precision for each in report.classes}
    for place, curve in enumerate(report.curves):
        axes.step(
            curve.recall, curve.precision, where="post", color=f"C{place}",
            label=f"{_plain(str(curve.label))}  (average precision {averages[curve.label]:.2f})",
        )  # fmt: skip
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    save(figure, path)


def draw_histogram(
    counts: Sequence[Sequence[int]], names: Sequence[str], path: str | Path, *, low: float, high: float, label: str
) -> None:
    """Draw one histogram or several over each other, each as shares of its own rows, in equal bins from ``low`` to ``high``."""
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for place, (some, name) in enumerate(zip(counts, names, strict=True)):
        edges = np.linspace(low, high, len(some) + 1)
        axes.stairs(
            np.array(some) / max(sum(some), 1), edges, fill=True, alpha=0.5, color=f"C{place}", label=_plain(name)
        )
    axes.set(xlabel=label, ylabel="share")
    if len(names) > 1:
        axes.legend()
    save(figure, path)


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure as PNG or SVG; the same figure gives the same bytes.

    Raises:
        InputError: the name ends in neither, or the file cannot be written.
    """
    import matplotlib as mpl  # here, so that its settings are touched only while a picture is written

    kind = Path(path).suffix.lower().removeprefix(".")
    if kind not in ("png", "svg"):
        raise InputError(f"{path} is neither a .png nor a .svg file; a picture is one of them.")
    try:
        with mpl.rc_context({**_SETTINGS, "font.family": ["DejaVu Sans", *_fonts()]}):
            figure.savefig(path, dpi=110, metadata={"Date": None} if kind == "svg" else {"Software": None})
    except OSError as error:
        raise InputError(f"The picture cannot be written to {path}: {error.strerror or error}.") from error


def _fonts() -> list[str]:
    from matplotlib import font_manager  # it lists the machine's fonts when it is loaded

    there = {font.name for font in font_manager.fontManager.ttflist}
    return [name for name in _JAPANESE if name in there]


def _plain(text: str) -> str:
    """Text as it is: a dollar sign begins no formula, and a leading underscore does not hide an entry."""
    return text.replace("$", r"\$").removeprefix("_") or " "
