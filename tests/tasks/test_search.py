import pyarrow as pa
import pytest

from umekomi import Embedder
from umekomi.errors import FilterError, SpaceMismatchError
from umekomi.records import Space
from umekomi.stores import MemoryStore
from umekomi.tasks.search import search


@pytest.fixture
def store(fake: Embedder) -> MemoryStore:
    texts = ["two beans", "one dog", "a dog and a cat", "kerosene"]
    store = MemoryStore("memory://texts", Space(fake.model, fake.fingerprint, fake.dims))
    store.upsert([str(n) for n in range(4)], fake.embed(texts), pa.table({"text": texts, "n": [1, 2, 3, 4]}))
    return store


def test_the_nearest_text_comes_first(store: MemoryStore, fake: Embedder) -> None:
    hits = search(store, fake, ["one dog"], n=2)[0]
    assert [hit.record["text"] for hit in hits] == ["one dog", "a dog and a cat"]
    assert hits[0].score == pytest.approx(1, abs=1e-5)


def test_several_queries_have_a_list_each(store: MemoryStore, fake: Embedder) -> None:
    found = search(store, fake, ["beans", "kerosene"], n=1)
    assert [hits[0].record["n"] for hits in found] == [1, 4]


def test_a_filter_keeps_out_what_does_not_match(store: MemoryStore, fake: Embedder) -> None:
    assert [hit.record["n"] for hit in search(store, fake, ["one dog"], where="n > 2")[0]] == [3, 4]
    with pytest.raises(FilterError, match="the columns are text, n"):
        search(store, fake, ["one dog"], where="m > 2")


def test_a_store_of_another_model_is_refused(fake: Embedder) -> None:
    other = MemoryStore("memory://other", Space("other", "0123456789abcdef", 64))
    with pytest.raises(SpaceMismatchError, match="Use the model other"):
        search(other, fake, ["x"])
