"""The steps after the last layer: OpenVINO and torch compute what NumPy computes."""

from collections.abc import Sequence
from importlib.util import find_spec

import numpy as np
import pytest
from tests.conftest import unavailable

from umekomi.encoders.transformer.backends.openvino_import import op, ov
from umekomi.encoders.transformer.backends.openvino_nodes import constant, ints
from umekomi.encoders.transformer.backends.openvino_steps import GraphInputs, finish_graph
from umekomi.encoders.transformer.network.layers import ACTIVATIONS
from umekomi.encoders.transformer.steps import (
    MEAN,
    Dense,
    LayerNorm,
    Normalize,
    Pool,
    PoolMode,
    Step,
    Truncate,
    count_dims,
)
from umekomi.errors import InputError

RANDOM = np.random.default_rng(5)
TABLE = RANDOM.normal(0, 1, (30, 6)).astype(np.float32)
IDS = RANDOM.integers(0, 30, (3, 8), dtype=np.int32)
LENGTHS = np.array([8, 5, 3], dtype=np.int32)
STARTS = np.array([3, 2, 2], dtype=np.int32)


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(0, 1, shape).astype(np.float32)


def compute_openvino(steps: Sequence[Step]) -> np.ndarray:
    """Apply steps to states that are rows of a table."""
    inputs = GraphInputs.create()
    graph = finish_graph(op.gather(constant(TABLE), inputs.ids, ints(0)), inputs, steps)
    request = ov.Core().compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}).create_infer_request()
    return np.array(next(iter(request.infer([IDS, LENGTHS, STARTS]).values())))


def compute_torch(steps: Sequence[Step]) -> np.ndarray:
    if find_spec("torch") is None:
        unavailable("torch is not installed: pip install 'umekomi[gpu]'")
    import torch

    from umekomi.encoders.transformer.backends.torch_steps import Steps, Tokens

    state, lengths, starts = map(torch.tensor, (TABLE[IDS], LENGTHS, STARTS))
    return Steps(steps, torch.device("cpu"))(Tokens(state, lengths, starts)).numpy()


@pytest.fixture(params=[compute_openvino, compute_torch], ids=["openvino", "torch"])
def compute(request: pytest.FixtureRequest) -> object:
    return request.param


def pool(mode: PoolMode, tokens: np.ndarray, first: int) -> np.ndarray:
    """Pool the tokens of one text, which begin at position ``first``."""
    ranks = np.arange(first + 1, first + 1 + len(tokens))
    match mode:
        case PoolMode.CLS:
            return tokens[0]
        case PoolMode.LAST_TOKEN:
            return tokens[-1]
        case PoolMode.MAX:
            return tokens.max(axis=0)
        case PoolMode.MEAN:
            return tokens.mean(axis=0)
        case PoolMode.MEAN_SQRT_LEN:
            return tokens.sum(axis=0) / np.sqrt(len(tokens))
        case PoolMode.WEIGHTED_MEAN:
            return ranks @ tokens / ranks.sum()


@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("modes", [*((mode,) for mode in PoolMode), (PoolMode.MEAN, PoolMode.CLS), tuple(PoolMode)])
def test_pooling(compute, modes: tuple[PoolMode, ...], include_prompt: bool) -> None:  # type: ignore[no-untyped-def]
    starts = [0, 0, 0] if include_prompt else STARTS.tolist()
    expected = [
        np.concatenate([pool(mode, TABLE[ids[start:length]], start) for mode in modes])
        for ids, length, start in zip(IDS, LENGTHS, starts, strict=True)
    ]
    assert compute([Pool(modes, include_prompt)]) == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_dense_layers_with_each_activation(compute, activation: str) -> None:  # type: ignore[no-untyped-def]
    if find_spec("torch") is None:
        unavailable("torch is not installed: pip install 'umekomi[gpu]'")
    steps = [*MEAN, Dense(normal(5, 6), normal(5), activation)]
    assert compute(steps) == pytest.approx(compute_torch(steps), abs=2e-6)


def test_residual_connections_layer_norm_and_truncation(compute) -> None:  # type: ignore[no-untyped-def]
    mean = np.array([TABLE[ids[:length]].mean(axis=0) for ids, length in zip(IDS, LENGTHS, strict=True)])
    square, wide, projection = normal(6, 6), normal(9, 6), normal(9, 6)[::-1].copy()
    after = np.tanh(mean @ square.T) + mean
    after = np.maximum(after @ wide.T + 1, 0) + after @ projection.T
    after = (after - after.mean(axis=1, keepdims=True)) / np.sqrt(after.var(axis=1, keepdims=True) + 1e-5) * 2 + 3
    steps: list[Step] = [
        Pool((PoolMode.MEAN,)),
        Dense(square, None, "tanh", use_residual=True),
        Dense(wide, np.ones(9, dtype=np.float32), "relu", use_residual=True, residual=projection),
        LayerNorm(np.full(9, 2, dtype=np.float32), np.full(9, 3, dtype=np.float32)),
        Truncate(4),
    ]
    assert compute(steps) == pytest.approx(after[:, :4], abs=1e-5)
    unit = after[:, :4] / np.linalg.norm(after[:, :4], axis=1, keepdims=True)
    assert compute([*steps, Normalize()]) == pytest.approx(unit, abs=1e-6)
    assert count_dims([*steps, Normalize()], 6) == 4


def test_a_dense_layer_before_the_pooling_applies_to_each_token(compute) -> None:  # type: ignore[no-untyped-def]
    weight = normal(3, 6)
    expected = [(TABLE[ids[:length]] @ weight.T).max(axis=0) for ids, length in zip(IDS, LENGTHS, strict=True)]
    assert compute([Dense(weight, None, "identity"), Pool((PoolMode.MAX,))]) == pytest.approx(
        np.array(expected), abs=1e-5
    )


def test_steps_that_do_not_match_are_rejected() -> None:
    def assert_rejected(match: str, *steps: Step) -> None:
        with pytest.raises(InputError, match=match):
            count_dims(steps, 6)

    assert_rejected("must have one pooling; this one has none", Normalize())
    assert_rejected("must have one pooling; this one has 2", *MEAN, *MEAN)
    assert_rejected("last step of a model must be a normalization", MEAN[0])
    assert_rejected(
        "dense layer has 5 inputs, .* has 6 dimensions", MEAN[0], Dense(normal(4, 5), None, "relu"), MEAN[1]
    )
    residual = Dense(normal(4, 6), None, "relu", use_residual=True)
    assert_rejected("residual connection .* does not match", MEAN[0], residual, MEAN[1])
