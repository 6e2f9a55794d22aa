"""The picture of :mod:`umekomi.tasks.profiles`: percentiles of similarity by score, as in OpenAI's guide."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np

from ..errors import InputError, MissingExtraError
from .profiles import Fit


def box_plot(fit: Fit, path: str | Path) -> None:
    """Draw a box for each score to a PNG, SVG or PDF file: median, quarters, and every pair as a dot.

    Raises:
        InputError: the file's name says no format that is known, or it cannot be written.
        MissingExtraError: matplotlib is not installed.
    """
    try:
        figures = importlib.import_module("matplotlib.figure")
    except ModuleNotFoundError as error:
        raise MissingExtraError("A picture needs matplotlib: pip install 'umekomi[tasks]'.") from error
    if Path(path).suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(f"{path} is not the name of a picture; let it end with .png, .svg or .pdf.")
    scores = np.unique(fit.scores)
    groups = [fit.percentiles[fit.scores == score] for score in scores]
    figure = figures.Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(
        groups, positions=range(len(scores)), widths=0.5, showfliers=False, medianprops={"color": "#b3261e", "lw": 2}
    )
    random = np.random.default_rng(0)
    for place, group in enumerate(groups):
        axes.scatter(
            place + random.uniform(-0.14, 0.14, len(group)), group, s=12, color="#2a6fdb", alpha=0.45, linewidths=0
        )
    axes.set_xticks(
        range(len(scores)), [f"{score:g}\n(n = {len(group)})" for score, group in zip(scores, groups, strict=True)]
    )
    axes.set(xlabel="Score", ylabel="Percentile of the profiles' similarity", ylim=(0, 1.03))
    axes.set_title(
        f"Profiles' similarity by score of unseen pairs\ncorrelation {fit.correlation:.2f} (95% {fit.low:.2f} to {fit.high:.2f})",
        fontsize=11,
    )
    axes.spines[["top", "right"]].set_visible(False)
    try:
        # Without a date, the same figures give the same file.
        figure.savefig(path, dpi=150, metadata={"Date": None} if str(path).endswith(".svg") else None)
    except OSError as error:
        raise InputError(f"{path} cannot be written: {error.strerror or error}.") from error
