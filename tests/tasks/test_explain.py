import pytest

from umekomi import Embedder
from umekomi.errors import InputError
from umekomi.tasks.explain import MAX_PIECES, explain, parts_of


def test_the_word_in_common_made_the_score(fake: Embedder) -> None:
    found = explain(fake, "beans", "my dog eats beans")
    assert found.document[0].text == "beans"
    assert found.document[0].start == 12
    assert found.document[0].gain > 0.2
    assert found.query == ()  # without its only word there is no query
    assert found.parts == {"fake": pytest.approx(found.score)}


def test_long_texts_are_taken_in_pieces_of_several_words(fake: Embedder) -> None:
    found = explain(fake, "beans soup", "word " * 1000 + "beans")
    assert len(found.document) <= MAX_PIECES
    assert "beans" in found.document[0].text


def test_the_parts_of_the_real_model_sum_to_the_score(ada: Embedder) -> None:
    found = explain(ada, "delicious beans", "The best beans that your money can buy; so delicious.")
    assert sum(found.parts.values()) == pytest.approx(found.score, abs=1e-5)
    assert found.parts["lexical"] > 0.05
    assert {piece.text for piece in found.document[:2]} == {"beans", "delicious"}
    assert sum(part.stop - part.start for part in parts_of(ada).values()) == ada.dims


def test_japanese_is_taken_by_runs_of_one_script(ada: Embedder) -> None:
    found = explain(ada, "犬の食べ物", "うちの犬はこのビスケットが大好きです。")
    assert "犬" in {piece.text for piece in found.document}
    assert max(found.query, key=lambda piece: piece.gain).text == "犬"


def test_nothing_cannot_be_explained(fake: Embedder) -> None:
    with pytest.raises(InputError, match="the text is empty"):
        explain(fake, "beans", " ")
