import pickle
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from umekomi import Embedder
from umekomi.catalog import Catalog, Role
from umekomi.cli.served_models import served_models
from umekomi.errors import InputError, SpaceMismatchError
from umekomi.vectors.arithmetic import FloatArray, normalize
from umekomi.vectors.matrices import Matrix, base_model, load_matrix, split_matrix


def random_array(*shape: int, seed: int = 5) -> FloatArray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


@pytest.fixture
def matrix(fake: Embedder) -> Matrix:
    """Return a matrix of rank 3 for the fake model."""
    tensors = {"left": random_array(fake.dims, 3), "right": random_array(3, fake.dims, seed=6)}
    return Matrix(tensors, fake.model, fake.fingerprint, "0" * 64)


def test_vectors_are_multiplied_and_scaled_to_length_one(matrix: Matrix, fake: Embedder) -> None:
    vectors = fake.embed(["two beans", "a dog"])
    whole = np.eye(fake.dims, dtype=np.float32) + matrix.tensors["left"] @ matrix.tensors["right"]
    assert matrix.apply(vectors) == pytest.approx(normalize(vectors @ whole), abs=1e-5)
    assert Matrix.from_array(whole).apply(vectors) == pytest.approx(matrix.apply(vectors), abs=1e-5)


@pytest.mark.parametrize("shapes", [{"matrix": (300, 200)}, {"left": (300, 40), "right": (40, 300)}])
def test_a_vector_has_the_same_bytes_in_every_batch(shapes: dict[str, tuple[int, int]]) -> None:
    matrix = Matrix({name: random_array(*shape) for name, shape in shapes.items()})
    vectors = random_array(1500, 300)
    whole = matrix.apply(vectors)
    for rows in (slice(0, 1), slice(7, 10), slice(1000, 1400)):
        assert matrix.apply(vectors[rows]).tobytes() == whole[rows].tobytes()


def test_a_text_has_the_same_bytes_in_every_batch(matrix: Matrix) -> None:
    model = Embedder("umekomi-fake", matrix=matrix)
    alone = model.embed(["two beans"])
    assert all(model.embed(["two beans", *["a dog"] * n])[:1].tobytes() == alone.tobytes() for n in (1, 3, 16))


@pytest.mark.parametrize("values", [np.zeros((64, 3)), np.full((64, 3), 1e30), np.full((64, 3), 1e-30)])
def test_extreme_values_give_vectors_of_length_one_or_zero(values: FloatArray, fake: Embedder) -> None:
    lengths = np.linalg.norm(Matrix.from_array(values).apply(fake.embed(["a dog"])), axis=1)
    assert lengths == pytest.approx(1.0 if values.any() else 0.0)


def test_a_saved_matrix_is_part_of_the_models_id_and_fingerprint(
    matrix: Matrix, fake: Embedder, tmp_path: Path
) -> None:
    path = tmp_path / "my.safetensors"
    matrix.save(path)
    model = Embedder(f"umekomi-fake+{path}")
    assert model.model == f"umekomi-fake+{path}"
    assert model.fingerprint == matrix.combined_fingerprint(fake.fingerprint) != fake.fingerprint
    assert model.embed(["a dog"]) == pytest.approx(matrix.apply(fake.embed(["a dog"])), abs=1e-7)
    loaded = load_matrix(path)
    assert (loaded.model, loaded.fingerprint, loaded.data) == ("umekomi-fake", fake.fingerprint, "0" * 64)
    assert Embedder("umekomi-fake", matrix=path).fingerprint == model.fingerprint


def test_a_pickled_model_keeps_its_matrix_without_the_file(matrix: Matrix, tmp_path: Path) -> None:
    path = tmp_path / "my.safetensors"
    matrix.save(path)
    model = Embedder(f"umekomi-fake+{path}")
    data = pickle.dumps(model)
    path.unlink()
    copy = pickle.loads(data)
    assert (copy.model, copy.fingerprint) == (model.model, model.fingerprint)


def test_both_models_of_a_pair_share_the_matrix(pair_catalog: Catalog) -> None:
    query = Embedder("fake-query", catalog=pair_catalog)
    whole = Matrix({"matrix": random_array(query.dims, 8)}, query.model, query.fingerprint)
    customized = Embedder("fake-query", catalog=pair_catalog, matrix=whole)
    document = customized.for_role(Role.DOCUMENT)
    assert document.model == f"{query.card.pair}+{whole.name}"
    assert (document.dims, document.fingerprint) == (8, customized.fingerprint)


def test_a_direction_is_projected_out_before_the_matrix(tmp_path: Path) -> None:
    without = Embedder("umekomi-fake,without=gender")
    whole = Matrix({"matrix": random_array(without.dims, 8)}, without.model, without.fingerprint)
    whole.save(tmp_path / "my.safetensors")
    model = Embedder(f"umekomi-fake,without=gender+{tmp_path / 'my.safetensors'}")
    assert model.embed(["she"]) == pytest.approx(whole.apply(without.embed(["she"])), abs=1e-7)
    with pytest.raises(SpaceMismatchError, match="was learned for vectors of umekomi-fake,without=gender"):
        Embedder("umekomi-fake", matrix=whole)


def test_a_matrix_of_another_size_is_rejected() -> None:
    with pytest.raises(SpaceMismatchError, match="applies to vectors of 3 dimensions"):
        Embedder("umekomi-fake", matrix=np.eye(3))
    assert Embedder("umekomi-fake", matrix=random_array(64, 8)).embed(["a dog"]).shape == (1, 8)


def test_files_without_a_matrix_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no file"):
        Embedder("umekomi-fake+missing.safetensors")
    (tmp_path / "bad.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="is damaged"):
        load_matrix(tmp_path / "bad.safetensors")
    for tensors in (
        {"weights": random_array(2, 2)},
        {"matrix": random_array(4)},
        {"matrix": np.full((2, 2), np.nan, dtype=np.float32)},
        {"left": random_array(4, 2), "right": random_array(3, 4)},
    ):
        save_file(tensors, tmp_path / "other.safetensors")
        with pytest.raises(InputError, match="does not contain a matrix"):
            load_matrix(tmp_path / "other.safetensors")


def test_the_path_of_a_matrix_may_contain_a_plus_sign(tmp_path: Path) -> None:
    path = tmp_path / "c++" / "a+b.safetensors"
    path.parent.mkdir()
    path.touch()
    assert split_matrix(f"umekomi-fake+{path}") == ("umekomi-fake", str(path))
    assert split_matrix("./a+b") == ("./a+b", "")
    assert base_model("umekomi-fake,without=gender+my.safetensors") == "umekomi-fake"


def test_a_server_does_not_show_the_folder_of_a_matrix(matrix: Matrix, tmp_path: Path) -> None:
    path = tmp_path / "my.safetensors"
    matrix.save(path)
    sources, _ = served_models([f"umekomi-fake+{path}"], [])
    assert sources == {"umekomi-fake+my.safetensors": f"umekomi-fake+{path}"}
    assert Embedder(f"umekomi-fake+{path}", name="umekomi-fake+my.safetensors").model == "umekomi-fake+my.safetensors"
