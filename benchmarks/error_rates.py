"""Simulations of error rates and confidence intervals, on data without anomalies, without signal, or with known shares.

    python benchmarks/error_rates.py [--repeats 200] [PART …]

Prints the tables of docs/lab/error-rates.md: the share of ordinary rows that `umekomi anomalies` flags, how often intervals of
shares and means contain the true value, how well random labels are predicted, and how often noise is reported as structure.
"""

import argparse
import warnings
from collections.abc import Callable

import numpy as np

from machine import describe_machine
from umekomi.evaluation import metrics
from umekomi.evaluation.duplicates import group_copies
from umekomi.evaluation.splits import split_groups
from umekomi.plots.predictions import report_classification, report_regression
from umekomi.tasks.anomalies import find_anomalies
from umekomi.tasks.choices import Copies
from umekomi.tasks.classify import train_classifier, train_regressor
from umekomi.tasks.cluster import assess_structure
from umekomi.tasks.profiles import evaluate_profiles
from umekomi.tasks.zero_shot import LabelSet, zero_shot
from umekomi.vectors.arithmetic import FloatArray, normalize

Draw = Callable[[int, int, np.random.Generator], FloatArray]


def gaussian(n: int, dims: int, random: np.random.Generator) -> FloatArray:
    return (1 / np.sqrt(dims) + 0.3 * random.normal(size=(n, dims))).astype(np.float32)


def isotropic(n: int, dims: int, random: np.random.Generator) -> FloatArray:
    return random.normal(size=(n, dims)).astype(np.float32)


def clustered(n: int, dims: int, random: np.random.Generator) -> FloatArray:
    """Eight clusters of different sizes and spreads."""
    centers = normalize(random.normal(size=(8, dims)).astype(np.float32))
    label = random.choice(8, n, p=random.dirichlet(np.full(8, 2.0)))
    spread = np.exp(0.4 * random.normal(size=8))[label, None] / np.sqrt(dims)
    return (centers[label] + spread * random.normal(size=(n, dims))).astype(np.float32)


def four_clusters(n: int, dims: int, random: np.random.Generator) -> FloatArray:
    """Four clusters with orthogonal centers."""
    rows = np.eye(dims)[random.integers(0, 4, n)] + 0.5 * random.normal(size=(n, dims)) / np.sqrt(dims)
    return rows.astype(np.float32)


DATA: dict[str, Draw] = {"Gaussian": gaussian, "isotropic": isotropic, "clustered": clustered}


def false_alarms(repeats: int) -> None:
    rates = (0.05, 0.01)
    print("| data | dimensions | method | reference | " + " | ".join(f"flagged at {rate}" for rate in rates) + " |")
    print("| --- | ---: | --- | --- | " + " | ".join("---:" for _ in rates) + " |")
    for name, draw in DATA.items():
        for dims in (10, 50, 384):
            for method in ("knn", "lof"):
                for m in (0, 200, 1000):
                    shares_of_run = []
                    for seed in range(repeats):
                        rows = draw(m + 500, dims, np.random.default_rng(seed))
                        p = find_anomalies(rows[m:], reference=rows[:m] if m else None, method=method).p_values
                        shares_of_run.append([(p <= rate).mean() for rate in rates])
                    shares = " | ".join(f"{share:.4f}" for share in np.mean(shares_of_run, axis=0))
                    print(f"| {name} | {dims} | {method} | {m or 'none'} | {shares} |", flush=True)


