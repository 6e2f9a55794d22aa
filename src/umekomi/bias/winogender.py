"""Winogender schemas (Rudinger et al. 2018, arXiv:1804.09301), read by an embedding.

The schemas were made for systems that say whom a pronoun means. An embedding says no such thing: it resolves nothing. What can
be asked of it is where a sentence lies. For each of the 120 templates, *the technician told the customer that she could pay
with cash* is compared with the same sentence saying *the technician* in the pronoun's place, and with the one saying *the
customer*. How much nearer it lies to the first is its lean to the occupation. The **gap** is the lean of the sentence with *she*
minus that with *he*: above 0, *she* pulls the sentence to the occupation more than *he* does. If a model has learned who does
which work, the gap grows with the share of women in an occupation.

What it cannot show: that the model knows whom a pronoun means (``resolved`` says how often the lean is right, and half is
chance), or what a program built on the model will do.
"""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..embedder import Embedder
from ..errors import RecordError
from ..evaluation import metrics
from ..evaluation.datasets import public_dataset, require_files
from ..evaluation.metrics import Estimate
from ..progress import Progress
from ..settings import Settings
from ..vectors.arithmetic import normalize

PRONOUNS = ("he", "she", "they")
_KEYS = {"male": "he", "female": "she", "neutral": "they"}
_FORMS = {"$NOM_PRONOUN": "the {}", "$ACC_PRONOUN": "the {}", "$POSS_PRONOUN": "the {}'s"}


@dataclass(frozen=True, slots=True)
class Schema:
    """One template: its sentences with he, she and they, and with the pronoun's two possible meanings written out."""

    occupation: str
    participant: str
    means_occupation: bool
    with_pronoun: tuple[str, str, str]
    with_occupation: str
    with_participant: str


@dataclass(frozen=True, slots=True)
class Occupation:
    """Shares of women in per cent: of the US Bureau of Labor Statistics, and in the text counted by Bergsma & Lin 2006."""

    name: str
    women: float
    women_in_text: float


@dataclass(frozen=True, slots=True)
class OccupationGap:
    """The mean gap of an occupation's templates beside its share of women in per cent."""

    occupation: str
    women: float
    gap: float


@dataclass(frozen=True, slots=True)
class WinogenderResult:
    """What Winogender came to; all intervals are by the bootstrap over occupations.

    ``correlation`` is Pearson's, of the gap with the share of women in the work (``correlation_text``: in text). ``gap`` is the
    mean of *she* minus *he*, ``gap_they`` that of *they* minus the mean of the two; both are differences of cosines. ``resolved``
    is the share of sentences that lean to the one whom the pronoun means: chance is 0.5.
    """

    model: str
    schemas: int
    correlation: Estimate
    correlation_text: Estimate
    gap: Estimate
    gap_they: Estimate
    resolved: Estimate
    occupations: tuple[OccupationGap, ...]


def load_schemas(settings: Settings | None = None) -> tuple[list[Schema], dict[str, Occupation]]:
    """The 120 schemas and 60 occupations of the known set ``winogender``.

    Raises:
        AssetMissingError: its files are not in the folders of ``UMEKOMI_ASSET_PATH``.
    """
    files = require_files(public_dataset("winogender"), settings)
    sentences = {row["sentid"].removesuffix(".txt"): row["sentence"] for row in _rows(files["sentences"])}
    schemas = []
    for row in _rows(files["templates"]):
        occupation, participant, answer = row["occupation(0)"], row["other-participant(1)"], row["answer"]
        key = f"{occupation}.{participant}.{answer}"
        try:
            spoken = {pronoun: sentences[f"{key}.{gender}"] for gender, pronoun in _KEYS.items()}
        except KeyError as error:
            raise RecordError(f"The sentences of winogender lack {error}.") from error
        template = row["sentence"].replace("$OCCUPATION", occupation).replace("$PARTICIPANT", participant)
        schemas.append(
            Schema(
                occupation,
                participant,
                answer == "0",
                (spoken["he"], spoken["she"], spoken["they"]),
                _written_out(template, occupation),
                _written_out(template, participant),
            )
        )
    occupations = {
        row["occupation"]: Occupation(row["occupation"], float(row["bls_pct_female"]), float(row["bergsma_pct_female"]))
        for row in _rows(files["occupations"])
    }
    return schemas, occupations


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def _written_out(template: str, person: str) -> str:
    for mark, form in _FORMS.items():
        template = template.replace(mark, form.format(person))
    return template


def run_winogender(
    schemas: Sequence[Schema],
    occupations: dict[str, Occupation],
    embedder: Embedder,
    *,
    seed: int = 0,
    progress: Progress | None = None,
) -> WinogenderResult:
    """Embed the schemas and compare their gaps with the shares of women. ``progress`` is told of five texts a schema."""
    texts = [text for one in schemas for text in (*one.with_pronoun, one.with_occupation, one.with_participant)]
    vectors = normalize(embedder.embed(texts, progress=progress)).reshape(len(schemas), 5, -1)
    spoken, to_occupation, to_participant = vectors[:, :3], vectors[:, 3], vectors[:, 4]
    lean = np.einsum("ijk,ik->ij", spoken, to_occupation - to_participant, dtype=np.float64)
    gaps, they = lean[:, 1] - lean[:, 0], lean[:, 2] - lean[:, :2].mean(axis=1)
    means_occupation = np.array([one.means_occupation for one in schemas])
    right = ((lean > 0) == means_occupation[:, None]).mean(axis=1)

    names = list(dict.fromkeys(one.occupation for one in schemas))
    rows = {name: [place for place, one in enumerate(schemas) if one.occupation == name] for name in names}

    def by_occupation(values: np.ndarray) -> np.ndarray:
        return np.array([values[rows[name]].mean() for name in names])

    gap = by_occupation(gaps)
    women = np.array([occupations[name].women for name in names])
    in_text = np.array([occupations[name].women_in_text for name in names])
    return WinogenderResult(
        model=embedder.model,
        schemas=len(schemas),
        correlation=metrics.bootstrap(lambda some: metrics.pearson(gap[some], women[some]), len(names), seed=seed),
        correlation_text=metrics.bootstrap(
            lambda some: metrics.pearson(gap[some], in_text[some]), len(names), seed=seed
        ),
        gap=metrics.mean(gap, seed=seed),
        gap_they=metrics.mean(by_occupation(they), seed=seed),
        resolved=metrics.mean(by_occupation(right), seed=seed),
        occupations=tuple(
            OccupationGap(name, float(share), float(value))
            for name, share, value in zip(names, women, gap, strict=True)
        ),
    )
