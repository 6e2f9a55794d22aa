import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from umekomi import Embedder, Role, Settings
from umekomi.assets.store import AssetStore
from umekomi.catalog import load_catalog, parse_catalog
from umekomi.encoders.lexical.encoder import LexicalEncoder
from umekomi.errors import InputError, ModelNotFoundError, SpaceMismatchError, TokenLimitError


def test_every_vector_has_length_one(fake: Embedder) -> None:
    vectors = fake.embed(["one", "two words", "日本語", "!"])
    assert (vectors.shape, vectors.dtype) == ((4, 64), np.float32)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1] * 4)


@pytest.mark.parametrize(
    "text",
    [
        "…",
        "👍🏽",
        "👨‍👩‍👧",
        " ",
        "\n\t",
        "日本語",
        "ქართული",
        "ᚠᛇᚻ",
        "!!!",
        "\u200b",
        "\ufeff",
        "\0",
        "½ﷺ",
        "١٢٣",
        "the of",
    ],
)
def test_every_nonempty_text_has_a_vector(text: str, ada: Embedder, fake: Embedder) -> None:
    for embedder in (ada, fake):
        for role in (None, "query", "document"):
            assert np.linalg.norm(embedder.embed([text], role=role)) == pytest.approx(1)


WORDS_CATALOG = """
[encoders.words]
type = "lexical"
dims = 64
license = "Apache-2.0"
description = "-"
[models.words]
dimensions = 64
tokenizer = "bytes"
max_tokens = 8191
description = "-"
space = "words"
parts = [{ encoder = "words", weight = 1.0 }]
"""


def test_a_text_without_any_known_word_is_named() -> None:
    def build(*arguments: object) -> LexicalEncoder:
        return LexicalEncoder({"bean": 1e-5}, dims=64)

    embedder = Embedder("words", catalog=parse_catalog(WORDS_CATALOG), build_encoder=build)
    assert embedder.embed(["bean"]).any()
    with pytest.raises(InputError, match="Input 1 contains nothing that words has a vector for"):
        embedder.embed(["bean", "…"])


def test_an_empty_list_gives_no_vectors(fake: Embedder) -> None:
    assert fake.embed([]).shape == (0, 64)


def test_token_ids_are_decoded(fake: Embedder) -> None:
    assert (fake.embed([list(b"two beans")]) == fake.embed(["two beans"])).all()


@pytest.mark.parametrize("bad", ["", [], None, 3, [1.5], [True], ["a"], b"x"])
def test_an_invalid_input_is_named(fake: Embedder, bad: object) -> None:
    with pytest.raises(InputError, match="Input 1 "):
        fake.embed(["good", bad])  # type: ignore[list-item]


def test_one_string_is_not_a_list_of_texts(fake: Embedder) -> None:
    with pytest.raises(InputError, match="put the one text in a list"):
        fake.embed("hello")


def test_an_id_outside_the_vocabulary_is_named(fake: Embedder) -> None:
    with pytest.raises(InputError, match="300 is not in the vocabulary"):
        fake.embed([[104, 300]])


def test_a_text_that_is_too_long_is_an_error_and_never_truncated(fake: Embedder) -> None:
    fake.embed(["x" * 8191])
    with pytest.raises(TokenLimitError, match="Input 1 has 8192 tokens; umekomi-fake takes at most 8191"):
        fake.embed(["x", "x" * 8192])


def test_a_lone_surrogate_is_replaced(fake: Embedder) -> None:
    assert (fake.embed(["a \ud83d b"]) == fake.embed(["a \ufffd b"])).all()


def test_vectors_can_be_shortened_if_the_model_supports_it(fake: Embedder) -> None:
    short = fake.embed(["a"], dimensions=8)
    assert short.shape == (1, 8)
    assert np.linalg.norm(short) == pytest.approx(1)
    with pytest.raises(InputError, match="between 1 and 64"):
        fake.embed(["a"], dimensions=65)


def test_vectors_of_another_space_are_rejected(fake: Embedder) -> None:
    fake.require_space(fake.fingerprint, where="x.parquet")
    with pytest.raises(SpaceMismatchError, match=r"x\.parquet holds vectors of another space"):
        fake.require_space("0123", where="x.parquet")


def test_an_unknown_model_is_an_error() -> None:
    with pytest.raises(ModelNotFoundError):
        Embedder("no-such-model")


def test_ada_has_1536_dimensions(ada: Embedder) -> None:
    vectors = ada.embed(["a cat", "猫", "!!!", "the the"])
    assert vectors.shape == (4, 1536)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1] * 4, abs=1e-5)
    assert ada.fingerprint == Embedder().fingerprint


def test_ada_takes_token_arrays_of_cl100k(ada: Embedder) -> None:
    assert (ada.embed([[83, 1609, 5963, 374, 2294, 0]]) == ada.embed(["tiktoken is great!"])).all()


