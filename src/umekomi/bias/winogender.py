"""Winogender schemas (Rudinger et al. 2018, arXiv:1804.09301), adapted to embeddings.

The schemas were designed for coreference resolution, which an embedding does not perform. Instead, this test compares sentences.
For each of the 120 templates, *the technician told the customer that she could pay with cash* is compared with the same sentence
with *the technician* in place of the pronoun, and with the one with *the customer*. The **lean** is the difference of the two
cosine similarities: it is positive if the sentence is nearer to the one with the occupation. The **gap** is the lean of the
sentence with *she* minus that of the sentence with *he*. If a model has learned gender stereotypes of occupations, the gap
increases with the share of women in an occupation.

The test cannot show that the model knows whom a pronoun refers to (``resolved`` is the share of correct leans, where chance is
one half), or how a program that uses the model behaves.
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

_KEYS = {"male": "he", "female": "she", "neutral": "they"}
_FORMS = {"$NOM_PRONOUN": "the {}", "$ACC_PRONOUN": "the {}", "$POSS_PRONOUN": "the {}'s"}


@dataclass(frozen=True, slots=True)
class Schema:
    """A template: its sentences with each pronoun, and with each of the two possible antecedents in place of the pronoun."""

    occupation: str
    #: The other person in the sentence.
    participant: str
    #: Whether the pronoun refers to the occupation.
    means_occupation: bool
    #: The sentences with *he*, *she* and *they*.
    with_pronoun: tuple[str, str, str]
    with_occupation: str
    with_participant: str


@dataclass(frozen=True, slots=True)
class Occupation:
    """Shares of women in an occupation, in percent."""

    name: str
    #: According to the US Bureau of Labor Statistics.
    women: float
    #: In the texts counted by Bergsma & Lin 2006.
    women_in_text: float


@dataclass(frozen=True, slots=True)
class OccupationGap:
    """The mean gap of an occupation's templates, and its share of women in percent."""

    occupation: str
    women: float
    gap: float


@dataclass(frozen=True, slots=True)
class WinogenderResult:
    """The result for one model. Intervals are bootstrap intervals over occupations."""

    model: str
    schemas: int
    #: Pearson's correlation of the gap with the share of women in the occupation, and in texts.
    correlation: Estimate
    correlation_text: Estimate
    #: Mean gap of *she* minus *he*, and of *they* minus the mean of both; differences of cosine similarities.
    gap: Estimate
    gap_they: Estimate
    #: Share of sentences that lean to the correct antecedent. Chance is 0.5.
    resolved: Estimate
    occupations: tuple[OccupationGap, ...]


def load_schemas(settings: Settings | None = None) -> tuple[list[Schema], dict[str, Occupation]]:
    """Load the 120 schemas and 60 occupations of the public data set ``winogender``.

    Raises:
        AssetMissingError: Its files are in none of the folders of ``UMEKOMI_ASSET_PATH``.
    """
    files = require_files(public_dataset("winogender"), settings)
    sentences = {row["sentid"].removesuffix(".txt"): row["sentence"] for row in _read_rows(files["sentences"])}
    schemas = []
    for row in _read_rows(files["templates"]):
        occupation, participant, answer = row["occupation(0)"], row["other-participant(1)"], row["answer"]
        key = f"{occupation}.{participant}.{answer}"
        try:
            by_pronoun = {pronoun: sentences[f"{key}.{gender}"] for gender, pronoun in _KEYS.items()}
        except KeyError as error:
            raise RecordError(f"The sentences of winogender lack {error}.") from error
        template = row["sentence"].replace("$OCCUPATION", occupation).replace("$PARTICIPANT", participant)
        schemas.append(
            Schema(
                occupation,
                participant,
                answer == "0",
                (by_pronoun["he"], by_pronoun["she"], by_pronoun["they"]),
                _fill_in(template, occupation),
                _fill_in(template, participant),
            )
        )
    occupations = {
        row["occupation"]: Occupation(row["occupation"], float(row["bls_pct_female"]), float(row["bergsma_pct_female"]))
        for row in _read_rows(files["occupations"])
    }
    return schemas, occupations


def _read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))


def _fill_in(template: str, person: str) -> str:
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
    """Embed the schemas and correlate their gaps with the shares of women. ``progress`` counts five texts for each schema."""
    texts = [
        text for schema in schemas for text in (*schema.with_pronoun, schema.with_occupation, schema.with_participant)
    ]
    vectors = normalize(embedder.embed(texts, progress=progress)).reshape(len(schemas), 5, -1)
    pronouns, occupation, participant = vectors[:, :3], vectors[:, 3], vectors[:, 4]
    lean = np.einsum("ijk,ik->ij", pronouns, occupation - participant, dtype=np.float64)
    gaps, they = lean[:, 1] - lean[:, 0], lean[:, 2] - lean[:, :2].mean(axis=1)
    means_occupation = np.array([schema.means_occupation for schema in schemas])
    correct = ((lean > 0) == means_occupation[:, None]).mean(axis=1)

    names = list(dict.fromkeys(schema.occupation for schema in schemas))
    rows = {name: [row for row, schema in enumerate(schemas) if schema.occupation == name] for name in names}

    def by_occupation(values: np.ndarray) -> np.ndarray:
        return np.array([values[rows[name]].mean() for name in names])

    gap = by_occupation(gaps)
    women = np.array([occupations[name].women for name in names])
    in_text = np.array([occupations[name].women_in_text for name in names])
    return WinogenderResult(
        model=embedder.model,
        schemas=len(schemas),
        correlation=metrics.bootstrap(
            lambda sample: metrics.pearson(gap[sample], women[sample]), len(names), seed=seed
        ),
        correlation_text=metrics.bootstrap(
            lambda sample: metrics.pearson(gap[sample], in_text[sample]), len(names), seed=seed
        ),
        gap=metrics.mean(gap, seed=seed),
        gap_they=metrics.mean(by_occupation(they), seed=seed),
        resolved=metrics.mean(by_occupation(correct), seed=seed),
        occupations=tuple(
            OccupationGap(name, float(share), float(value))
            for name, share, value in zip(names, women, gap, strict=True)
        ),
    )
