"""Queries to a code index: filters, similar chunks, near-duplicates."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.codesearch.index import CodeIndexer
from umekomi.codesearch.search import CodeIndex, _candidates, _similarity, get_query_model
from umekomi.errors import InputError

pytest.importorskip("lancedb")

TEA = '''\
class Kettle:
    """Makes hot water."""

    def boil(self, water):
        """Heat the water until it boils."""
        while water.temperature < 100:
            water.temperature += 1
            self.wait(1)
            self.log("hotter")
        return water

    def pour(self, cup):
        """Fill the cup with hot water."""
        cup.fill(self.water)
        return cup
'''
COPY = TEA.replace("Kettle", "Boiler").replace("100", "98")
LONG = (
    "def long_one():\n" + "".join(f"    step_{n} = {n} + 1\n" for n in range(200)) + "    return the_zebra_crossing\n"
)


@pytest.fixture(scope="module")
def index(tmp_path_factory: pytest.TempPathFactory, fake: Embedder) -> CodeIndex:
    root = tmp_path_factory.mktemp("shop")
    files = {
        "src/tea.py": TEA,
        "old/boiler.py": COPY,
        "src/long.py": LONG,
        "src/pump.go": "package p\n\n// Pour moves water.\nfunc Pour(cup int) int { return cup }\n",
        "README.md": "# Tea\nPour hot water over the leaves.\n",
    }
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    CodeIndexer(root / ".umekomi", embedder=lambda model: fake, model="umekomi-fake").update([root])
    return CodeIndex(root / ".umekomi", embedder=lambda model: fake)


def test_a_hit_contains_location_signature_and_source(index: CodeIndex) -> None:
    hit = index.search("heat the water until it boils", n=1, paths=["src/"])[0]
    assert (hit.path, hit.start, hit.end, hit.kind, hit.lang) == ("src/tea.py", 4, 10, "method", "python")
    assert (hit.name, hit.signature) == ("Kettle.boil", "def boil(self, water)")
    assert hit.source.split("\n")[0] == "    def boil(self, water):"
    assert Path(hit.file).is_file()


def test_filters_by_language_type_and_path(index: CodeIndex) -> None:
    assert {hit.path for hit in index.search("pour water", langs=["go"])} == {"src/pump.go"}
    assert {hit.kind for hit in index.search("pour water", kinds=["section", "class"], n=9)} == {"section", "class"}
    assert {hit.path for hit in index.search("pour water", paths=["*.py", "!old/"], n=9)} == {
        "src/tea.py",
        "src/long.py",
    }
    assert index.search("pour water", paths=["nowhere/"]) == []


def test_the_end_of_a_long_function_is_found_once(index: CodeIndex) -> None:
    hits = index.search("the_zebra_crossing", n=9)
    assert hits[0].name == "long_one"
    assert [hit.name for hit in hits].count("long_one") == 1


def test_similar_chunks_do_not_include_the_chunk_itself(index: CodeIndex) -> None:
    hits = index.similar(index.folder.parent / "src/tea.py", 6, n=2)
    assert (hits[0].path, hits[0].name) == ("old/boiler.py", "Boiler.boil")
    assert all((hit.path, hit.name) != ("src/tea.py", "Kettle.boil") for hit in hits)


def test_near_duplicates_are_listed_except_short_functions(index: CodeIndex) -> None:
    (group,) = index.duplicates()
    assert [chunk.name for chunk in group.chunks] == ["Boiler.boil", "Kettle.boil"]
    assert 0.9 < group.alike < 1.0
    assert index.duplicates(alike=0.999) == []
    assert len(index.duplicates(min_lines=1)) == 2
    assert index.duplicates(paths=["src/"]) == []


def test_duplicates_may_begin_differently_but_not_contain_each_other(tmp_path: Path) -> None:
    body = "".join(f"    total += weights[{n}] * readings.sensor_{n}(scale={n})\n" for n in range(40))
    head = "    " + " ".join(f"word{n}" for n in range(40)).join(('"""', '"""\n'))
    inner = "".join(f"        bean_{n} = roast(bean_{n})\n" for n in range(40))
    (tmp_path / "a.py").write_text(f"def first(weights, readings):\n{head}    total = 0\n{body}    return total\n")
    (tmp_path / "b.py").write_text(f"def second(weights, readings):\n    total = 0\n{body}    return total\n")
    (tmp_path / "c.py").write_text(f"def outer():\n    def inner():\n{inner}    return inner\n")
    folder = tmp_path / ".umekomi"
    CodeIndexer(folder, embedder=Embedder, model="umekomi-fake").update([tmp_path])
    groups = CodeIndex(folder, embedder=Embedder).duplicates()
    assert [[chunk.name for chunk in group.chunks] for group in groups] == [["first", "second"]]


def test_candidates_include_every_similar_pair() -> None:
    random = np.random.default_rng(5)
    vocabulary = [f"w{n}" for n in range(60)]
    texts = [Counter(random.choice(vocabulary, size=random.integers(1, 40)).tolist()) for _ in range(40)]
    texts += [Counter(random.permutation(list(text.elements())).tolist()[2:]) for text in texts]
    for alike in (0.3, 0.5, 0.8, 1.0):
        pairs = set(_candidates(texts, alike))
        similar = {
            (left, right)
            for left, right in itertools.permutations(range(len(texts)), 2)
            if len(texts[left]) and _similarity(texts[left], texts[right]) >= alike
        }
        assert all((left, right) in pairs or (right, left) in pairs for left, right in similar)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (lambda index: index.search("  "), "The query is empty"),
        (lambda index: index.similar(Path("nowhere.py"), 1), "is not in the index"),
        (lambda index: index.similar(index.folder.parent / "src/tea.py", 99), "is in no function"),
        (lambda index: index.duplicates(alike=2.0), "at most 1"),
    ],
)
def test_invalid_queries_are_rejected(index: CodeIndex, query: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        query(index)  # type: ignore[operator]


def test_the_error_for_a_missing_index_contains_the_command(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="umekomi code index PATH"):
        CodeIndex(tmp_path / ".umekomi", embedder=Embedder)


def test_a_model_without_a_counterpart_embeds_its_own_queries() -> None:
    assert get_query_model("umekomi-fake") == "umekomi-fake"
