"""The picture of :mod:`umekomi.tasks.profiles`: percentiles of similarity by score, as in OpenAI's guide."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ..tasks.profiles import Fit
from .charts import Report, save


def box_plot(fit: Fit, path: str | Path, *, report: Report = warnings.warn) -> None:
    """Draw a box for each score to a PNG, SVG or PDF file: median, quarters, and every pair as a dot.

    Raises:
        InputError: The suffix is none of .png, .svg and .pdf, or the file cannot be written.
    """
    scores = np.unique(fit.scores)
    groups = [fit.percentiles[fit.scores == score] for score in scores]
    figure = Figure(figsize=(7, 4.5), layout="constrained")
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
        "Profiles' similarity by score of unseen pairs\n"
        f"correlation {fit.correlation:.2f} (95 % {fit.low:.2f} to {fit.high:.2f})",
        fontsize=11,
    )
    axes.spines[["top", "right"]].set_visible(False)
    save(figure, path, report=report)
