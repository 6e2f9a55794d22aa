"""The steps in NumPy compute what OpenVINO computes."""

import pytest

from umekomi.encoders.transformer.folder.modules import _ACTIVATIONS
from umekomi.encoders.transformer.network.layers import ACTIVATIONS
from umekomi.encoders.transformer.numpy_steps import apply_steps
from umekomi.encoders.transformer.steps import MEAN, Dense, LayerNorm, Normalize, Step, Truncate

from .test_steps import compute_openvino, normal


@pytest.mark.parametrize("activation", sorted(_ACTIVATIONS.values()))
def test_dense_layers_with_each_activation(activation: str) -> None:
    assert activation in ACTIVATIONS
    step = Dense(normal(5, 6), normal(5), activation)
    assert apply_steps(compute_openvino(MEAN), [step]) == pytest.approx(compute_openvino([*MEAN, step]), abs=1e-5)


def test_residual_connections_normalizations_and_shorter_vectors() -> None:
    steps: list[Step] = [
        Dense(normal(6, 6), None, "tanh", use_residual=True),
        Dense(normal(5, 6), normal(5), "gelu", use_residual=True, residual=normal(5, 6)),
        LayerNorm(normal(5), normal(5)),
        Truncate(3),
        Normalize(),
    ]
    assert apply_steps(compute_openvino(MEAN), steps) == pytest.approx(compute_openvino([*MEAN, *steps]), abs=1e-5)
