"""The example scripts of search, recommendation, profiles and scikit-learn run on real rows."""

import subprocess
import sys
from pathlib import Path

import pytest

from umekomi import Embedder

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize(
    ("script", "file", "rows", "output"),
    [
        ("search_reviews.py", "fine_food_reviews_1k.csv", 30, "pet food"),
        ("recommend_articles.py", "AG_news_samples.csv", 60, "Like: BRITAIN: BLAIR WARNS"),
        ("user_profiles.py", "fine_food_reviews_1k.csv", 100, "Correlation of similarity and score"),
        ("sklearn_pipeline.py", "AG_news_samples.csv", 40, "accuracy 0."),
    ],
)
def test_examples_run_and_print_results(
    ada: Embedder, data: Path, script: str, file: str, rows: int, output: str
) -> None:
    result = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / script, data / file, str(rows)],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert output in result.stdout
