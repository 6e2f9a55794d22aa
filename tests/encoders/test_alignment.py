"""Aligned parts: language directions are projected out, and other transformers' vectors of other languages are predicted."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from umekomi import Embedder
from umekomi.encoders.alignment import MATRIX_STEP, PIVOT, Alignment
from umekomi.encoders.base import Encoder
from umekomi.errors import AssetCorruptError
from umekomi.progress import Progress
from umekomi.vectors.arithmetic import FloatArray

ENGLISH = "english-encoder"
LENGTH = 0.5
# The first dimension is the language: 1 for English, -1 for another language. The other two are the meaning.
TEXTS = {"cat": (1, 1, 0), "dog": (1, 0, 1), "Katze": (-1, 1, 0), "Hund": (-1, 0, 1), "Hotel": (0, 1, 1)}


class TableEncoder(Encoder):
    """Looks vectors up, and remembers which texts it was asked for."""

    def __init__(self, name: str, table: dict[str, tuple[float, ...]]) -> None:
        self.name = name
        self.dims = len(next(iter(table.values())))
        self.table = table
        self.texts: list[str] = []

    def _encode(self, texts: Sequence[str], role: str | None, progress: Progress) -> FloatArray:
        self.texts += texts
        progress(len(texts))
        vectors = np.array([self.table[text] for text in texts], dtype=np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def identity(self) -> dict[str, object]:
        return {"kind": "table"}


@pytest.fixture
def alignment() -> Alignment:
    return build_alignment()


def build_alignment(*, blend: float = 0.0) -> Alignment:
    return Alignment(
        projection=np.diag([0, 1, 1]).astype(np.float32),
        center=np.zeros(3, dtype=np.float32),
        classifier=np.array([1, 0, 0, 0.5], dtype=np.float32),
        predictions={ENGLISH: np.array([[0, 0], [0, 1], [1, 0]], dtype=np.float32)},
        predicted_length=np.array([LENGTH], dtype=np.float32),
        blend=blend,
    )


@pytest.fixture
def encoders() -> list[TableEncoder]:
    return [
        TableEncoder(ENGLISH, {"cat": (0, 1), "dog": (1, 0), "Hotel": (1, 0)}),
        TableEncoder(PIVOT, TEXTS),
        TableEncoder("words", dict.fromkeys(TEXTS, (1, 2))),
    ]


def encode(alignment: Alignment, encoders: Sequence[Encoder], texts: Sequence[str]) -> list[FloatArray]:
    return alignment.encode(encoders, texts, role=None, progress=None)


def test_a_text_and_its_translation_have_the_same_parts(alignment: Alignment, encoders: list[TableEncoder]) -> None:
    english, pivot, words = encode(alignment, encoders, ["cat", "dog", "Katze", "Hund"])
    assert np.allclose(english[:2] * LENGTH, english[2:], atol=1e-6)
    assert np.allclose(pivot[:2], pivot[2:], atol=1e-6)
    assert np.allclose(words[:2], words[2:])


def test_a_share_of_the_predicted_vector_is_blended_into_english_texts(encoders: list[TableEncoder]) -> None:
    blended = build_alignment(blend=0.25)
    english = encode(blended, encoders, ["cat", "Katze"])[0]
    # The transformer's vector of "cat" is (0, 1), and so is the predicted one.
    assert english[0] == pytest.approx([0, 1], abs=1e-4)
    assert english[1] == pytest.approx([0, LENGTH], abs=1e-4)
    encoders[0].table["cat"] = (1, 0)
    assert encode(blended, encoders, ["cat"])[0][0] == pytest.approx([0.9487, 0.3162], abs=1e-4)
    assert blended.identity() != build_alignment().identity()


def test_english_transformers_run_on_english_texts_only(alignment: Alignment, encoders: list[TableEncoder]) -> None:
    encode(alignment, encoders, ["Katze", "dog", "Hund"])
    assert encoders[0].texts == ["dog"]


def test_vectors_of_partly_english_texts_are_blended(alignment: Alignment, encoders: list[TableEncoder]) -> None:
    part = encode(alignment, encoders, ["Hotel"])[0][0]
    # Half the transformer's vector, (1, 0), and half the predicted one, (1, 1) / sqrt(2) in direction.
    assert part == pytest.approx([0.5 + 0.5 * LENGTH * 0.5**0.5, 0.5 * LENGTH * 0.5**0.5], abs=1e-4)


def test_progress_counts_each_text_once_for_each_encoder(alignment: Alignment, encoders: list[TableEncoder]) -> None:
    counts: list[int] = []
    alignment.encode(encoders, list(TEXTS), role=None, progress=counts.append)
    assert sum(counts) == len(encoders) * len(TEXTS)


def test_vectors_have_the_same_bytes_in_every_batch() -> None:
    random = np.random.default_rng(0)
    size = 384
    alignment = Alignment(
        random.normal(0, 0.3, (size, size)).astype(np.float32),
        random.normal(0, 0.03, size).astype(np.float32),
        random.normal(0, 1, size + 1).astype(np.float32),
        {},
        np.ones(1, dtype=np.float32),
    )
    vectors = random.normal(0, 1, (130, size)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    together, shares = alignment.project(vectors), alignment.english_shares(vectors)
    for rows in ([5], [129, 5, 7], list(range(100, 4, -3))):
        assert alignment.project(vectors[rows]).tobytes() == together[rows].tobytes()
        assert alignment.english_shares(vectors[rows]).tobytes() == shares[rows].tobytes()


def test_matrices_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "alignment.safetensors"
    tensors = {"projection": np.eye(2), "center": np.zeros(2), "classifier": np.array([0, 0, 1]), ENGLISH: np.eye(2)}
    tensors["predicted_length"] = np.array([LENGTH])
    save_file({name: tensor.astype(np.float16) for name, tensor in tensors.items()}, path)
    vectors = np.array([[0.6, 0.8]], dtype=np.float32)
    assert Alignment.read(path).project(vectors) == pytest.approx(vectors, abs=MATRIX_STEP)


def test_a_damaged_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "alignment.safetensors"
    path.write_bytes(b"not safetensors")
    with pytest.raises(AssetCorruptError, match="umekomi models verify"):
        Alignment.read(path)


def test_the_default_model_finds_translations(ada: Embedder) -> None:
    sentences = [
        ("The weather is nice today.", "今日はいい天気です。", "Heute ist schönes Wetter."),
        ("I lost my keys at the station.", "駅で鍵をなくしました。", "Ich habe meine Schlüssel am Bahnhof verloren."),
        ("How much is this book?", "この本はいくらですか。", "Wie viel kostet dieses Buch?"),
        ("My brother plays the piano.", "兄はピアノを弾きます。", "Mein Bruder spielt Klavier."),
    ]
    texts = [text for row in sentences for text in row]
    vectors = ada.embed(texts)
    scores = vectors @ vectors.T
    np.fill_diagonal(scores, -1)
    assert [index // 3 for index in scores.argmax(axis=1)] == [index // 3 for index in range(len(texts))]
