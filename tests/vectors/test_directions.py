from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.bias import seat as bias
from umekomi.bias.mitigation import measure_mitigation
from umekomi.errors import InputError, SpaceMismatchError
from umekomi.vectors.arithmetic import normalize
from umekomi.vectors.directions import builtin_directions, load_direction, project_out, split_model


def test_projected_vectors_are_orthogonal_to_the_direction_and_have_length_one() -> None:
    random = np.random.default_rng(3)
    vectors, direction = (normalize(random.normal(size=(n, 8)).astype(np.float32)) for n in (5, 1))
    projected = project_out(vectors, direction)
    assert np.abs(projected @ direction.T).max() < 1e-6
    assert np.linalg.norm(projected, axis=1) == pytest.approx(1, abs=1e-6)
    assert project_out(projected, direction) == pytest.approx(projected, abs=1e-6)


def test_project_out_matches_two_vectors_computed_by_hand() -> None:
    vectors = np.array([[0.6, 0.8], [0.8, 0.6]], dtype=np.float32)
    assert project_out(vectors, np.array([[1, 0]], dtype=np.float32)).tolist() == [[0, 1], [0, 1]]


def test_a_text_has_the_same_bytes_in_every_batch() -> None:
    model = Embedder("umekomi-fake,without=gender")
    alone = model.embed(["two beans"])
    assert all(model.embed(["two beans", *["a dog"] * n])[:1].tobytes() == alone.tobytes() for n in (1, 3, 16))


def test_a_model_without_a_direction_has_another_space(fake: Embedder) -> None:
    without = Embedder("umekomi-fake,without=gender")
    assert without.model == "umekomi-fake,without=gender"
    assert without.fingerprint != fake.fingerprint
    assert without.fingerprint == Embedder(without.model).fingerprint
    with pytest.raises(SpaceMismatchError):
        fake.require_space(without.fingerprint, where="the store")
    she, he = without.embed(["she", "he"])
    before = fake.embed(["she", "he"])
    assert float(she @ he) > float(before[0] @ before[1])


def test_a_direction_is_read_from_a_file_of_pairs(tmp_path: Path, fake: Embedder) -> None:
    (tmp_path / "pairs.tsv").write_text("cat\tdog\nkitten\tpuppy\n")
    direction = load_direction(str(tmp_path / "pairs.tsv"))
    assert direction.pairs == (("cat", "dog"), ("kitten", "puppy"))
    model = Embedder(f"umekomi-fake,without={tmp_path / 'pairs.tsv'}")
    assert model.fingerprint not in (fake.fingerprint, Embedder("umekomi-fake,without=gender").fingerprint)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cat\n", "must contain one pair of words per line"),
        ("a,b,c\n", "must contain one pair of words per line"),
        ("a,\n", "one pair of words per line"),
        ("", "one pair of words per line"),
    ],
)
def test_a_file_without_pairs_is_rejected(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(InputError, match=message):
        load_direction(str(tmp_path / "pairs.csv"))


def test_unknown_names_and_equal_pairs_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a file nor one of the directions gender, gender-ja"):
        Embedder("umekomi-fake,without=age")
    with pytest.raises(InputError, match="does not name a direction"):
        split_model("umekomi-fake,without=")
    (tmp_path / "same.csv").write_text("dog,dog\n")
    with pytest.raises(InputError, match="do not differ for this model"):
        Embedder(f"umekomi-fake,without={tmp_path / 'same.csv'}")


def test_builtin_directions_have_pairs_of_different_words() -> None:
    for direction in builtin_directions().values():
        assert len(direction.pairs) >= 8
        assert all(left != right for left, right in direction.pairs)


def test_measure_mitigation_reports_the_model_with_and_without_the_direction() -> None:
    report = measure_mitigation("umekomi-fake", "gender", bias.choose_tests(["weat8"]))
    assert (report.before.model, report.after.model) == ("umekomi-fake", "umekomi-fake,without=gender")
    assert report.before.effects[0].d != report.after.effects[0].d
    assert report.before.sts is None
