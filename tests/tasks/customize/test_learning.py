import numpy as np
import pytest

from umekomi.tasks.customize.learning import (
    LabelLoss,
    Learned,
    SearchLoss,
    _batches,
    count_steps,
    learn_matrix,
    principal_directions,
)
from umekomi.vectors.arithmetic import FloatArray, normalize
from umekomi.vectors.matrices import Matrix


def noisy_pairs(n: int = 400, dims: int = 24, *, seed: int = 1) -> tuple[FloatArray, FloatArray]:
    """Return pairs that agree in the first four dimensions. All others are larger and random."""
    random = np.random.default_rng(seed)
    shared = random.normal(size=(n, 4))
    sides = [np.concatenate([shared, 2 * random.normal(size=(n, dims - 4))], axis=1) for _ in range(2)]
    return normalize(sides[0].astype(np.float32)), normalize(sides[1].astype(np.float32))


def apply(learned: Learned, vectors: FloatArray) -> FloatArray:
    return Matrix({"left": learned.left, "right": learned.right}).apply(vectors)


def test_queries_rank_their_documents_higher_after_learning() -> None:
    left, right = noisy_pairs()
    numbers = np.arange(len(left))
    loss = SearchLoss(numbers, numbers, frozenset(zip(numbers.tolist(), numbers.tolist(), strict=True)))
    learned = learn_matrix(left, right, loss, groups=numbers)
    test = noisy_pairs(seed=2)

    def n_found(left: FloatArray, right: FloatArray) -> int:
        return int(((left @ right.T).argmax(axis=1) == numbers).sum())

    assert n_found(*(apply(learned, side) for side in test)) > 3 * n_found(*test)
    again = learn_matrix(left, right, loss, groups=numbers)
    assert again.left.tobytes() == learned.left.tobytes()


def test_without_signal_the_matrix_is_nearly_the_identity_and_all_steps_are_reported() -> None:
    left, right = noisy_pairs(300)
    targets = np.random.default_rng(3).integers(0, 2, 300).astype(np.float64)
    steps: list[int] = []
    learned = learn_matrix(left, right[::-1].copy(), LabelLoss(targets), groups=np.arange(300), progress=steps.append)
    assert sum(steps) == count_steps()
    assert np.linalg.norm(learned.left @ learned.right) < 1


@pytest.mark.parametrize("goal", ["labels", "search"])
def test_the_gradient_is_that_of_the_loss(goal: str) -> None:
    left, right = noisy_pairs(12, 8)
    rows, random = np.arange(12), np.random.default_rng(0)
    relevant = frozenset({(0, 0), (0, 5), *zip(range(12), range(12), strict=True)})
    loss = SearchLoss(rows, rows, relevant) if goal == "search" else LabelLoss(rows % 2.0)
    basis = principal_directions(np.concatenate([left, right]), 5, random)
    (batch,) = _batches(left, right, basis, rows, loss, random)
    weights = (np.eye(5) + 0.1 * random.normal(size=(5, 5))).astype(np.float32)
    parameters = np.array([1.0, 0.2])[: 2 if goal == "labels" else 1]

    def value(weights: FloatArray, parameters: FloatArray) -> float:
        return loss.compute(batch.cosines(weights)[0], batch.rows, parameters)[0]

    cosines, units, lengths = batch.cosines(weights)
    _, slope, by_parameters = loss.compute(cosines, batch.rows, parameters)
    gradient = batch.gradient(slope, cosines, units, lengths)
    for row, column in ((0, 0), (1, 3), (4, 2)):
        step = np.zeros_like(weights)
        step[row, column] = 1e-2
        expected = (value(weights + step, parameters) - value(weights - step, parameters)) / 2e-2
        assert gradient[row, column] == pytest.approx(expected, rel=0.02, abs=2e-3)
    for index in range(len(parameters)):
        change = 1e-3 * np.eye(len(parameters))[index]
        expected = (value(weights, parameters + change) - value(weights, parameters - change)) / 2e-3
        assert by_parameters[index] == pytest.approx(expected, rel=0.01, abs=1e-3)


def test_principal_directions_are_those_of_the_singular_value_decomposition() -> None:
    vectors = np.random.default_rng(4).normal(size=(60, 10)).astype(np.float32) * np.linspace(
        3, 0.5, 10, dtype=np.float32
    )
    directions = principal_directions(vectors, 3, np.random.default_rng(0))
    expected = np.linalg.svd(vectors, full_matrices=False)[2][:3]
    assert np.abs(directions.T @ expected.T) == pytest.approx(np.eye(3), abs=1e-3)


@pytest.mark.parametrize("logarithm", [4.0, 6.0, 900.0])
def test_a_large_scale_does_not_overflow(logarithm: float) -> None:
    rows = np.arange(4)
    parameters = np.array([logarithm, 0.1])
    for loss in (LabelLoss(rows % 2.0), SearchLoss(rows, rows, frozenset(zip(range(4), range(4), strict=True)))):
        cosines = np.full((4, 4) if loss.is_square else 4, 0.5, np.float32)
        value, slope, by_parameters = loss.compute(cosines, rows, parameters)
        assert np.isfinite(value)
        assert np.isfinite(slope).all()
        assert np.isfinite(by_parameters).all()
        assert (by_parameters[0] == 0) == (logarithm > 5 or loss.is_square)
