"""Asking an index: filters, look-alikes, near-copies."""

import itertools
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from umekomi import Embedder
from umekomi.codesearch.index import CodeIndexer
from umekomi.codesearch.search import CodeIndex, _candidates, _share, query_model
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


def test_a_hit_has_place_signature_and_source(index: CodeIndex) -> None:
    hit = index.search("heat the water until it boils", n=1, paths=["src/"])[0]
    assert (hit.path, hit.start, hit.end, hit.kind, hit.lang) == ("src/tea.py", 4, 10, "method", "python")
    assert (hit.name, hit.signature) == ("Kettle.boil", "def boil(self, water)")
    assert hit.source.split("\n")[0] == "    def boil(self, water):"
    assert Path(hit.file).is_file()


def test_filters_by_language_kind_and_path(index: CodeIndex) -> None:
    assert {hit.path for hit in index.search("pour water", langs=["go"])} == {"src/pump.go"}
    assert {hit.kind for hit in index.search("pour water", kinds=["section", "class"], n=9)} == {"section", "class"}
    assert {hit.path for hit in index.search("pour water", paths=["*.py", "!old/"], n=9)} == {
        "src/tea.py",
        "src/long.py",
    }
    assert index.search("pour water", paths=["nowhere/"]) == []


def test_what_a_long_function_says_at_its_end_is_found_once(index: CodeIndex) -> None:
    hits = index.search("the_zebra_crossing", n=9)
    assert hits[0].name == "long_one"
    assert [hit.name for hit in hits].count("long_one") == 1


def test_look_alikes_of_a_line_leave_the_place_itself_out(index: CodeIndex) -> None:
    hits = index.similar(index.folder.parent / "src/tea.py", 6, n=2)
    assert (hits[0].path, hits[0].name) == ("old/boiler.py", "Boiler.boil")
    assert all((hit.path, hit.name) != ("src/tea.py", "Kettle.boil") for hit in hits)


def test_near_copies_are_listed_and_short_functions_left_alone(index: CodeIndex) -> None:
    (group,) = index.duplicates()
    assert [chunk.name for chunk in group.chunks] == ["Boiler.boil", "Kettle.boil"]
    assert 0.9 < group.alike < 1.0
    assert index.duplicates(alike=0.999) == []
    assert len(index.duplicates(min_lines=1)) == 2
    assert index.duplicates(paths=["src/"]) == []


def test_copies_that_begin_differently_are_found_and_a_function_is_no_copy_of_what_it_holds(tmp_path: Path) -> None:
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


def test_no_pair_is_missed_that_is_alike_enough() -> None:
    random = np.random.default_rng(5)
    vocabulary = [f"w{n}" for n in range(60)]
    texts = [Counter(random.choice(vocabulary, size=random.integers(1, 40)).tolist()) for _ in range(40)]
    texts += [Counter(random.permutation(list(text.elements())).tolist()[2:]) for text in texts]
    for alike in (0.3, 0.5, 0.8, 1.0):
        pairs = set(_candidates(texts, alike))
        alike_enough = {
            (left, right)
            for left, right in itertools.permutations(range(len(texts)), 2)
            if len(texts[left]) and _share(texts[left], texts[right]) >= alike
        }
        assert all((left, right) in pairs or (right, left) in pairs for left, right in alike_enough)


@pytest.mark.parametrize(
    ("ask", "sentence"),
    [
        (lambda index: index.search("  "), "The query is empty"),
        (lambda index: index.similar(Path("nowhere.py"), 1), "is not in the index"),
        (lambda index: index.similar(index.folder.parent / "src/tea.py", 99), "is in no function"),
        (lambda index: index.duplicates(alike=2.0), "at most 1"),
    ],
)
def test_bad_questions_are_refused_in_a_sentence(index: CodeIndex, ask: object, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        ask(index)  # type: ignore[operator]


def test_no_index_is_told_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="umekomi code index PATH"):
        CodeIndex(tmp_path / ".umekomi", embedder=Embedder)


def test_the_text_half_asks_what_the_code_half_made() -> None:
    assert query_model("umekomi-fake") == "umekomi-fake"
