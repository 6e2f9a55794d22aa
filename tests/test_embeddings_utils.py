"""The helpers of the old openai package, and the code blocks of OpenAI's guide, unchanged except for the import line."""

import asyncio
import json
import textwrap
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy.spatial import distance

from umekomi import Embedder, embeddings_utils
from umekomi.embeddings_utils import (
    aget_embedding,
    aget_embeddings,
    chart_from_components,
    chart_from_components_3D,
    cosine_similarity,
    distances_from_embeddings,
    get_embedding,
    get_embeddings,
    indices_of_nearest_neighbors_from_distances,
    pca_components_from_embeddings,
    plot_multiclass_precision_recall,
    tsne_components_from_embeddings,
)
from umekomi.errors import InputError

matplotlib.use("Agg")
FAKE = "umekomi-fake"


def random_array(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape)


def test_get_embedding_replaces_newlines_and_returns_a_list_of_floats(fake: Embedder) -> None:
    vector = get_embedding("two\nbeans", engine=FAKE)
    assert type(vector) is list
    assert type(vector[0]) is float
    assert vector == fake.embed(["two beans"])[0].tolist()
    assert get_embedding("two beans", model=FAKE, user="u-1", request_timeout=3) == vector
    assert len(get_embedding("x", FAKE, dimensions=8)) == 8


def test_async_and_batch_functions_return_the_same_embeddings(fake: Embedder) -> None:
    texts = ["a", "b\nc"]
    assert get_embeddings(texts, engine=FAKE) == [get_embedding(text, engine=FAKE) for text in texts]
    assert get_embeddings(pd.Series(texts), engine=FAKE) == get_embeddings(texts, engine=FAKE)

    async def both() -> tuple[list[float], list[list[float]]]:
        return await aget_embedding("a", engine=FAKE), await aget_embeddings(texts, engine=FAKE)

    assert asyncio.run(both()) == (get_embedding("a", engine=FAKE), get_embeddings(texts, engine=FAKE))


def test_default_engines_are_those_of_the_old_helpers() -> None:
    assert get_embedding.__defaults__ == aget_embedding.__defaults__ == ("text-similarity-davinci-001",)
    assert get_embeddings.__defaults__ == aget_embeddings.__defaults__ == ("text-similarity-babbage-001",)


def test_distances_match_scipy() -> None:
    query, others = random_array(8), random_array(5, 8) + 1
    for name, reference_distance in {
        "cosine": distance.cosine,
        "L1": distance.cityblock,
        "L2": distance.euclidean,
        "Linf": distance.chebyshev,
    }.items():
        result = distances_from_embeddings(query.tolist(), others.tolist(), distance_metric=name)
        assert result == pytest.approx([reference_distance(query, other) for other in others])
    assert cosine_similarity(query, others[0]) == pytest.approx(1 - distance.cosine(query, others[0]))
    assert indices_of_nearest_neighbors_from_distances([0.3, 0.1, 0.2]).tolist() == [1, 2, 0]


def test_components_match_scikit_learn() -> None:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    vectors = random_array(30, 6)
    assert pca_components_from_embeddings(vectors.tolist(), 3) == pytest.approx(PCA(3).fit_transform(vectors))
    options = {"perplexity": 5, "random_state": 0}
    expected = TSNE(2, init="pca", learning_rate="auto", **options).fit_transform(vectors)
    assert tsne_components_from_embeddings(vectors.tolist(), **options) == pytest.approx(expected)


def test_charts_are_plotly_figures() -> None:
    points = random_array(4, 3)
    labels, strings = ["a", "b", "a", "b"], ["one", "two", "three", "a text that is longer than thirty characters"]
    figure = chart_from_components(points[:, :2], labels=labels, strings=strings, width=500, mark_size=7)
    assert [trace.name for trace in figure.data] == ["a", "b"]
    assert figure.data[0].marker.size == 7
    assert figure.data[1].customdata[1][0] == "a text that is longer than<br>thirty characters"
    assert figure.layout.xaxis.title.text == "Component 0"
    assert figure.layout.width == 500
    assert len(chart_from_components(points).data) == 1
    solid = chart_from_components_3D(points, labels=labels)
    assert {trace.type for trace in solid.data} == {"scatter3d"}
    assert solid.layout.scene.zaxis.title.text == "Compontent 2"


