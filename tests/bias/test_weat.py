"""The statistics against cases computed by hand, and against an independent computation."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from umekomi.bias import weat
from umekomi.errors import InputError


def test_effect_size() -> None:
    # Means 2 and -1; the deviation of 1, 3, -2, 0 around 0.5 is sqrt((0.25 + 6.25 + 6.25 + 0.25) / 3).
    assert weat.effect_size([1, 3], [-2, 0]) == pytest.approx(3 / math.sqrt(13 / 3))
    assert weat.effect_size([-2, 0], [1, 3]) == pytest.approx(-3 / math.sqrt(13 / 3))
    assert weat.effect_size([1, 1], [1, 1]) == 0


def test_exact_p() -> None:
    # Of the six splits of 1, 2, 3, 4 into two pairs, only 3 + 4 gives as much as 3 + 4.
    assert weat.permutation_p([3, 4], [1, 2]) == weat.PValue(1 / 6, 6, True)
    # 2 + 4 is reached by 2 + 4 and 3 + 4.
    assert weat.permutation_p([4, 2], [1, 3]).value == pytest.approx(2 / 6)
    assert weat.permutation_p([1, 2], [3, 4]).value == 1
    assert weat.permutation_p([5, 5], [5, 5]).value == 1


@given(
    st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=5),
    st.lists(st.floats(-1, 1, width=16), min_size=2, max_size=5),
)
def test_exact_p_agrees_with_scipy(x: list[float], y: list[float]) -> None:
    found = stats.permutation_test(
        (x, y),
        lambda left, right: np.mean(left) - np.mean(right),
        alternative="greater",
        vectorized=False,
        n_resamples=np.inf,
    )
    assert weat.permutation_p(x, y).value == pytest.approx(found.pvalue)


def test_exact_p_agrees_with_a_simple_loop() -> None:
    values = np.random.default_rng(5).normal(size=16)
    x, y = values[:8] + 0.4, values[8:]
    pooled = [*x, *y]
    as_good = total = 0
    for chosen in itertools.combinations(range(16), 8):
        total += 1
        first = sum(pooled[place] for place in chosen)
        as_good += first >= sum(x) - 1e-12
    assert weat.permutation_p(x, y) == weat.PValue(as_good / total, 12870, True)


def test_sampled_p_is_close_to_exact_p_and_positive(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(7).normal(size=16)
    exact = weat.permutation_p(values[:8] + 0.5, values[8:])
    monkeypatch.setattr(weat, "EXACT_UP_TO", 0)
    sampled = weat.permutation_p(values[:8] + 0.5, values[8:], permutations=20_000)
    assert not sampled.exact
    assert sampled.value == pytest.approx(exact.value, abs=4 * math.sqrt(exact.value / 20_000))
    assert sampled == weat.permutation_p(values[:8] + 0.5, values[8:], permutations=20_000)
    assert weat.permutation_p(np.arange(20) + 100, np.arange(20), permutations=500).value == pytest.approx(1 / 501)


def test_p_is_uniform_under_the_null_hypothesis() -> None:
    random = np.random.default_rng(11)
    values = [weat.permutation_p(random.normal(size=4), random.normal(size=4)).value for _ in range(400)]
    assert np.mean(np.array(values) <= 0.1) == pytest.approx(0.1, abs=0.05)


def test_holm() -> None:
    assert weat.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert weat.holm([0.5, 0.9]) == pytest.approx([1.0, 1.0])
    assert weat.holm([]) == []
    with pytest.raises(InputError, match="between 0 and 1"):
        weat.holm([1.2])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_agrees_with_the_step_down_procedure(values: list[float]) -> None:
    # Holm's own words: go up from the smallest, stop at the first that is above alpha / (those left).
    rejected: set[int] = set()
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        if values[place] * (len(values) - rank) >= 0.05:
            break
        rejected.add(place)
    assert {place for place, p in enumerate(weat.holm(values)) if p < 0.05} == rejected


def test_the_interval_contains_the_effect_and_narrows() -> None:
    random = np.random.default_rng(13)

    def group(n: int, mean: float) -> np.ndarray:
        return random.normal(size=(n, 1, 2 * n)) * 0.3 + np.repeat([mean, -mean], n) * random.normal(
            1, 1, size=(n, 1, 1)
        )

    spans = []
    for n in (6, 60):
        x, y = group(n, 0.1), group(n, -0.1)
        d = weat.effect_size(*[(one[:, :, :n].mean(2) - one[:, :, n:].mean(2)).ravel() for one in (x, y)])
        low, high = weat.interval(x, y, n_a=n, resamples=300)
        assert low < d < high
        spans.append(high - low)
    assert spans[1] < spans[0]
