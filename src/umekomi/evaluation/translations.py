"""Evaluation of translations: does a model find the translation of a sentence in a collection of two languages?

The pool has n sentences of one language and their n translations. *Mixed* is how often the translation of a sentence is the
nearest of all 2n - 1 others. *Across* is how often it is the nearest of the sentences in the other language (the task of
Tatoeba: Artetxe & Schwenk 2019, arXiv:1812.10464). Directions that only encode the language lower the first and not the second
(Roy et al. 2020, arXiv:2004.05484).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..data.readers.text_file import read_lines
from ..embedder import Embedder
from ..errors import InputError, RecordError
from ..progress import Progress
from ..vectors.arithmetic import FloatArray
from . import metrics
from .metrics import Estimate
from .retrieval import embed_truncated

_CHUNK = 1024


@dataclass(frozen=True, slots=True)
class TranslationDataset:
    """Sentences and their translations, in the same order."""

    name: str
    sentences: tuple[str, ...]
    translations: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TranslationResult:
    """The result of evaluating translations with one model."""

    model: str
    data: str
    pairs: int
    mixed: Estimate
    across: Estimate
    #: Whether the translation of each sentence, then the sentence of each translation, is the nearest of the pool.
    mixed_hits: tuple[bool, ...]
    #: Whether it is the nearest of the other language.
    across_hits: tuple[bool, ...]
    #: Number of texts that were truncated to the model's maximum length.
    cut: int


def read_translations(sentences: Path, translations: Path) -> TranslationDataset:
    """Read two text files of which line i of one is the translation of line i of the other.

    Raises:
        RecordError: The files have different numbers of lines, fewer than two, or an empty line.
    """
    sides = [
        [line.strip() for line in read_lines(path, "utf-8-sig", advice="It must be UTF-8.")]
        for path in (sentences, translations)
    ]
    if len(sides[0]) != len(sides[1]) or len(sides[0]) < 2:
        raise RecordError(
            f"{sentences} has {len(sides[0])} lines and {translations} has {len(sides[1])}. "
            "Both need the same number, at least 2."
        )
    for path, lines in zip((sentences, translations), sides, strict=True):
        if "" in lines:
            raise RecordError(f"Line {lines.index('') + 1} of {path} is empty.")
    return TranslationDataset(f"{sentences.name} / {translations.name}", tuple(sides[0]), tuple(sides[1]))


def evaluate_translations(
    data: TranslationDataset, embedder: Embedder, *, progress: Progress | None = None
) -> TranslationResult:
    """Embed sentences and translations, and count how often they find each other."""
    vectors, cut = embed_truncated(embedder, [*data.sentences, *data.translations], progress=progress)
    mixed, across = find_translations(vectors)
    pairs = len(data.sentences)
    # Both directions of a pair are one unit.
    groups = np.tile(np.arange(pairs), 2)
    return TranslationResult(
        model=embedder.model,
        data=data.name,
        pairs=pairs,
        mixed=metrics.share(mixed, groups=groups),
        across=metrics.share(across, groups=groups),
        mixed_hits=tuple(mixed.tolist()),
        across_hits=tuple(across.tolist()),
        cut=cut,
    )


def find_translations(vectors: FloatArray) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
    """Return whether each row's translation is its nearest in the pool, and in the other half of the pool: two ``(2n,) bool``.

    Args:
        vectors: ``(2n, dims)``; row ``i`` and row ``n + i`` are translations of each other.

    Raises:
        InputError: The number of rows is odd or 0.
    """
    if not len(vectors) or len(vectors) % 2:
        raise InputError("Translations need an even number of vectors.")
    n = len(vectors) // 2
    translation = np.roll(np.arange(2 * n), n)
    mixed, across = np.empty(2 * n, dtype=bool), np.empty(2 * n, dtype=bool)
    for start in range(0, 2 * n, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, 2 * n))
        scores = vectors[rows] @ vectors.T
        own = scores[np.arange(len(rows)), translation[rows]].copy()
        scores[np.arange(len(rows)), rows] = -np.inf
        scores[np.arange(len(rows)), translation[rows]] = -np.inf
        # A tie is a miss.
        mixed[rows] = own > scores.max(axis=1)
        same_language = (np.arange(2 * n) < n)[None, :] == (rows < n)[:, None]
        scores[same_language] = -np.inf
        across[rows] = own > scores.max(axis=1)
    return mixed, across


def compare_translations(results: Sequence[TranslationResult]) -> list[dict[str, Estimate]]:
    """Return the differences in ``mixed`` and ``across`` from the first result to each other one, on the same pairs."""
    groups = np.tile(np.arange(results[0].pairs), 2)
    n = len(results) - 1
    return [
        {
            "mixed": metrics.paired_share_difference(
                results[0].mixed_hits, other.mixed_hits, comparisons=n, groups=groups
            ),
            "across": metrics.paired_share_difference(
                results[0].across_hits, other.across_hits, comparisons=n, groups=groups
            ),
        }
        for other in results[1:]
    ]