def test_html_in_texts_and_labels_of_charts_is_escaped() -> None:
    label, string = "<b>bold</b>", "<a href='https://example.com'>a link</a> &amp; more"
    figure = chart_from_components(random_array(2, 2), labels=[label, "plain"], strings=[string, "plain"])
    assert figure.data[0].name == "&lt;b&gt;bold&lt;/b&gt;"
    hover_text = figure.data[0].customdata[0][0].replace("<br>", " ")
    assert hover_text == "&lt;a href='https://example.com'&gt;a link&lt;/a&gt; &amp;amp; more"
    assert "</script><script>" not in chart_from_components(random_array(1, 2), strings=["</script><script>"]).to_html()


def test_precision_recall_curves_are_drawn_and_the_average_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    from matplotlib import pyplot

    truth = pd.Series([1, 2, 3, 1, 2, 3])
    scores = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    plot_multiclass_precision_recall(scores, truth, [1, 2, 3], "Perfect")
    assert capsys.readouterr().out == "Perfect - Average precision score over all classes: 1.00\n"
    legend_labels = [text.get_text() for text in pyplot.gca().get_legend().get_texts()]
    assert legend_labels[0] == "iso-f1 curves"
    assert legend_labels[2:] == [f"Precision-recall for class `{n}` (auprc = 1.00)" for n in (1, 2, 3)]
    pyplot.close("all")


def test_invalid_input_raises_a_clear_error() -> None:
    with pytest.raises(InputError, match="no distance 'hamming'"):
        distances_from_embeddings([1.0], [[1.0]], distance_metric="hamming")
    with pytest.raises(InputError, match="The query has 2 dimensions, the embeddings have 1"):
        distances_from_embeddings([1.0, 2.0], [[1.0]])
    with pytest.raises(InputError, match="at most 2048"):
        get_embeddings(["x"] * 2049, engine=FAKE)
    with pytest.raises(InputError, match="no argument 'modle'"):
        get_embedding("x", modle=FAKE)
    with pytest.raises(InputError, match="6 texts and 2 classes"):
        plot_multiclass_precision_recall(random_array(6, 3), [1, 2, 1, 2, 1, 2], [1, 2], "x")
    with pytest.raises(InputError, match="needs 3"):
        chart_from_components_3D(random_array(4, 2))
    with pytest.raises(InputError, match="same length"):
        pca_components_from_embeddings([[1.0], [1.0, 2.0]])


