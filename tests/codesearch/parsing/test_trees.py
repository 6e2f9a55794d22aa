"""The other languages, by their tree-sitter grammars: names, scopes, comments and lines of a file of each."""

import importlib

import pytest
from tests.codesearch.samples import SAMPLES

from umekomi.codesearch.parsing.chunks import ChunkKind
from umekomi.codesearch.parsing.languages import GRAMMARS, language_of
from umekomi.codesearch.parsing.splitting import cut_file
from umekomi.codesearch.parsing.trees import parse_tree


@pytest.mark.parametrize("language", SAMPLES)
def test_what_a_file_defines_is_found_with_its_comment(language: str) -> None:
    text, wanted = SAMPLES[language]
    assert [(c.kind.value, c.qualified, c.doc) for c in parse_tree(text, language) if c.name] == wanted


@pytest.mark.parametrize("language", SAMPLES)
def test_each_chunk_begins_on_the_line_that_names_it(language: str) -> None:
    lines = SAMPLES[language][0].split("\n")
    for chunk in parse_tree(SAMPLES[language][0], language):
        assert 1 <= chunk.start <= chunk.end <= len(lines)
        if chunk.name and chunk.name not in ("init", "constructor"):
            # An annotation or a `template <…>` may stand on a line of its own before the name.
            assert chunk.name in " ".join(lines[chunk.start - 1 : chunk.start + 1])


def test_every_grammar_has_a_sample_and_its_node_types_are_the_grammars_own() -> None:
    # A query of a node type that the grammar does not have is an error, so parsing anything checks the whole row.
    assert set(GRAMMARS) - {"tsx"} == set(SAMPLES)
    assert parse_tree("const A = () => <b>{1}</b>", "tsx")[0].name == "A"


def test_a_signature_is_one_line_without_the_body() -> None:
    chunk = next(c for c in parse_tree(SAMPLES["c"][0], "c") if c.name == "read_line")
    assert chunk.signature == "static char *read_line(FILE *in, int max)"
    assert chunk.code.endswith("return 0;\n}")


def test_a_class_leaves_the_bodies_to_its_methods() -> None:
    text = "class A {\n  int x;\n  int f() {\n    return 42;\n  }\n}\n"
    whole = next(c for c in parse_tree(text, "java") if c.kind is ChunkKind.CLASS)
    assert "int x;" in whole.code
    assert "42" not in whole.code


def test_what_the_grammar_does_not_understand_goes_by_windows_and_the_rest_by_the_grammar() -> None:
    text = "int good(void) { return 1; }\n\n" + "@@ what is this line of nonsense here ((\n" * 5
    chunks = cut_file(text, "c")
    assert "good" in [c.name for c in chunks]
    windows = [c for c in chunks if c.kind is ChunkKind.WINDOW]
    assert {line for c in windows for line in range(c.start, c.end + 1)} >= set(range(3, 8))


def test_a_header_of_cpp_is_cut_as_cpp() -> None:
    text = "namespace a {\nclass Box {\n public:\n  int area() const { return 1; }\n};\n}\n"
    assert [c.qualified for c in cut_file(text, "c")] == ["a.Box", "a.Box.area"]


def test_a_file_of_another_language_altogether_goes_by_windows() -> None:
    chunks = cut_file("これはコードではありません（（（\n" * 50, "go")
    assert {c.kind for c in chunks} == {ChunkKind.WINDOW}
    assert [c.kind for c in cut_file("def f(:\n  pass", "python")] == [ChunkKind.WINDOW]


def test_the_language_is_told_by_the_name_or_the_first_line() -> None:
    assert language_of("a/B.TSX") == "tsx"
    assert language_of("Makefile") == "make"
    assert language_of("run", "#!/usr/bin/env -S python3.11 -u") == "python"
    assert language_of("photo.png") is None
    assert language_of("run", "hello") is None


def test_all_grammars_are_installed() -> None:
    for row in GRAMMARS.values():
        importlib.import_module(row.module)