def coverage(repeats: int) -> None:
    print("\n| true share | n = 9 | n = 30 | n = 200 |\n| ---: | ---: | ---: | ---: |")
    for true in (0.02, 0.1, 0.3, 0.5, 0.78, 0.95):
        cells = []
        for n in (9, 30, 200):
            random = np.random.default_rng(n)
            estimates = [metrics.share(random.random(n) < true) for _ in range(20 * repeats)]
            cells.append(f"{np.mean([estimate.low <= true <= estimate.high for estimate in estimates]):.3f}")
        print(f"| {true} | {' | '.join(cells)} |", flush=True)
    print("\n| with up to 9 copies of each text | n = 9 texts | 30 | 200 |\n| --- | ---: | ---: | ---: |")
    for statistic in ("share 0.7", "mean of uniform values"):
        cells = []
        for n in (9, 30, 200):
            random = np.random.default_rng(n)
            covered = []
            for _ in range(3 * repeats):
                groups = np.repeat(np.arange(n), random.integers(1, 10, n))
                if statistic.startswith("share"):
                    estimate = metrics.share((random.random(n) < 0.7)[groups], groups=groups)
                    covered.append(estimate.low <= 0.7 <= estimate.high)
                else:
                    estimate = metrics.mean(random.random(n)[groups], groups=groups)
                    covered.append(estimate.low <= 0.5 <= estimate.high)
            cells.append(f"{np.mean(covered):.3f}")
        print(f"| {statistic} | {' | '.join(cells)} |", flush=True)


def nulls(repeats: int) -> None:
    """Permute labels, values and scores over texts with copies. Every figure should be that of the baseline."""
    figures: dict[str, list[float]] = {}
    for seed in range(repeats):
        random = np.random.default_rng(seed)
        n = 80
        texts = np.repeat(np.arange(n), random.integers(1, 6, n))
        rows = normalize(random.normal(size=(n, 32)).astype(np.float32))[texts]
        labels = random.permutation(["a", "b"] * (n // 2))[texts].tolist()
        values = random.normal(size=n)[texts]
        train, test = split_groups(group_copies(rows), strata=labels, seed=seed)
        train_labels, test_labels = [labels[row] for row in train], [labels[row] for row in test]
        classifier = train_classifier(rows[train], train_labels)
        classes = report_classification(
            classifier, rows[test], test_labels, trained_on=train_labels, groups=texts[test]
        )
        figures.setdefault("classify: accuracy (0.5)", []).append(classes.accuracy.value)
        regressor = train_regressor(rows[train], values[train])
        numbers = report_regression(regressor.predict, rows[test], values[test], trained_on=values[train])
        figures.setdefault("regress: mse / mse of the mean (1)", []).append(numbers.mse_ratio.value)
        label_set = LabelSet(("a", "b"), normalize(random.normal(size=(2, 32)).astype(np.float32)))
        predicted = np.array(zero_shot(rows, label_set).predictions)
        figures.setdefault("zero-shot: accuracy (0.5)", []).append(float((predicted == np.array(labels)).mean()))
        # A user sends one text for several products.
        users, products = random.integers(0, 25, n)[texts].tolist(), random.integers(0, 25, len(rows)).tolist()
        for copies in Copies:
            fit = evaluate_profiles(rows, users, products, values, copies=copies, seed=seed)
            figures.setdefault(f"profiles, copies {copies}: correlation (0)", []).append(fit.correlation)
            figures.setdefault(f"profiles, copies {copies}: interval contains 0 (0.95)", []).append(
                fit.low <= 0 <= fit.high
            )
    print("\n| figure (its value without signal) | mean | standard error |\n| --- | ---: | ---: |")
    for name, values in figures.items():
        print(f"| {name} | {np.mean(values):.3f} | {np.std(values) / np.sqrt(len(values)):.3f} |", flush=True)


def structure(repeats: int) -> None:
    print("\n| data | dimensions | structure found in |\n| --- | ---: | ---: |")
    cases: dict[str, Draw] = {"Gaussian": gaussian, "isotropic": isotropic, "four clusters": four_clusters}
    for name, draw in cases.items():
        for dims in (10, 384):
            n_structured = 0
            for seed in range(repeats):
                rows = draw(300, dims, np.random.default_rng(seed))
                n_structured += assess_structure(rows, seed=seed).has_structure
            print(f"| {name} | {dims} | {n_structured} of {repeats} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("parts", nargs="*", help="false-alarms, coverage, nulls or structure; by default all")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    print(describe_machine() + "\n")
    parts = {
        "false-alarms": lambda: false_alarms(options.repeats),
        "coverage": lambda: coverage(options.repeats),
        "nulls": lambda: nulls(max(5, options.repeats // 2)),
        "structure": lambda: structure(max(5, options.repeats // 3)),
    }
    for name in options.parts or parts:
        parts[name]()


if __name__ == "__main__":
    main()
