"""Languages with a tree-sitter grammar: names, scopes, comments and lines of a sample of each."""

import importlib

import pytest
from tests.codesearch.samples import SAMPLES

from umekomi.codesearch.parsing.chunks import ChunkType
from umekomi.codesearch.parsing.languages import GRAMMARS, detect_language
from umekomi.codesearch.parsing.splitting import split_file
from umekomi.codesearch.parsing.trees import parse_tree


@pytest.mark.parametrize("language", SAMPLES)
def test_definitions_are_found_with_their_comments(language: str) -> None:
    text, expected = SAMPLES[language]
    assert [(c.type.value, c.qualified, c.doc) for c in parse_tree(text, language) if c.name] == expected


@pytest.mark.parametrize("language", SAMPLES)
def test_each_chunk_starts_at_its_name(language: str) -> None:
    lines = SAMPLES[language][0].split("\n")
    for chunk in parse_tree(SAMPLES[language][0], language):
        assert 1 <= chunk.start <= chunk.end <= len(lines)
        if chunk.name and chunk.name not in ("init", "constructor"):
            # An annotation or a `template <…>` may be on a separate line before the name.
            assert chunk.name in " ".join(lines[chunk.start - 1 : chunk.start + 1])


def test_every_grammar_has_a_sample_and_valid_node_types() -> None:
    # Unknown node types are an error in the query, so parsing any text checks all node types of a language.
    assert set(GRAMMARS) - {"tsx"} == set(SAMPLES)
    assert parse_tree("const A = () => <b>{1}</b>", "tsx")[0].name == "A"


def test_a_signature_is_one_line_without_the_body() -> None:
    chunk = next(c for c in parse_tree(SAMPLES["c"][0], "c") if c.name == "read_line")
    assert chunk.signature == "static char *read_line(FILE *in, int max)"
    assert chunk.code.endswith("return 0;\n}")


def test_a_class_does_not_contain_the_bodies_of_its_methods() -> None:
    text = "class A {\n  int x;\n  int f() {\n    return 42;\n  }\n}\n"
    chunk = next(c for c in parse_tree(text, "java") if c.type is ChunkType.CLASS)
    assert "int x;" in chunk.code
    assert "42" not in chunk.code


def test_code_with_syntax_errors_is_split_into_windows_and_the_rest_by_the_grammar() -> None:
    text = "int good(void) { return 1; }\n\n" + "@@ what is this line of nonsense here ((\n" * 5
    chunks = split_file(text, "c")
    assert "good" in [c.name for c in chunks]
    windows = [c for c in chunks if c.type is ChunkType.WINDOW]
    assert {line for c in windows for line in range(c.start, c.end + 1)} >= set(range(3, 8))


def test_a_header_with_cpp_is_parsed_as_cpp() -> None:
    text = "namespace a {\nclass Box {\n public:\n  int area() const { return 1; }\n};\n}\n"
    assert [c.qualified for c in split_file(text, "c")] == ["a.Box", "a.Box.area"]


def test_a_file_in_the_wrong_language_is_split_into_windows() -> None:
    chunks = split_file("これはコードではありません（（（\n" * 50, "go")
    assert {c.type for c in chunks} == {ChunkType.WINDOW}
    assert [c.type for c in split_file("def f(:\n  pass", "python")] == [ChunkType.WINDOW]


def test_the_language_is_detected_by_the_name_or_the_first_line() -> None:
    assert detect_language("a/B.TSX") == "tsx"
    assert detect_language("Makefile") == "make"
    assert detect_language("run", "#!/usr/bin/env -S python3.11 -u") == "python"
    assert detect_language("photo.png") is None
    assert detect_language("run", "hello") is None


def test_all_grammars_are_installed() -> None:
    for language in GRAMMARS.values():
        importlib.import_module(language.module)
