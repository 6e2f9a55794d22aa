import unicodedata
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi import Embedder
from umekomi.encoders.unicode import normalize_text

FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)} | {0x20: 0x3000}
VARIANTS = [
    ("ＡＢＣ", "ABC"),
    ("Ｒｅａｄ　ｔｈｅ　ｆｉｌｅ！", "Read the file!"),
    ("２０２３年１０月", "2023年10月"),
    ("ｶﾀｶﾅのﾊﾞﾅﾅ", "カタカナのバナナ"),
    ("ﬁne ﬂowers in the oﬃce", "fine flowers in the office"),
    ("cafe\u0301 re\u0301sume\u0301", "café résumé"),
    ("か\u3099くせい", "がくせい"),
    ("\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165", "한국어"),
    ("㈱日立の㌔㍍", "(株)日立のキロメートル"),
    ("葛\U000e0100城市", "葛城市"),
    ("soft\u00adware", "software"),
    ("H₂O and CO₂", "H2O and CO2"),
    ("𝐛𝐨𝐥𝐝 𝑖𝑡𝑎𝑙𝑖𝑐", "bold italic"),
]


@pytest.mark.parametrize(("variant", "text"), VARIANTS)
def test_variants_are_the_same_text(variant: str, text: str) -> None:
    assert normalize_text(variant) == normalize_text(text) == text


@pytest.mark.parametrize(
    ("text", "normalized"),
    [
        ("10² m", "10^2 m"),
        ("10⁻³", "10^−3"),
        ("x² + m²", "x2 + m2"),
        ("1½ cups", "1 1/2 cups"),
        ("½ cup", "1/2 cup"),
        ("①②③東京", "1 2 3東京"),
        ("Lego™ bricks", "Lego TM bricks"),
    ],
)
def test_characters_that_nfkc_would_join_stay_apart(text: str, normalized: str) -> None:
    assert normalize_text(text) == normalized


def test_line_breaks_and_indents_stay() -> None:
    code = "def 名前():\n\treturn 'ａ'\r\n"
    assert normalize_text(code) == "def 名前():\n\treturn 'a'\r\n"


@given(st.text())
def test_a_normalized_text_stays_the_same(text: str) -> None:
    normalized = normalize_text(text)
    assert normalize_text(normalized) == normalized
    assert unicodedata.is_normalized("NFKC", normalized)


@given(st.text(st.characters(max_codepoint=0x7E, min_codepoint=0x20)))
def test_full_width_text_becomes_ascii(text: str) -> None:
    assert normalize_text(text.translate(FULL_WIDTH)) == text


@given(st.text(st.characters(categories=["L", "N", "P", "Z"])))
def test_composed_and_decomposed_texts_are_the_same_text(text: str) -> None:
    assert normalize_text(unicodedata.normalize("NFD", text)) == normalize_text(unicodedata.normalize("NFC", text))


@pytest.mark.assets
@pytest.mark.parametrize("model", ["text-embedding-ada-002", "text-search-ada-doc-001", "code-search-babbage-code-001"])
def test_variants_have_the_same_vectors_but_their_own_token_counts(
    model: str, embedder_of: Callable[[str], Embedder]
) -> None:
    embedder = embedder_of(model)
    variants, texts = zip(*VARIANTS, strict=True)
    products = np.einsum("ij,ij->i", embedder.embed(variants), embedder.embed(texts))
    assert products.min() >= 0.9999
    counts = embedder.prepare(["ＡＢＣ", "ABC"]).n_tokens
    assert counts == tuple(map(embedder.tokenizer.count, ["ＡＢＣ", "ABC"]))
    assert counts[0] > counts[1]


@pytest.mark.assets
def test_an_encoder_alone_reads_the_text_as_sentence_transformers_does(
    embedder_of: Callable[[str], Embedder],
) -> None:
    left, right = embedder_of("all-MiniLM-L6-v2").embed(["ＡＢＣ", "ABC"])
    assert left @ right < 0.9
