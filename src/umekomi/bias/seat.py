"""Association tests of a model: WEAT and SEAT with the published word lists, and with anybody's own.

SEAT (May et al. 2019, arXiv:1903.10561) puts the words of WEAT (Caliskan et al. 2017, doi:10.1126/science.aal4230) into plain
sentences. The sentences here are Umekomi's own. A word stands in several, which are not independent of each other: by default
a word's associations are averaged over its sentences and the words are what is permuted. ``Unit.SENTENCE`` permutes the
sentences, as May et al. did, which gives smaller p values for the same model.

A test that finds nothing does not show that there is nothing: the lists are few, English and American.
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
from ..progress import Progress
from ..vectors.arithmetic import FloatArray, normalize
from . import weat


class Unit(StrEnum):
    """What is permuted: the words, each averaged over its sentences, or every sentence by itself."""

    WORD = "word"
    SENTENCE = "sentence"


@dataclass(frozen=True, slots=True)
class WordGroup:
    """Words of one kind with the sentences that they are put into: ``{}`` is the word, ``{a}`` the word after *a* or *an*."""

    name: str
    words: tuple[str, ...]
    sentences: tuple[str, ...] = ("{}",)

    def texts(self, word: str) -> list[str]:
        """The sentences of one word.

        >>> WordGroup("", ("ant",), ("This is {a}.",)).texts("ant")
        ['This is an ant.']
        """
        article = "an" if word[:1].lower() in "aeiou" else "a"
        return [sentence.replace("{a}", f"{article} {word}").replace("{}", word) for sentence in self.sentences]


@dataclass(frozen=True, slots=True)
class AssociationTest:
    """Two groups of targets and two of attributes; a positive effect is that X is nearer to A, and Y to B."""

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
        """Targets, then attributes."""
        return self.x, self.y, self.a, self.b

    def bare(self) -> AssociationTest:
        """The same words without sentences, as in WEAT."""
        x, y, a, b = (replace(group, sentences=("{}",)) for group in self.groups)
        return replace(self, x=x, y=y, a=a, b=b)


@dataclass(frozen=True, slots=True)
class Association:
    """How much nearer a word (mean of its sentences) is to A than to B, with the one of its sentences that is most so."""

    word: str
    group: str
    value: float
    sentence: str


@dataclass(frozen=True, slots=True)
class Effect:
    """What one test came to for one model.

    ``names`` and ``sizes`` are of X, Y, A and B. ``d`` is the effect size with its 95 % interval, ``p`` one-sided, ``p_holm``
    corrected for all tests of the same run. ``associations`` has every target word, from nearest to A to nearest to B.
    """

    test: str
    title: str
    source: str
    social: bool
    names: tuple[str, str, str, str]
    sizes: tuple[int, int, int, int]
    sentences: int
    d: float
    low: float
    high: float
    p: float
    p_holm: float
    splits: int
    exact: bool
    associations: tuple[Association, ...]

    @property
    def significant(self) -> bool:
        """Whether the corrected p is below 0.05."""
        return self.p_holm < 0.05


@dataclass(frozen=True, slots=True)
class SeatResult:
    """All tests of one model, with what is needed to do them again."""

    model: str
    fingerprint: str
    unit: Unit
    bare: bool
    seed: int
    permutations: int
    effects: tuple[Effect, ...]


@cache
def published_tests() -> dict[str, AssociationTest]:
    """WEAT 1 to 10, the angry Black woman stereotype and the double binds, by name."""
    rows = tomllib.loads(resources.files(__package__).joinpath("words.toml").read_text("utf-8"))
    found = {}
    for name, row in rows["tests"].items():
        target, attribute = (tuple(rows["sentences"][kind]) for kind in row["kinds"])
        sentences = (target, target, attribute, attribute)
        x, y, a, b = (
            WordGroup(re.sub(r"-\d$", "", title), tuple(rows["words"][title]), forms)
            for title, forms in zip(row["lists"], sentences, strict=True)
        )
        found[name] = AssociationTest(name, row["title"], x, y, a, b, row["source"], row.get("social", True))
    return found


def choose_tests(names: Iterable[str]) -> list[AssociationTest]:
    """Published tests by their names; all where none is named.

    Raises:
        InputError: no test has a name.
    """
    known = published_tests()
    wanted = list(names) or list(known)
    for name in wanted:
        if name not in known:
            raise InputError(f"There is no test {name!r}; there are {', '.join(known)}.")
    return [known[name] for name in wanted]


def custom_test(
    targets: Sequence[Path], attributes: Sequence[Path], *, sentences: Sequence[str] = (), name: str = "custom"
) -> AssociationTest:
    """A test of one's own: four files with a word or a sentence a line, in any language.

    Args:
        targets: two files, X and Y.
        attributes: two files, A and B.
        sentences: what every word is put into, with ``{}`` in its place; by default nothing.
        name: of the test.

    Raises:
        InputError: a file is not there or has fewer than two lines, or a sentence has no place for the word.
    """
    for sentence in sentences:
        if "{}" not in sentence and "{a}" not in sentence:
            raise InputError(f"The sentence {sentence!r} has no place for the word; write {{}} there.")
    forms = tuple(sentences) or ("{}",)
    x, y, a, b = (WordGroup(path.stem, _lines(path), forms) for path in (*targets, *attributes))
    title = f"{x.name}, {y.name} / {a.name}, {b.name}"
    return AssociationTest(name, title, x, y, a, b, "the user's own lists")


def _lines(path: Path) -> tuple[str, ...]:
    try:
        lines = path.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read as UTF-8 text, one word a line.") from error
    words = dict.fromkeys(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if len(words) < 2:
        raise InputError(f"{path} has {len(words)} words; a group needs two at least, eight or more to tell something.")
    return tuple(words)


def run_tests(
    tests: Sequence[AssociationTest],
    embedder: Embedder,
    *,
    unit: Unit = Unit.WORD,
    bare: bool = False,
    seed: int = 0,
    permutations: int = weat.PERMUTATIONS,
    progress: Progress | None = None,
) -> SeatResult:
    """Do tests on a model; every text is embedded once.

    Args:
        tests: which.
        embedder: the model.
        unit: what is permuted.
        bare: words without sentences, as WEAT.
        seed: of permutations and intervals.
        permutations: how many are drawn where there are too many to try all.
        progress: told of texts as they are embedded.
    """
    chosen = [test.bare() for test in tests] if bare else list(tests)
    texts = list(
        dict.fromkeys(
            text for test in chosen for group in test.groups for word in group.words for text in group.texts(word)
        )
    )
    vectors = normalize(embedder.embed(texts, progress=progress))
    place = {text: number for number, text in enumerate(texts)}
    effects = [_effect(test, vectors, place, unit, seed, permutations) for test in chosen]
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
    """How many different texts :func:`run_tests` embeds."""
    chosen = [test.bare() for test in tests] if bare else tests
    return len({text for test in chosen for group in test.groups for word in group.words for text in group.texts(word)})


def _effect(
    test: AssociationTest, vectors: FloatArray, place: dict[str, int], unit: Unit, seed: int, permutations: int
) -> Effect:
    def of(group: WordGroup) -> FloatArray:
        """``(words, sentences, dims)``."""
        return np.stack([vectors[[place[text] for text in group.texts(word)]] for word in group.words])

    # A word's mean over its sentences, not brought to length 1, so that its cosines are the means of the sentences' own.
    attributes = np.concatenate([of(group).mean(axis=1) for group in (test.a, test.b)])
    n_a = len(test.a.words)
    cosines = [(of(group) @ attributes.T).astype(np.float64) for group in (test.x, test.y)]
    by_sentence = [group[:, :, :n_a].mean(axis=2) - group[:, :, n_a:].mean(axis=2) for group in cosines]
    by_word = [group.mean(axis=1) for group in by_sentence]
    items = by_word if unit is Unit.WORD else [group.ravel() for group in by_sentence]
    measured = [group.mean(axis=1, keepdims=True) for group in cosines] if unit is Unit.WORD else cosines
    low, high = weat.interval(measured[0], measured[1], n_a=n_a, seed=seed)
    p = weat.permutation_p(items[0], items[1], seed=seed, permutations=permutations)
    associations = []
    for group, words, sentences in zip((test.x, test.y), by_word, by_sentence, strict=True):
        for word, value, each in zip(group.words, words, sentences, strict=True):
            furthest = int(np.argmax(np.abs(each)))
            associations.append(Association(word, group.name, float(value), group.texts(word)[furthest]))
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
        associations=tuple(sorted(associations, key=lambda one: -one.value)),
    )
