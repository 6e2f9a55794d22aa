"""Measured quality of the models in the catalog, which benchmarks/development.py stores in ``figures.json``.

>>> figures = read_figures()
>>> figures["text-embedding-ada-002"].mean("stsb Spearman") > 0.85
True
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

FILE = Path(__file__).parent.parent / "figures.json"
TASKS = {
    "search en": ("cranfield nDCG@10",),
    "search ja": ("jsquad nDCG@10",),
    "STS en": ("stsb Spearman",),
    "STS ja": ("jsts Spearman",),
    "code": ("click MRR",),
    "mixed": ("tatoeba-jpn mixed", "tatoeba-deu mixed", "tatoeba-spa mixed"),
}
"""Tasks of ``umekomi models list``, and the figures that each one shows the mean of."""
LEGEND = """\
search: nDCG@10 on Cranfield (English) and JSQuAD (Japanese)
STS: Spearman's correlation with human scores of similarity on STS-B dev and JSTS
code: mean reciprocal rank of click's functions, searched by their docstrings
mixed: how often the translation of a sentence is the nearest in a pool of two languages (Tatoeba)
here: whether the model's files are on this machine"""


@dataclass(frozen=True, slots=True)
class MeasuredFigures:
    """The figures of a model on the development sets."""

    #: Fingerprint of the vectors that were measured.
    fingerprint: str
    #: Date of the measurement, ISO 8601.
    measured: str
    #: Value of each figure, such as ``stsb Spearman``.
    figures: Mapping[str, float]

    def mean(self, *names: str) -> float | None:
        """Return the mean of several figures, or None if one was not measured."""
        values = [self.figures.get(name) for name in names]
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known and len(known) == len(values) else None


@cache
def read_figures(path: Path = FILE) -> dict[str, MeasuredFigures]:
    """Read the figures of each measured model by its id. Models of other catalogs have none."""
    if not path.is_file():
        return {}
    return {model: MeasuredFigures(**row) for model, row in json.loads(path.read_text("utf-8")).items()}


def write_figures(rows: Mapping[str, MeasuredFigures], path: Path = FILE) -> None:
    """Add the figures of models to a file. Figures of the same vectors that were not measured again are kept."""
    merged = dict(read_figures(path))
    for model, row in rows.items():
        old = merged.get(model)
        kept = old.figures if old is not None and old.fingerprint == row.fingerprint else {}
        figures = {name: round(value, 4) for name, value in {**kept, **row.figures}.items()}
        merged[model] = MeasuredFigures(row.fingerprint, row.measured, figures)
    lines = [f"{json.dumps(model)}: {json.dumps(asdict(row))}" for model, row in sorted(merged.items())]
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n", "utf-8")
    read_figures.cache_clear()


def task_cells(model: str) -> list[str]:
    """Return the text of each task's figure for a model; a dash if it was not measured."""
    row = read_figures().get(model)
    means = [row.mean(*names) if row is not None else None for names in TASKS.values()]
    return ["–" if mean is None else f"{mean:.3f}" for mean in means]
