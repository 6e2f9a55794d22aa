from pathlib import Path

import pytest

from umekomi import Embedder
from umekomi.errors import InputError
from umekomi.evaluation.bm25 import bm25_run
from umekomi.evaluation.code_search import evaluate_code, load_code, score_code
from umekomi.evaluation.retrieval import SearchModels

MODULE = '''
def add(left, right):
    """Add two numbers.

    More about it.
    """
    total = left + right
    return total


class Box:
    def open(self):
        """Open the box
        with both hands."""
        self.closed = False
        return self

    def __enter__(self):
        """Enter the box at once."""
        self.closed = False
        return self

    def shut(self):
        """Shut it."""
        self.closed = True
        return self

    def lift(self):
        """Lift the box from the floor."""


def add_floats(left, right):
    """Add two numbers."""
    total = float(left) + float(right)
    return total
'''


@pytest.fixture
def package(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "box.py").write_text(MODULE)
    (tmp_path / "broken.py").write_text("def (")
    (tmp_path / "tests" / "test_box.py").write_text(MODULE)
    return tmp_path


def test_docstrings_become_queries(package: Path) -> None:
    data = load_code(str(package))
    assert sorted(name.split(":")[-1] for name in data.documents) == ["Box.open", "add", "add_floats"]
    assert sorted(data.queries.values()) == ["Add two numbers.", "Open the box with both hands."]
    assert not any('"""' in code or "numbers" in code for code in data.documents.values())
    both = next(data.judgments[query] for query, text in data.queries.items() if text == "Add two numbers.")
    assert len(both) == 2


def test_known_scores(package: Path) -> None:
    data = load_code(str(package))
    add, opening = data.queries
    right = next(iter(data.judgments[opening]))
    wrong = [name for name in data.documents if name != right]
    run = {add: {wrong[0]: 1.0}, opening: {wrong[0]: 3.0, right: 2.0}}
    result = score_code(data, run, model="by hand")
    assert result.mrr.value == pytest.approx((1 + 0.5) / 2)
    assert (result.recall_at_1.value, result.recall_at_10.value) == (0.5, 1.0)


def test_a_model_and_bm25_answer_the_same_queries(package: Path, fake: Embedder) -> None:
    data = load_code(str(package))
    assert (
        evaluate_code(data, SearchModels(fake, fake)).queries
        == score_code(data, bm25_run(data), model="bm25").queries
        == 2
    )


def test_functions_of_an_installed_package(fake: Embedder) -> None:
    data = load_code("click", limit=20)
    assert len(data.documents) <= 20
    assert load_code("click", limit=20) == data
    assert all(name.startswith("core.py:") for name in load_code("click.core").documents)


def test_missing_packages_are_rejected(tmp_path: Path) -> None:
    for name in ("no_such_package", "../nowhere", "click.nothing"):
        with pytest.raises(InputError, match="neither a file, a folder nor an installed Python package"):
            load_code(name)
    with pytest.raises(InputError, match="contains 0 Python functions with docstrings"):
        load_code(str(tmp_path))


def test_ada_002_beats_bm25_on_a_real_package(ada: Embedder) -> None:
    data = load_code("click", limit=60)
    model = evaluate_code(data, SearchModels(ada, ada))
    words = score_code(data, bm25_run(data), model="bm25")
    assert model.mrr.value > words.mrr.value + 0.1
