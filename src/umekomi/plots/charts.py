"""Still pictures, PNG, SVG or PDF by the file's name: maps, confusion matrices, curves, histograms, boxes."""

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
from ..vectors.arithmetic import FloatArray
from .colors import Colouring
from .fonts import use_installed_fonts
from .predictions import ClassificationReport

_SIZE = (8.0, 6.0)
_SETTINGS: dict[Any, Any] = {"svg.hashsalt": "umekomi", "svg.fonttype": "path", "pdf.fonttype": 3}
_METADATA: dict[str, dict[str, Any]] = {"png": {"Software": None}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}
"""Without a date or a version, the same figure gives the same bytes."""
FORMATS = tuple(f".{name}" for name in _METADATA)
_LONGEST = 60
"""Characters of a name in a picture: longer ones are cut, since they would leave no space for the points."""

Report = Callable[[str], None]


def draw_map(
    points: FloatArray,
    colouring: Colouring,
    path: str | Path,
    *,
    title: str = "",
    labels: Sequence[str] = (),
    report: Report = warnings.warn,
) -> None:
    """Draw a map: ``points`` is ``(n, 2)`` or ``(n, 3)``. ``labels`` are written at the middle of the groups of those places.

    Raises:
        InputError: The suffix is none of .png, .svg and .pdf, or the file cannot be written.
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
            label=plain(name),
            rasterized=len(points) > 5000,
        )
    for place, label in enumerate(labels):
        rows = group == place
        if label and rows.any():
            middle = np.median(points[rows], axis=0)
            axes.text(*middle, plain(label), ha="center", va="center", fontsize=9, bbox=_BOX)
    if solid:
        axes.tick_params(labelsize=6)
    else:
        axes.set_xticks([])
        axes.set_yticks([])
    if len(colouring.names) > 1:
        legend = axes.legend(
            title=plain(colouring.title) if colouring.title else None,
            loc="upper left",
            bbox_to_anchor=(1.0, 1.0),
            frameon=False,
        )
        for handle in legend.legend_handles:
            handle.set_sizes([30])
            handle.set_alpha(1)
    if title:
        axes.set_title(plain(title))
    save(figure, path, report=report)


_BOX = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "#888888", "alpha": 0.85, "linewidth": 0.6}


def draw_confusion(result: ClassificationReport, path: str | Path, *, report: Report = warnings.warn) -> None:
    """Draw the confusion matrix, shaded by the share of each true class."""
    counts = np.array(result.confusion)
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
    names = [plain(str(label)) for label in result.labels]
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(f"accuracy {result.accuracy.value:.3f}, macro F1 {result.macro_f1.value:.3f}", fontsize=10)
    save(figure, path, report=report)


def draw_curves(result: ClassificationReport, path: str | Path, *, report: Report = warnings.warn) -> None:
    """Draw each class's precision-recall curve."""
    figure = Figure(figsize=(7.0, 5.0), layout="constrained")
    axes = figure.add_subplot()
    averages = {each.label: each.average_precision for each in result.classes}
    for place, curve in enumerate(result.curves):
        axes.step(
            curve.recall, curve.precision, where="post", color=f"C{place}",
            label=f"{plain(str(curve.label))}  (average precision {averages[curve.label]:.2f})",
        )  # fmt: skip
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
    """Draw one histogram or several over each other, each as shares of its own rows, in equal bins from ``low`` to ``high``."""
    figure = Figure(figsize=(7.0, 4.0), layout="constrained")
    axes = figure.add_subplot()
    for place, (some, name) in enumerate(zip(counts, names, strict=True)):
        edges = np.linspace(low, high, len(some) + 1)
        axes.stairs(
            np.array(some) / max(sum(some), 1), edges, fill=True, alpha=0.5, color=f"C{place}", label=plain(name)
        )
    axes.set(xlabel=label, ylabel="share")
    if len(names) > 1:
        axes.legend()
    save(figure, path, report=report)


def save(figure: Figure, path: str | Path, *, report: Report = warnings.warn) -> None:
    """Write a figure as PNG, SVG or PDF; the same figure and the same installed fonts give the same bytes.

    Args:
        figure: The figure.
        path: The file to write. Its suffix is the format.
        report: Called with one line if no installed font has some of the figure's characters.

    Raises:
        InputError: The suffix is another one, or the file cannot be written.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise InputError(f"{path} is not a {', '.join(FORMATS[:-1])} or {FORMATS[-1]} file, as a picture must be.")
    missing = use_installed_fonts(figure)
    if missing:
        shown = " ".join(f"{character} (U+{ord(character):04X})" for character in missing[:5])
        more = f" and {len(missing) - 5} more characters" if len(missing) > 5 else ""
        report(f"{path} has boxes in place of {shown}{more}: no installed font that Matplotlib can draw has them.")
    kind = suffix.removeprefix(".")
    with atomic_write(path) as temporary:
        with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Glyph .* missing from")  # reported above, once
            warnings.filterwarnings(
                "ignore", message="constrained_layout not applied"
            )  # many long names: still readable
            figure.savefig(temporary, format=kind, dpi=110, metadata=_METADATA[kind])


def plain(text: str) -> str:
    """A name from the data as Matplotlib shows it unchanged, on one line of at most 60 characters.

    A dollar sign starts no formula, a leading underscore hides no legend entry, and control characters draw no boxes.
    """
    line = " ".join(text.encode("utf-8", "replace").decode("utf-8").split())
    line = "".join(character for character in line if unicodedata.category(character) not in ("Cc", "Cs"))
    line = line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
    return (
        line.replace("$", r"\$").replace("_", "\u200b_", 1) if line.startswith("_") else line.replace("$", r"\$")
    ) or " "
