"""The explorer's views, without a browser."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.data.embedded_file import Space
from umekomi.data.table import read_table
from umekomi.errors import InputError, RecordError, SpaceMismatchError
from umekomi.explore.dataset import NO_CODE, DisplayType, open_dataset
from umekomi.explore.values import CsvStyle
from umekomi.explore.views import Explorer
from umekomi.settings import Settings
from umekomi.tasks.anomalies import find_anomalies
from umekomi.tasks.cluster import cluster, describe
from umekomi.tasks.diversity import near_duplicates
from umekomi.tasks.zero_shot import embed_labels, zero_shot

from .sets import JAPANESE, empty, many, small, texts, write


@pytest.fixture(scope="module")
def explorer(fake: Embedder, tmp_path_factory: pytest.TempPathFactory) -> Explorer:
    folder = tmp_path_factory.mktemp("views")
    dataset = open_dataset(str(small(folder / "small.parquet", fake)))
    return Explorer(dataset, embedder=lambda: fake, settings=Settings(cache=folder))


def test_columns_have_display_types(explorer: Explorer) -> None:
    types = {column.name: (column.type, column.ordered) for column in explorer.dataset.columns}
    assert types == {
        "stars": (DisplayType.CATEGORY, True),
        "shop": (DisplayType.CATEGORY, False),
        "price": (DisplayType.NUMBER, False),
        "fresh": (DisplayType.BOOLEAN, False),
    }
    assert [category.value for category in explorer.dataset.columns[0].categories] == ["1", "2", "3", "4", "5"]


def test_a_missing_value_has_no_code(explorer: Explorer) -> None:
    codes = explorer.column("shop")
    assert (codes[2::3] == NO_CODE).all()
    assert set(codes.tolist()) == {0, 1, NO_CODE}


def test_the_error_for_an_unknown_column_lists_the_columns(explorer: Explorer) -> None:
    with pytest.raises(InputError, match="the columns are stars, shop, price, fresh"):
        explorer.column("color")


def test_search_hits_are_ordered_and_scores_span_0_to_255(explorer: Explorer) -> None:
    result = explorer.search("dog food bowl")
    assert all("dog food" in hit.text for hit in result.hits[:3])
    assert (result.scores.min(), result.scores.max()) == (0, 255)
    assert result.hits[0].score == pytest.approx(result.high)


def test_a_row_is_not_its_own_neighbor(explorer: Explorer) -> None:
    row = explorer.row(5)
    assert len(row.neighbors) == 10
    assert 5 not in [neighbor.index for neighbor in row.neighbors]


def test_the_most_unusual_text_is_an_outlier_with_the_smallest_p_value(explorer: Explorer) -> None:
    outliers = explorer.outliers()
    assert JAPANESE in [outlier.text for outlier in outliers[:3]]
    assert outliers[0].p_value == pytest.approx(1 / 80)
    assert all(left.p_value <= right.p_value for left, right in itertools.pairwise(outliers))


def test_the_same_vectors_have_the_same_map(fake: Embedder, tmp_path: Path) -> None:
    path = str(small(tmp_path / "small.parquet", fake))
    maps = [
        Explorer(open_dataset(path), embedder=lambda: fake, settings=Settings(cache=tmp_path / name)).positions()
        for name in ("one", "two")
    ]
    assert (maps[0] == maps[1]).all()


def test_equal_texts_are_near_duplicates(fake: Embedder, tmp_path: Path) -> None:
    rows = ["a b c", "d e f", "a b c", "x y z", "a b c"]
    path = write(tmp_path / "c.parquet", rows, fake.embed(rows), Space(fake.model, fake.fingerprint, fake.dims))
    explorer = Explorer(open_dataset(str(path)), embedder=lambda: fake, settings=Settings(cache=tmp_path))
    assert [[brief.index for brief in group] for group in explorer.duplicates()] == [[0, 2, 4]]


def test_rows_have_the_nearest_label(explorer: Explorer) -> None:
    result = explorer.labels(["dog food bowl", "green tea leaves"])
    assert result.counts[0].examples[0].text.startswith("dog food")
    assert sum(label.count for label in result.counts) == 80
    with pytest.raises(InputError, match="at least two"):
        explorer.labels(["one"])


def test_a_selection_has_distinctive_terms(explorer: Explorer) -> None:
    chosen = explorer.selection(list(range(0, 78, 4)))
    assert chosen.n == 20
    assert {"coffee", "beans", "roast"} & {word.term for word in chosen.words[:3]}
    assert explorer.csv([0], style=CsvStyle.EXACT).splitlines()[0] == "stars,shop,price,fresh,text"
    with pytest.raises(InputError, match="There is no row 80"):
        explorer.selection([80])


def test_an_empty_set_has_no_groups(fake: Embedder, tmp_path: Path) -> None:
    explorer = Explorer(
        open_dataset(str(empty(tmp_path / "e.parquet", fake))), embedder=lambda: fake, settings=Settings(cache=tmp_path)
    )
    assert explorer.info().rows == 0
    assert explorer.positions().shape == (0, 2)
    assert explorer.clusters().levels == ()


def test_a_data_set_of_another_space_is_shown_but_not_searched(fake: Embedder, tmp_path: Path) -> None:
    explorer = Explorer(
        open_dataset(str(many(tmp_path / "m.parquet", 60))), embedder=lambda: fake, settings=Settings(cache=tmp_path)
    )
    with pytest.raises(SpaceMismatchError):
        explorer.search("anything")
    explorer.prepare()
    assert not explorer.info().searchable
    assert "another space" in explorer.info().search_problem


def test_larger_data_sets_have_finer_groups(tmp_path: Path, fake: Embedder) -> None:
    dataset = open_dataset(str(many(tmp_path / "m.parquet", 400)))
    explorer = Explorer(dataset, embedder=lambda: fake, settings=Settings(cache=tmp_path))
    result = explorer.clusters()
    assert [level.k for level in result.levels] == [9, 30, 50]
    assert all(sum(cluster.size for cluster in level.clusters) == 400 for level in result.levels)
    assert np.bincount(result.codes).tolist() == [cluster.size for cluster in result.levels[0].clusters]


def test_the_error_for_a_missing_file_explains_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="umekomi embed"):
        open_dataset(str(tmp_path / "none.parquet"))


def test_the_explorer_and_the_tasks_give_the_same_answers(fake: Embedder, tmp_path: Path) -> None:
    rows = texts(240)
    vectors = fake.embed(rows)
    chain = np.linspace(0, 1, 9)[:, None]  # neighbors in the chain are near-duplicates, its ends are not
    vectors[100:109] = (1 - chain) * vectors[0] + chain * vectors[1]
    path = write(tmp_path / "e.parquet", rows, vectors, Space(fake.model, fake.fingerprint, fake.dims))
    explorer = Explorer(open_dataset(str(path)), embedder=lambda: fake, settings=Settings(cache=tmp_path))
    table = read_table(path)

    anomalies = find_anomalies(table.vectors)
    outliers = explorer.outliers()
    order = np.argsort(-anomalies.scores, kind="stable")[: len(outliers)]
    assert [outlier.index for outlier in outliers] == order.tolist()
    assert [outlier.score for outlier in outliers] == pytest.approx(anomalies.scores[order].tolist())
    assert [outlier.p_value for outlier in outliers] == anomalies.p_values[order].tolist()

    groups = near_duplicates(table.vectors).groups
    assert max(map(len, groups)) > 2
    assert [[row.index for row in group] for group in explorer.duplicates()] == [list(group[:20]) for group in groups]

    names = ["dog food bowl", "green tea leaves", "angry delivery"]
    for labels in (names[:2], names):
        expected = zero_shot(table.vectors, embed_labels({name: [name] for name in labels}, fake))
        result = explorer.labels(labels)
        assert [labels[code] for code in result.codes] == expected.predictions
        assert result.counts[0].examples[0].score == expected.margins[expected.indices == 0].max()

    clustering = cluster(table.vectors, k=9)
    clusters = explorer.clusters()
    assert clusters.codes.tolist() == clustering.labels.tolist()
    summaries = describe(clustering, table.vectors, table.texts())
    assert [group.name for group in clusters.levels[0].clusters] == [summary.name for summary in summaries]
