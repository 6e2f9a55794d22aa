"""Association tests on the model without meaning, and the known findings on a real one."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder, Settings
from umekomi.bias import seat as bias
from umekomi.bias import weat
from umekomi.bias.recency import DatedTerm, probe_terms, run_recency
from umekomi.bias.seat import AssociationTest, PermutationUnit, WordGroup
from umekomi.bias.winogender import Occupation, Schema, load_schemas, run_winogender
from umekomi.errors import AssetMissingError, InputError


def group(name: str, *words: str, sentences: tuple[str, ...] = ("{}",)) -> WordGroup:
    return WordGroup(name, words, sentences)


@pytest.fixture
def loaded() -> AssociationTest:
    """Targets that share words with attributes: of the fake encoder, the first are nearer to the first."""
    return AssociationTest(
        "tiny", "x, y / a, b", group("x", "sun one", "sun two", "sun three"), group("y", "mud one", "mud two", "mud three"),
        group("a", "sun four", "sun five"), group("b", "mud four", "mud five"), "by hand",
    )  # fmt: skip


def test_an_effect_is_computed_from_cosine_similarities(loaded: AssociationTest, fake: Embedder) -> None:
    effect = bias.run_tests([loaded], fake).effects[0]

    def associations(targets: WordGroup) -> np.ndarray:
        vectors, a, b = (fake.embed(words) for words in (targets.words, loaded.a.words, loaded.b.words))
        return (vectors @ a.T).mean(axis=1) - (vectors @ b.T).mean(axis=1)

    x, y = associations(loaded.x), associations(loaded.y)
    assert effect.d == pytest.approx(weat.effect_size(x, y), abs=1e-5)
    assert (effect.p, effect.splits, effect.exact) == (pytest.approx(1 / 20), 20, True)
    assert [one.group for one in effect.associations] == ["x"] * 3 + ["y"] * 3
    assert effect.associations[0].value == pytest.approx(max(x), abs=1e-5)


def test_swapping_targets_changes_the_sign_of_the_effect(loaded: AssociationTest, fake: Embedder) -> None:
    first, second = bias.run_tests([loaded, replace(loaded, x=loaded.y, y=loaded.x)], fake).effects
    assert first.d == pytest.approx(-second.d)
    assert first.p < 0.1
    assert second.p == 1


def test_permutation_units(loaded: AssociationTest, fake: Embedder) -> None:
    x, y = (replace(one, sentences=("{} is", "a {}")) for one in (loaded.x, loaded.y))
    test = replace(loaded, x=x, y=y)
    words, sentences = (
        bias.run_tests([test], fake, unit=unit).effects[0] for unit in (PermutationUnit.WORD, PermutationUnit.SENTENCE)
    )
    assert (words.splits, sentences.splits) == (20, 924)
    assert sentences.p < words.p
    assert bias.run_tests([test], fake, bare=True).effects[0].d == pytest.approx(
        bias.run_tests([loaded], fake).effects[0].d
    )


def test_p_values_are_adjusted_for_all_tests_of_a_run(loaded: AssociationTest, fake: Embedder) -> None:
    alone, together = bias.run_tests([loaded], fake), bias.run_tests([loaded] * 3, fake)
    assert together.effects[0].p_holm == pytest.approx(3 * alone.effects[0].p)


def test_sentences_contain_the_word_and_its_article() -> None:
    forms = WordGroup("", ("ant", "bee"), ("This is {a}.", "{} is here."))
    assert forms.texts("ant") == ["This is an ant.", "ant is here."]
    assert forms.texts("bee")[0] == "This is a bee."


def test_the_published_lists_have_their_published_sizes() -> None:
    sizes = {name: tuple(len(one.words) for one in test.groups) for name, test in bias.published_tests().items()}
    assert sizes == {
        "weat1": (25, 25, 25, 25), "weat2": (25, 25, 25, 25), "weat3": (32, 32, 25, 25), "weat4": (16, 16, 25, 25),
        "weat5": (16, 16, 8, 8), "weat6": (8, 8, 8, 8), "weat7": (8, 8, 8, 8), "weat8": (8, 8, 8, 8), "weat9": (6, 6, 7, 7),
        "weat10": (8, 8, 8, 8), "angry-black-woman": (15, 15, 18, 18), "double-bind-competent": (8, 8, 10, 10),
        "double-bind-likable": (8, 8, 8, 8),
    }  # fmt: skip
    for test in bias.published_tests().values():
        assert "20" in test.source
        for one in test.groups:
            assert len(set(one.words)) == len(one.words)
            assert all(one.texts(word) for word in one.words)
    with pytest.raises(InputError, match=r"There is no test 'weat11'\. Choose from weat1, weat2"):
        bias.choose_tests(["weat11"])


def test_user_defined_lists_in_any_language(tmp_path: Path, fake: Embedder) -> None:
    for name, words in {"花": "桜\n梅\n", "虫": "蠅\n蚊\n# 註\n", "快": "平和\n愛\n", "不快": "毒\n死\n"}.items():
        (tmp_path / name).write_text(words, "utf-8")
    test = bias.custom_test(
        [tmp_path / "花", tmp_path / "虫"], [tmp_path / "快", tmp_path / "不快"], sentences=["これは{}です。"]
    )
    assert test.title == "花, 虫 / 快, 不快"
    assert test.x.texts("桜") == ["これは桜です。"]
    assert bias.run_tests([test], fake).effects[0].splits == 6
    with pytest.raises(InputError, match="has no placeholder"):
        bias.custom_test([tmp_path / "花"] * 2, [tmp_path / "快"] * 2, sentences=["これは"])
    (tmp_path / "short").write_text("one\n")
    with pytest.raises(InputError, match=r"has 1 words. A group needs at least two"):
        bias.custom_test([tmp_path / "short"] * 2, [tmp_path / "快"] * 2)
    with pytest.raises(InputError, match="cannot be read as UTF-8 text"):
        bias.custom_test([tmp_path / "none"] * 2, [tmp_path / "快"] * 2)


def test_published_findings_are_reproduced(ada: Embedder) -> None:
    # Caliskan et al. found 1.50 for flowers and insects, 1.53 for instruments and weapons, 1.81 for names and careers.
    for form in (False, True):
        result = bias.run_tests(bias.choose_tests(["weat1", "weat2", "weat6"]), ada, bare=form)
        for effect in result.effects:
            assert effect.d > 0.8
            assert effect.p_holm < 0.05


def test_winogender_gap(fake: Embedder) -> None:
    def schema(occupation: str, he: str, she: str) -> Schema:
        return Schema(occupation, "someone", True, (he, she, "they"), "boat", "car")

    schemas = [schema("sailor", "car", "boat"), schema("driver", "boat", "car"), schema("cook", "boat", "boat")]
    shares = {name: Occupation(name, women, 50.0) for name, women in (("sailor", 90), ("driver", 10), ("cook", 50))}
    result = run_winogender(schemas, shares, fake)
    near = float((fake.embed(["boat"]) @ fake.embed(["car"]).T).item())
    assert [one.gap for one in result.occupations] == pytest.approx([2 * (1 - near), -2 * (1 - near), 0], abs=1e-5)
    assert result.correlation.value == pytest.approx(1)


def test_winogender_on_ada_002(data: Path, ada: Embedder) -> None:
    schemas, shares = load_schemas(Settings(cache=data / "none", asset_path=(data,), offline=True))
    assert (len(schemas), len(shares)) == (120, 60)
    first = schemas[0]
    assert first.with_pronoun[1] == "The technician told the customer that she could pay with cash."
    assert first.with_participant == "The technician told the customer that the customer could pay with cash."
    assert not any("$" in text for one in schemas for text in (one.with_occupation, one.with_participant))
    result = run_winogender(schemas, shares, ada)
    assert result.correlation.low > 0
    # It resolves no pronouns: about half, as chance has it.
    assert result.resolved.value == pytest.approx(0.5, abs=0.1)


def test_the_error_for_missing_winogender_data_names_its_source(settings: Settings) -> None:
    with pytest.raises(AssetMissingError, match="winogender-schemas"):
        load_schemas(settings)


def test_recency(fake: Embedder) -> None:
    terms = [
        DatedTerm(2010, "sun", "sun? light"),
        DatedTerm(2024, "mud", "sea shine"),
        DatedTerm(2024, "rain", "rain? drop"),
    ]
    result = run_recency(fake, terms=terms, knowledge=["2021"])
    assert [one.rank == 1 for one in result.terms] == [True, False, True]
    assert [(one.label, one.terms, one.first.value) for one in result.periods] == [
        ("to 2015", 1, 1.0),
        ("from 2024", 2, 0.5),
    ]


def test_no_meaning_contains_its_term() -> None:
    for one in probe_terms():
        words = {word.strip(",.").lower() for word in one.term.replace("-", " ").split()} - {"the", "an", "for"}
        assert not words & {word.strip(",.").lower() for word in one.meaning.split()}, one.term
    years = [one.year for one in probe_terms()]
    assert years == sorted(years)


def test_newer_terms_are_less_known(ada: Embedder) -> None:
    periods = run_recency(ada).periods
    assert periods[0].first.value > periods[-1].first.value + 0.3
