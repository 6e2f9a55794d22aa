"""Figures as PNG, SVG or PDF files: maps, confusion matrices, precision-recall curves, histograms and box plots."""

from __future__ import annotations

import unicodedata
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from ..errors import InputError
from ..files.outputs import atomic_write
from ..tasks.profiles import ProfileFit
from ..vectors.arithmetic import FloatArray
from .colors import Coloring
from .fonts import use_installed_fonts
from .predictions import ClassificationReport

_SIZE = (8.0, 6.0)
_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "umekomi", "svg.fonttype": "path", "pdf.fonttype": 3}
# Without a date or a version, the same figure gives the same bytes.
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
FORMATS = tuple(f".{name}" for name in _METADATA)
_LABEL_BOX = {
    "boxstyle": "round,pad=0.25",
    "facecolor": "white",
    "edgecolor": "#888888",
    "alpha": 0.85,
    "linewidth": 0.6,
}
# Longer names are cut, because they would leave no space for the points.
_MAX_NAME = 60

Report = Callable[[str], None]


def draw_map(
    points: FloatArray,
    coloring: Coloring,
    path: str | Path,
    *,
    title: str = "",
    labels: Sequence[str] = (),
    report: Report = warnings.warn,
) -> None:
    """Draw a map.

    Args:
        points: ``(n, 2)`` or ``(n, 3)``.
        coloring: Colors of the ``n`` points.
        path: File to write.
        title: Title of the figure.
        labels: Labels of the coloring's groups, drawn at the median of each group.
        report: As of :func:`save`.

    Raises:
        InputError: The suffix is not .png, .svg or .pdf, or the file cannot be written.
    """
    figure = Figure(figsize=_SIZE, layout="constrained")
    is_3d = points.shape[1] == 3
    axes: Any = figure.add_subplot(projection="3d" if is_3d else None)
    group = np.asarray(coloring.group)
    size = float(np.clip(6000 / len(points), 0.5, 14))
    for index, (name, color) in enumerate(zip(coloring.names, coloring.colors, strict=True)):
        axes.scatter(
            *points[group == index].T,
            s=size,
            color=color,
            alpha=0.55,
            linewidths=0,
            label=escape_label(name),
            rasterized=len(points) > 5000,
        )
    for index, label in enumerate(labels):
        rows = group == index
        if label and rows.any():
            position = np.median(points[rows], axis=0)
            axes.text(*position, escape_label(label), ha="center", va="center", fontsize=9, bbox=_LABEL_BOX)
    if is_3d:
        axes.tick_params(labelsize=6)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if len(coloring.names) > 1:
        legend = axes.legend(
            title=escape_label(coloring.title) if coloring.title else None,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
        )
        for handle in legend.legend_handles:
            handle.set_sizes([30])
            handle.set_alpha(1)
    if title:
        axes.set_title(escape_label(title))
    save(figure, path, report=report)