# Code from OpenAI's embeddings guide, spring 2023. `run` makes the changes that the tests need.
BLOCKS = {
    "get the embeddings": """
        from openai.embeddings_utils import get_embedding

        df['combined'] = "Title: " + df.Summary.str.strip() + "; Content: " + df.Text.str.strip()
        df['ada_embedding'] = df.combined.apply(lambda x: get_embedding(x, engine='text-embedding-ada-002'))
        df.to_csv('output/embedded_1k_reviews.csv', index=False)
    """,
    "load them": """
        import pandas as pd

        df = pd.read_csv('output/embedded_1k_reviews.csv')
        df['ada_embedding'] = df.ada_embedding.apply(eval).apply(np.array)
    """,
    "2D": """
        import pandas as pd
        from sklearn.manifold import TSNE
        import matplotlib
        import matplotlib.pyplot as plt

        matrix = np.array(df.ada_embedding.to_list())

        # Create a t-SNE model and transform the data
        tsne = TSNE(n_components=2, perplexity=15, random_state=42, init='random', learning_rate=200)
        vis_dims = tsne.fit_transform(matrix)

        colors = ["red", "darkorange", "gold", "turquoise", "darkgreen"]
        x = [x for x,y in vis_dims]
        y = [y for x,y in vis_dims]
        color_indices = df.Score.values - 1

        colormap = matplotlib.colors.ListedColormap(colors)
        plt.scatter(x, y, c=color_indices, cmap=colormap, alpha=0.3)
        plt.title("Amazon ratings visualized in language using t-SNE")
    """,
    "regression": """
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.model_selection import train_test_split

        X_train, X_test, y_train, y_test = train_test_split(
            list(df.ada_embedding.values),
            df.Score,
            test_size = 0.2,
            random_state=42
        )

        rfr = RandomForestRegressor(n_estimators=100)
        rfr.fit(X_train, y_train)
        preds = rfr.predict(X_test)
    """,
    "classification": """
        from sklearn.ensemble import RandomForestClassifier
        from sklearn.metrics import classification_report, accuracy_score
        from openai.embeddings_utils import plot_multiclass_precision_recall

        clf = RandomForestClassifier(n_estimators=100)
        clf.fit(X_train, y_train)
        preds = clf.predict(X_test)
        probas = clf.predict_proba(X_test)

        plot_multiclass_precision_recall(probas, y_test, [1, 2, 3, 4, 5], clf)
    """,
    "zero-shot": """
        from openai.embeddings_utils import cosine_similarity, get_embedding

        df = df[df.Score!=3]
        df['sentiment'] = df.Score.replace({1:'negative', 2:'negative', 4:'positive', 5:'positive'})

        labels = ['negative', 'positive']
        label_embeddings = [get_embedding(label, model=model) for label in labels]

        def label_score(review_embedding, label_embeddings):
            return (cosine_similarity(review_embedding, label_embeddings[1])
                    - cosine_similarity(review_embedding, label_embeddings[0]))

        prediction = 'positive' if label_score(get_embedding('I love it', model=model), label_embeddings) > 0 else 'negative'
    """,
    "users and products": """
        user_embeddings = df.groupby('UserId').ada_embedding.apply(np.mean)
        prod_embeddings = df.groupby('ProductId').ada_embedding.apply(np.mean)
    """,
    "clustering": """
        import numpy as np
        from sklearn.cluster import KMeans

        matrix = np.vstack(df.ada_embedding.values)
        n_clusters = 4

        kmeans = KMeans(n_clusters = n_clusters, init='k-means++', random_state=42)
        kmeans.fit(matrix)
        df['Cluster'] = kmeans.labels_
    """,
    "text search": """
        from openai.embeddings_utils import get_embedding, cosine_similarity

        def search_reviews(df, product_description, n=3, pprint=True):
            embedding = get_embedding(product_description, model='text-embedding-ada-002')
            df['similarities'] = df.ada_embedding.apply(lambda x: cosine_similarity(x, embedding))
            res = df.sort_values('similarities', ascending=False).head(n)
            return res

        res = search_reviews(df, 'delicious beans', n=3)
    """,
    "code search": """
        from openai.embeddings_utils import get_embedding, cosine_similarity

        df['code_embedding'] = df['code'].apply(lambda x: get_embedding(x, model='text-embedding-ada-002'))

        def search_functions(df, code_query, n=3, pprint=True, n_lines=7):
            embedding = get_embedding(code_query, model='text-embedding-ada-002')
            df['similarities'] = df.code_embedding.apply(lambda x: cosine_similarity(x, embedding))

            res = df.sort_values('similarities', ascending=False).head(n)
            return res

        res = search_functions(df, 'Completions API tests', n=3)
    """,
    "recommendations": """
        from typing import List
        from openai.embeddings_utils import (
            distances_from_embeddings, get_embedding as embedding_from_string, indices_of_nearest_neighbors_from_distances,
        )

        def recommendations_from_strings(
            strings: List[str],
            index_of_source_string: int,
            model="text-embedding-ada-002",
        ) -> List[int]:
            # get embeddings for all strings
            embeddings = [embedding_from_string(string, model=model) for string in strings]

            # get the embedding of the source string
            query_embedding = embeddings[index_of_source_string]

            # get distances between the source embedding and other embeddings (function from embeddings_utils.py)
            distances = distances_from_embeddings(query_embedding, embeddings, distance_metric="cosine")

            # get indices of nearest neighbors (function from embeddings_utils.py)
            indices_of_nearest_neighbors = indices_of_nearest_neighbors_from_distances(distances)
            return indices_of_nearest_neighbors
    """,
}  # fmt: skip


