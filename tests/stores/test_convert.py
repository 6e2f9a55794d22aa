"""Collections are converted with a matrix, without embedding their texts again."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from umekomi import Embedder
from umekomi.data.embedded_file import Space
from umekomi.errors import SpaceMismatchError
from umekomi.stores import copy_store, create_store, customize_space
from umekomi.vectors.matrices import Matrix, load_matrix

TEXTS = ["two beans", "a dog", "green tea"]


@pytest.mark.parametrize("dims", [64, 8])
def test_a_converted_collection_has_the_vectors_of_the_customized_model(
    dims: int, fake: Embedder, tmp_path: Path
) -> None:
    values = np.random.default_rng(1).normal(size=(fake.dims, dims)).astype(np.float32)
    Matrix({"matrix": values}, fake.model, fake.fingerprint).save(tmp_path / "my.safetensors")
    matrix = load_matrix(tmp_path / "my.safetensors")
    model = Embedder(f"umekomi-fake+{tmp_path / 'my.safetensors'}")
    with create_store(f"memory://plain{dims}", Space(fake.model, fake.fingerprint, fake.dims)) as source:
        source.upsert(TEXTS, fake.embed(TEXTS), pa.table({"text": TEXTS}))
        space = customize_space(source.space, matrix)
        assert space == Space(model.model, model.fingerprint, model.dims)
        with create_store(f"memory://mine{dims}", space) as target:
            assert copy_store(source, target, matrix=matrix).written == 3
            hit = target.search(model.embed(["a dog"]), k=1)[0][0]
            assert (hit.id, hit.record) == ("a dog", {"text": "a dog"})
            assert hit.score == pytest.approx(1, abs=1e-4)


def test_vectors_of_another_model_are_not_converted(fake: Embedder) -> None:
    matrix = Matrix({"matrix": np.eye(64, dtype=np.float32)}, "another-model", "0" * 16)
    with pytest.raises(SpaceMismatchError, match="was learned for vectors of another-model"):
        customize_space(Space(fake.model, fake.fingerprint, fake.dims), matrix)
