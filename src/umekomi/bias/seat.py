"""Association tests of a model: WEAT and SEAT with published or user-defined word lists.

SEAT (May et al. 2019, arXiv:1903.10561) puts the words of WEAT (Caliskan et al. 2017, doi:10.1126/science.aal4230) into simple
sentences. These sentences are Umekomi's own. A word occurs in several sentences, which are not independent of each other. By
default, the associations of a word are averaged over its sentences, and words are permuted. ``PermutationUnit.SENTENCE``
permutes sentences, as May et al. did, which gives smaller p-values for the same model.

A test without a significant result does not prove the absence of bias: there are few lists, and they are American English.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path

import numpy as np

from ..embedder import Embedder
from ..errors import InputError
from ..evaluation.metrics import Estimate
from ..progress import Progress
from ..vectors.arithmetic import FloatArray, normalize
from . import weat


class PermutationUnit(StrEnum):
    """What a test permutes: words, each averaged over its sentences, or single sentences."""

    WORD = "word"
    SENTENCE = "sentence"


@dataclass(frozen=True, slots=True)
class WordGroup:
    """Words and the sentences that contain them."""

    name: str
    words: tuple[str, ...]
    #: Sentences in which ``{}`` is replaced by the word, and ``{a}`` by the word with *a* or *an*.
    sentences: tuple[str, ...] = ("{}",)

    def texts(self, word: str) -> list[str]:
        """Return the sentences of a word.

        >>> WordGroup("", ("ant",), ("This is {a}.",)).texts("ant")
        ['This is an ant.']
        """
        article = "an" if word[:1].lower() in "aeiou" else "a"
        return [sentence.replace("{a}", f"{article} {word}").replace("{}", word) for sentence in self.sentences]


@dataclass(frozen=True, slots=True)
class AssociationTest:
    """Two groups of targets (X, Y) and two of attributes (A, B). A positive effect means that X is nearer to A, and Y to B."""

    name: str
    title: str
    x: WordGroup
    y: WordGroup
    a: WordGroup
    b: WordGroup
    source: str
    social: bool = True

    @property
    def groups(self) -> tuple[WordGroup, WordGroup, WordGroup, WordGroup]:
        """The groups of targets and of attributes."""
        return self.x, self.y, self.a, self.b

    def bare(self) -> AssociationTest:
        """Return the test with words instead of sentences, as in WEAT."""
        x, y, a, b = (replace(group, sentences=("{}",)) for group in self.groups)
        return replace(self, x=x, y=y, a=a, b=b)


@dataclass(frozen=True, slots=True)
class Association:
    """How much nearer a word is to A than to B."""

    word: str
    group: str
    #: Difference of cosine similarities, averaged over the sentences of the word.
    value: float
    #: The sentence with the largest absolute difference.
    sentence: str


@dataclass(frozen=True, slots=True)
class Effect:
    """The result of one test for one model."""

    test: str
    title: str
    source: str
    #: Whether the test is about groups of people.
    social: bool
    #: Names and numbers of words of X, Y, A and B.
    names: tuple[str, str, str, str]
    sizes: tuple[int, int, int, int]
    sentences: int
    #: Effect size with its 95 % interval.
    d: float
    low: float
    high: float
    #: One-sided p-value, and the same after adjustment for all tests of the run.
    p: float
    p_holm: float
    #: Number of splits of the permutation test, and whether these are all possible splits.
    splits: int
    exact: bool
    #: All target words, from the nearest to A to the nearest to B.
    associations: tuple[Association, ...]

    @property
    def size(self) -> Estimate:
        """The effect size with its 95 % interval."""
        return Estimate(self.d, self.low, self.high)

    @property
    def significant(self) -> bool:
        """Whether the adjusted p-value is below 0.05."""
        return self.p_holm < 0.05


@dataclass(frozen=True, slots=True)
class SeatResult:
    """Results of several tests of one model, with the parameters that reproduce them."""

    model: str
    fingerprint: str
    unit: PermutationUnit
    bare: bool
    seed: int
    permutations: int
    effects: tuple[Effect, ...]


@cache
def published_tests() -> dict[str, AssociationTest]:
    """Return the published tests by name: WEAT 1 to 10, the angry Black woman stereotype, and the double binds."""
    rows = tomllib.loads(resources.files(__package__).joinpath("words.toml").read_text("utf-8"))
    tests = {}
    for name, row in rows["tests"].items():
        target, attribute = (tuple(rows["sentences"][word_type]) for word_type in row["word_types"])
        sentences = (target, target, attribute, attribute)
        x, y, a, b = (
            WordGroup(re.sub(r"-\d$", "", title), tuple(rows["words"][title]), group_sentences)
            for title, group_sentences in zip(row["lists"], sentences, strict=True)
        )
        tests[name] = AssociationTest(name, row["title"], x, y, a, b, row["source"], row.get("social", True))
    return tests


def choose_tests(names: Iterable[str]) -> list[AssociationTest]:
    """Return published tests by name. Without names, return all of them.

    Raises:
        InputError: There is no test with one of the names.
    """
    tests = published_tests()
    names = list(names) or list(tests)
    for name in names:
        if name not in tests:
            raise InputError(f"There is no test {name!r}. Choose from {', '.join(tests)}.")
    return [tests[name] for name in names]


def custom_test(
    targets: Sequence[Path], attributes: Sequence[Path], *, sentences: Sequence[str] = (), name: str = "custom"
) -> AssociationTest:
    """Create a test from four files with one word or sentence per line, in any language.

    Args:
        targets: Files of X and Y.
        attributes: Files of A and B.
        sentences: Sentences in which ``{}`` is replaced by each word; by default the word alone.
        name: Name of the test.

    Raises:
        InputError: A file does not exist or has fewer than two lines, or a sentence has no placeholder.
    """
    for sentence in sentences:
        if "{}" not in sentence and "{a}" not in sentence:
            raise InputError(f"The sentence {sentence!r} has no placeholder. Mark the position of the word with {{}}.")
    group_sentences = tuple(sentences) or ("{}",)
    x, y, a, b = (WordGroup(path.stem, _read_words(path), group_sentences) for path in (*targets, *attributes))
    title = f"{x.name}, {y.name} / {a.name}, {b.name}"
    return AssociationTest(name, title, x, y, a, b, "the user's own lists")


def _read_words(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text with one word per line.") from error
    words = dict.fromkeys(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if len(words) < 2:
        raise InputError(
            f"{path} has {len(words)} words. A group needs at least two, and eight or more for meaningful results."
        )
    return tuple(words)


def run_tests(
    tests: Sequence[AssociationTest],
    embedder: Embedder,
    *,
    unit: PermutationUnit = PermutationUnit.WORD,
    bare: bool = False,
    seed: int = 0,
    permutations: int = weat.PERMUTATIONS,
    progress: Progress | None = None,
) -> SeatResult:
    """Run tests on a model. Each text is embedded once.

    Args:
        tests: Tests to run.
        embedder: Model.
        unit: What is permuted.
        bare: Whether to use words without sentences, as in WEAT.
        seed: Seed of permutations and intervals.
        permutations: Number of permutations that are drawn if there are too many to compare all.
        progress: Callback that receives the number of newly embedded texts.
    """
    tests = [test.bare() for test in tests] if bare else tests
    texts = _texts_of(tests)
    vectors = normalize(embedder.embed(texts, progress=progress))
    index_of = {text: index for index, text in enumerate(texts)}
    effects = [_measure_effect(test, vectors, index_of, unit, seed, permutations) for test in tests]
    corrected = weat.holm([effect.p for effect in effects])
    return SeatResult(
        model=embedder.model,
        fingerprint=embedder.fingerprint,
        unit=unit,
        bare=bare,
        seed=seed,
        permutations=permutations,
        effects=tuple(replace(effect, p_holm=p) for effect, p in zip(effects, corrected, strict=True)),
    )


def count_texts(tests: Sequence[AssociationTest], *, bare: bool = False) -> int:
    """Return the number of distinct texts that :func:`run_tests` embeds."""
    return len(_texts_of([test.bare() for test in tests] if bare else tests))


def _texts_of(tests: Sequence[AssociationTest]) -> list[str]:
    groups = (group for test in tests for group in test.groups)
    return list(dict.fromkeys(text for group in groups for word in group.words for text in group.texts(word)))


def _measure_effect(
    test: AssociationTest,
    vectors: FloatArray,
    index_of: dict[str, int],
    unit: PermutationUnit,
    seed: int,
    permutations: int,
) -> Effect:
    def embeddings(group: WordGroup) -> FloatArray:
        """Return the vectors of a group, ``(words, sentences, dims)``."""
        return np.stack([vectors[[index_of[text] for text in group.texts(word)]] for word in group.words])

    # The means over the sentences are not normalized, so that their dot products are means of cosine similarities.
    attributes = np.concatenate([embeddings(group).mean(axis=1) for group in (test.a, test.b)])
    n_a = len(test.a.words)
    cosines = [(embeddings(group) @ attributes.T).astype(np.float64) for group in (test.x, test.y)]
    by_sentence = [group[:, :, :n_a].mean(axis=2) - group[:, :, n_a:].mean(axis=2) for group in cosines]
    by_word = [group.mean(axis=1) for group in by_sentence]
    items = by_word if unit is PermutationUnit.WORD else [group.ravel() for group in by_sentence]
    resampled = [group.mean(axis=1, keepdims=True) for group in cosines] if unit is PermutationUnit.WORD else cosines
    low, high = weat.interval(resampled[0], resampled[1], n_a=n_a, seed=seed)
    p = weat.permutation_p(items[0], items[1], seed=seed, permutations=permutations)
    associations = []
    for group, words, sentences in zip((test.x, test.y), by_word, by_sentence, strict=True):
        for word, value, differences in zip(group.words, words, sentences, strict=True):
            largest = int(np.argmax(np.abs(differences)))
            associations.append(Association(word, group.name, float(value), group.texts(word)[largest]))
    return Effect(
        test=test.name,
        title=test.title,
        source=test.source,
        social=test.social,
        names=(test.x.name, test.y.name, test.a.name, test.b.name),
        sizes=(len(test.x.words), len(test.y.words), len(test.a.words), len(test.b.words)),
        sentences=len(test.x.sentences),
        d=weat.effect_size(items[0], items[1]),
        low=low,
        high=high,
        p=p.value,
        p_holm=p.value,
        splits=p.splits,
        exact=p.exact,
        associations=tuple(sorted(associations, key=lambda association: -association.value)),
    )