def run(name: str, names: dict[str, Any]) -> dict[str, Any]:
    """Run a block of the guide with its import line changed and return its variables."""
    code = textwrap.dedent(BLOCKS[name]).replace("from openai.embeddings_utils", "from umekomi.embeddings_utils")
    # pandas 3 replaces np.mean by its own mean, which requires numbers. Earlier versions call NumPy.
    code = code.replace(".apply(np.mean)", ".apply(lambda vectors: np.mean(vectors.values))")
    exec(code, names)
    return names


@pytest.fixture(scope="module")
def reviews(ada: Embedder, data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Variables of the first two blocks, run on 120 reviews."""
    embeddings_utils._load.cache_clear()
    df = pd.read_csv(data / "fine_food_reviews_1k.csv", index_col=0).head(120).copy()
    folder = tmp_path_factory.mktemp("guide")
    (folder / "output").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        names = run("load them", run("get the embeddings", {"df": df, "np": np}))
    assert names["df"].ada_embedding[0].shape == (1536,)
    return names


@pytest.fixture
def names(reviews: dict[str, Any]) -> dict[str, Any]:
    return {**reviews, "df": reviews["df"].copy(), "model": "text-embedding-ada-002"}


def test_the_guides_2d_map_runs(names: dict[str, Any]) -> None:
    assert run("2D", names)["vis_dims"].shape == (120, 2)
    names["plt"].close("all")


def test_the_guides_regression_and_classification_run(
    names: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    truth = run("regression", names)["y_test"]
    error = np.abs(names["preds"] - truth).mean()
    assert error < np.abs(truth - names["y_train"].mean()).mean()
    run("classification", names)
    assert "RandomForestClassifier() - Average precision score over all classes: 0." in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore::pandas.errors.SettingWithCopyWarning" if pd.__version__ < "3" else "default")
def test_the_guides_zero_shot_classification_separates_sentiments(names: dict[str, Any]) -> None:
    assert run("zero-shot", names)["prediction"] == "positive"
    scores = names["df"].ada_embedding.apply(lambda vector: names["label_score"](vector, names["label_embeddings"]))
    assert scores[names["df"].sentiment == "positive"].mean() > scores[names["df"].sentiment == "negative"].mean()


def test_the_guides_user_and_product_means_have_the_dimensions_of_the_vectors(names: dict[str, Any]) -> None:
    run("users and products", names)
    assert names["user_embeddings"].iloc[0].shape == (1536,)
    assert len(names["prod_embeddings"]) == names["df"].ProductId.nunique()


def test_the_guides_clustering_finds_four_clusters(names: dict[str, Any]) -> None:
    assert set(run("clustering", names)["df"].Cluster) == {0, 1, 2, 3}


def test_the_guides_text_search_returns_relevant_reviews(names: dict[str, Any]) -> None:
    result = run("text search", names)["res"]
    assert result.similarities.is_monotonic_decreasing
    assert "bean" in result.iloc[0].combined.lower()


def test_the_guides_code_search_returns_the_relevant_function(ada: Embedder) -> None:
    code = [
        "def test_completions_api(): assert client.completions.create(prompt='x')",
        "def add(left, right): return left + right",
        "def read_csv(path): return list(csv.reader(open(path)))",
    ]
    result = run("code search", {"df": pd.DataFrame({"code": code})})["res"]
    assert result.code.iloc[0] == code[0]


def test_the_guides_recommendations_are_ranked_by_similarity(ada: Embedder) -> None:
    recommend = run("recommendations", {})["recommendations_from_strings"]
    strings = ["Blair warns of climate threat", "New chip for PCs", "Global warming alarms the prime minister"]
    assert list(recommend(strings, 0)) == [0, 2, 1]


def test_vectors_in_the_guides_csv_survive_a_round_trip_through_json(reviews: dict[str, Any]) -> None:
    assert json.loads(str(reviews["df"].ada_embedding[0].tolist())) == reviews["df"].ada_embedding[0].tolist()
