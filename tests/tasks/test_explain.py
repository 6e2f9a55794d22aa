import pytest

from umekomi import Embedder
from umekomi.errors import InputError
from umekomi.tasks.explain import MAX_PIECES, explain, parts_of


def test_the_common_word_contributes_to_the_score(fake: Embedder) -> None:
    explanation = explain(fake, "beans", "my dog eats beans")
    assert explanation.document[0].text == "beans"
    assert explanation.document[0].start == 12
    assert explanation.document[0].gain > 0.2
    assert explanation.query == ()  # without its only word there is no query
    assert explanation.parts == {"fake": pytest.approx(explanation.score)}


def test_long_texts_are_divided_into_pieces_of_several_words(fake: Embedder) -> None:
    explanation = explain(fake, "beans soup", "word " * 1000 + "beans")
    assert len(explanation.document) <= MAX_PIECES
    assert "beans" in explanation.document[0].text


def test_the_parts_of_the_real_model_sum_to_the_score(ada: Embedder) -> None:
    explanation = explain(ada, "delicious beans", "The best beans that your money can buy; so delicious.")
    assert sum(explanation.parts.values()) == pytest.approx(explanation.score, abs=1e-5)
    assert explanation.parts["lexical"] > 0.05
    assert {piece.text for piece in explanation.document[:2]} == {"beans", "delicious"}
    assert sum(part.stop - part.start for part in parts_of(ada).values()) == ada.dims


def test_japanese_is_divided_into_runs_of_one_script(ada: Embedder) -> None:
    explanation = explain(ada, "犬の食べ物", "うちの犬はこのビスケットが大好きです。")
    assert "犬" in {piece.text for piece in explanation.document}
    assert max(explanation.query, key=lambda piece: piece.gain).text == "犬"


def test_empty_texts_are_rejected(fake: Embedder) -> None:
    with pytest.raises(InputError, match="the text is empty"):
        explain(fake, "beans", " ")