def test_ada_cannot_shorten(ada: Embedder) -> None:
    with pytest.raises(InputError, match="cannot shorten"):
        ada.embed(["a"], dimensions=256)


def test_ada_gives_the_same_bytes_alone_and_in_many_threads(ada: Embedder) -> None:
    texts = ["a cat", "dog food " * 50, "これは猫です", "fn main() {}", "x " * 1000]
    alone = {text: ada.embed([text])[0].tobytes() for text in texts}
    with ThreadPoolExecutor(6) as threads:
        for vectors in threads.map(ada.embed, [texts, texts[::-1], texts[1:3] * 4, texts[:1] * 9, texts, texts]):
            assert {vector.tobytes() for vector in vectors} <= set(alone.values())


def test_ada_finds_a_japanese_document(ada: Embedder) -> None:
    documents = [
        "コーヒー豆の焙煎方法",
        "自転車のパンクを直す",
        "How to train a dog",
        "東京の天気予報",
        "銀行の金利が上がった",
    ]
    vectors = ada.embed(documents, role=Role.DOCUMENT)
    for query, answer in [
        ("タイヤの修理", 1),
        ("犬のしつけ", 2),
        ("明日は雨が降りますか", 3),
        ("おいしい珈琲を淹れる", 0),
    ]:
        scores = vectors @ ada.embed([query], role=Role.QUERY)[0]
        assert int(scores.argmax()) == answer, query


def spearman(ada: Embedder, rows: list[tuple[str, str, float]]) -> float:
    left, right, gold = zip(*rows, strict=True)
    return float(spearmanr((ada.embed(left) * ada.embed(right)).sum(axis=1), gold).statistic)


def test_ada_agrees_with_people_about_english_sentences(ada: Embedder, data: Path) -> None:
    lines = (data / "stsb" / "sts-dev.csv").read_text("utf-8").splitlines()[:400]
    rows = [(cells[5], cells[6], float(cells[4])) for cells in (line.split("\t") for line in lines)]
    assert spearman(ada, rows) > 0.80


def test_ada_agrees_with_people_about_japanese_sentences(ada: Embedder, data: Path) -> None:
    import json

    lines = (data / "jsts" / "train_3000.json").read_text("utf-8").splitlines()[:400]
    rows = [(row["sentence1"], row["sentence2"], float(row["label"])) for row in map(json.loads, lines)]
    assert spearman(ada, rows) > 0.68


def test_a_bundle_works_without_a_network(
    assets_here: AssetStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ada: Embedder
) -> None:
    catalog = load_catalog()
    bundle = tmp_path / "bundle"
    assets_here.bundle(catalog.assets_of(catalog.model("text-embedding-ada-002")), bundle)

    def forbidden(*arguments: object, **options: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", forbidden)
    monkeypatch.setattr(socket, "getaddrinfo", forbidden)
    offline = Embedder(settings=Settings(cache=tmp_path / "empty", asset_path=(bundle,)))
    assert (offline.embed(["a cat"]) == ada.embed(["a cat"])).all()


def test_the_wrong_model_of_a_pair_names_its_counterpart(embedder_of: Callable[[str], Embedder]) -> None:
    documents, queries = embedder_of("text-search-babbage-doc-001"), embedder_of("text-search-babbage-query-001")
    assert documents.fingerprint == queries.fingerprint
    with pytest.raises(InputError, match=r"embed queries with its counterpart, text-search-babbage-query-001"):
        documents.embed(["a"], role=Role.QUERY)
    with pytest.raises(InputError, match=r"embed documents with its counterpart, text-search-babbage-doc-001"):
        queries.embed(["a"], role=Role.DOCUMENT)
    assert queries.embed(["a"], role=Role.QUERY).shape == (1, 2048)


def test_models_share_equal_parts(ada: Embedder, embedder_of: Callable[[str], Embedder]) -> None:
    other = embedder_of("text-search-babbage-doc-001")
    assert ada._encoders[0] is other._encoders[0]
    assert ada.fingerprint != other.fingerprint


def test_models_of_the_first_generation_replace_newlines_except_for_code(
    embedder_of: Callable[[str], Embedder],
) -> None:
    text, code = embedder_of("text-similarity-ada-001"), embedder_of("code-search-ada-code-001")
    assert (text.embed(["two\nlines"]) == text.embed(["two lines"])).all()
    assert code.embed(["two\nlines"]).shape == (1, 1024)


@pytest.mark.parametrize("dimensions", [64, 256, 512])
def test_shortened_vectors_still_compare_two_languages(embedder_of: Callable[[str], Embedder], dimensions: int) -> None:
    small = embedder_of("text-embedding-3-small")
    vectors = small.embed(
        ["A cat sleeps.", "猫が寝ている。", "Stock prices fell sharply.", "株価が急落した。"], dimensions=dimensions
    )
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1] * 4, abs=1e-5)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > cosines[0, 3]
    assert cosines[2, 3] > cosines[2, 1]