def draw_confusion(result: ClassificationReport, path: str | Path, *, report: Report = warnings.warn) -> None:
    """Draw the confusion matrix, shaded by the share of each true class."""
    counts = np.array(result.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = Figure(figsize=(1.6 + 0.8 * len(counts), 1.4 + 0.7 * len(counts)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for row, column in np.ndindex(*counts.shape):
        color = "white" if shares[row, column] > 0.55 else "black"
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", color=color)
    names = [escape_label(str(label)) for label in result.labels]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {result.accuracy.value:.3f}, macro F1 {result.macro_f1.value:.3f}", fontsize=10)
    save(figure, path, report=report)


def draw_curves(result: ClassificationReport, path: str | Path, *, report: Report = warnings.warn) -> None:
    """Draw the precision-recall curve of each class."""
    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    axes = figure.add_subplot()
    average_precisions = {each.label: each.average_precision for each in result.classes}
    for index, curve in enumerate(result.curves):
        name = f"{escape_label(str(curve.label))}  (average precision {average_precisions[curve.label]:.2f})"
        axes.step(curve.recall, curve.precision, where="post", color=f"C{index}", label=name)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(fontsize=9)
    save(figure, path, report=report)


def draw_histogram(
    counts: Sequence[Sequence[int]],
    names: Sequence[str],
    path: str | Path,
    *,
    low: float,
    high: float,
    label: str,
    report: Report = warnings.warn,
) -> None:
    """Draw overlaid histograms.

    Args:
        counts: Counts of each histogram in equal bins. They are drawn as shares of their sum.
        names: Name of each histogram.
        path: File to write.
        low: Lower edge of the first bin.
        high: Upper edge of the last bin.
        label: Label of the x axis.
        report: As of :func:`save`.
    """
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for index, (bins, name) in enumerate(zip(counts, names, strict=True)):
        shares = np.array(bins) / max(sum(bins), 1)
        edges = np.linspace(low, high, len(bins) + 1)
        axes.stairs(shares, edges, fill=True, alpha=0.5, color=f"C{index}", label=escape_label(name))
    axes.set(xlabel=label, ylabel="share")
    if len(names) > 1:
        axes.legend()
    save(figure, path, report=report)


def draw_profile_fit(fit: ProfileFit, path: str | Path, *, report: Report = warnings.warn) -> None:
    """Draw the percentiles of similarity by score, as in OpenAI's guide: a box for each score, and every pair as a dot.

    Raises:
        InputError: The suffix is not .png, .svg or .pdf, or the file cannot be written.
    """
    scores = np.unique(fit.scores)
    groups = [fit.percentiles[fit.scores == score] for score in scores]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(
        groups, positions=range(len(scores)), widths=0.5, showfliers=False, medianprops={"color": "#b3261e", "lw": 2}
    )
    random = np.random.default_rng(0)
    for index, group in enumerate(groups):
        jittered = index + random.uniform(-0.14, 0.14, len(group))
        axes.scatter(jittered, group, s=12, color="#2a6fdb", alpha=0.45, linewidths=0)
    axes.set_xticks(
        range(len(scores)), [f"{score:g}\n(n = {len(group)})" for score, group in zip(scores, groups, strict=True)]
    )
    axes.set(xlabel="Score", ylabel="Percentile of the profiles' similarity", ylim=(0, 1.03))
    axes.set_title(
        f"Profiles' similarity by score of unseen pairs\ncorrelation {fit.estimate:.2f} (95 % interval)",
        fontsize=11,
    )
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path, report=report)


def save(figure: Figure, path: str | Path, *, report: Report = warnings.warn) -> None:
    """Write a figure as PNG, SVG or PDF. The same figure and the same installed fonts give the same bytes.

    Args:
        figure: The figure.
        path: File to write. Its suffix determines the format.
        report: Called with one line if no installed font has some of the figure's characters.

    Raises:
        InputError: The suffix is another one, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file, as a picture must be.")
    missing = use_installed_fonts(figure)
    if missing:
        examples = " ".join(f"{character} (U+{ord(character):04X})" for character in missing[:5])
        more = f" and {len(missing) - 5} more characters" if len(missing) > 5 else ""
        report(f"{path} has boxes in place of {examples}{more}: no installed font that Matplotlib can draw has them.")
    file_format = suffix.removeprefix(".")
    with atomic_write(path) as temporary, mpl.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # reported above, once
        warnings.filterwarnings("ignore", message="constrained_layout not applied")  # many long names: still readable
        figure.savefig(temporary, format=file_format, dpi=110, metadata=_METADATA[file_format])


def escape_label(text: str) -> str:
    """Return a name from the data so that Matplotlib draws it literally, on one line of at most 60 characters.

    Dollar signs would start formulas, a leading underscore would hide the legend entry, and control characters would be
    drawn as boxes.
    """
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    line = "".join(character for character in line if unicodedata.category(character) not in ("Cc", "Cs"))
    if len(line) > _MAX_NAME:
        line = line[: _MAX_NAME - 1] + "…"
    if line.startswith("_"):
        line = f"\u200b{line}"
    return line.replace("$", r"\$") or " "
