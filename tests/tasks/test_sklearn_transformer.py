import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.compose import ColumnTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline

from umekomi import Embedder
from umekomi.errors import InputError, RecordError
from umekomi.tasks.sklearn_transformer import EmbeddingTransformer

TEXTS = [f"{constructor} number {n}" for constructor in ("good beans", "bad dog") for n in range(10)]
LABELS = [1] * 10 + [0] * 10


def test_a_pipeline_learns_from_texts(fake: Embedder) -> None:
    model = make_pipeline(EmbeddingTransformer(fake), LogisticRegression())
    assert model.fit(TEXTS, LABELS).predict(["a good bean", "the bad dog"]).tolist() == [1, 0]
    assert cross_val_score(model, TEXTS, LABELS, cv=5).mean() == 1


def test_grid_search_over_the_options() -> None:
    model = make_pipeline(EmbeddingTransformer("umekomi-fake"), LogisticRegression())
    search = GridSearchCV(model, {"embeddingtransformer__dimensions": [8, 64]}, cv=2).fit(TEXTS, LABELS)
    assert search.best_params_["embeddingtransformer__dimensions"] in (8, 64)


def test_a_clone_has_the_same_parameters_and_shares_the_model(fake: Embedder) -> None:
    one = EmbeddingTransformer(fake, dimensions=8)
    two = clone(one)
    assert two is not one
    assert two.get_params()["model"] is fake
    assert two.set_params(dimensions=4).transform(TEXTS).shape == (20, 4)
    assert one.transform(TEXTS).shape == (20, 8)


def test_other_processes_load_the_model_by_its_name(fake: Embedder) -> None:
    again = pickle.loads(pickle.dumps(EmbeddingTransformer(fake)))
    assert again.model == "umekomi-fake"
    assert (again.transform(TEXTS) == fake.embed(TEXTS)).all()


def test_each_text_is_embedded_once(fake: Embedder, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"seen once {n}" for n in range(5)]
    first = EmbeddingTransformer(fake).transform(texts)
    monkeypatch.setattr(fake, "embed", lambda *_, **__: pytest.fail("embedded again"))
    assert (EmbeddingTransformer(fake).transform(texts[::-1]) == first[::-1]).all()


@pytest.mark.parametrize("constructor", [list, np.array, pd.Series, pl.Series])
def test_columns_of_any_library(constructor: type, fake: Embedder) -> None:
    assert (EmbeddingTransformer(fake).fit_transform(constructor(TEXTS)) == fake.embed(TEXTS)).all()


@pytest.mark.parametrize("constructor", [pd.DataFrame, pl.DataFrame])
def test_tables_with_a_template(constructor: type, fake: Embedder) -> None:
    frame = constructor({"a": ["x", "y"], "b": ["1", "2"]})
    assert (EmbeddingTransformer(fake, template="{a} {b}").transform(frame) == fake.embed(["x 1", "y 2"])).all()
    with pytest.raises(RecordError, match="the columns are a, b"):
        EmbeddingTransformer(fake).fit(frame)


def test_column_transformer_with_feature_names(fake: Embedder) -> None:
    frame = pd.DataFrame({"text": ["x", "y"], "n": [1.0, 2.0]})
    both = ColumnTransformer([("words", EmbeddingTransformer(fake, dimensions=2), "text")], remainder="passthrough")
    both.set_output(transform="pandas")
    assert list(both.fit_transform(frame).columns) == ["words__embedding0", "words__embedding1", "remainder__n"]


@pytest.mark.parametrize("values", [["a", None], "a text", [["a", "b"]], 3, []])
def test_input_without_texts_is_rejected(values: object, fake: Embedder) -> None:
    with pytest.raises(InputError):
        EmbeddingTransformer(fake).fit_transform(values)
