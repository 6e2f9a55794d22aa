"""Splitting of notebooks by cell, in all variants of the format; broken notebooks are rejected with a reason."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from umekomi.codesearch.files import MAX_BYTES, SkipReason, UnreadableError, read_source
from umekomi.codesearch.parsing.notebooks import parse_notebook
from umekomi.codesearch.parsing.splitting import split_notebook

CODE = "import os\n\ndef load(path):\n    return os.stat(path)\n"
Cell = dict[str, object]


def code(source: object, **more: object) -> Cell:
    outputs = [{"output_type": "stream", "text": "SECRET OUTPUT"}]
    return {"cell_type": "code", "source": source, "outputs": outputs, "metadata": {}, **more}


def markdown(source: object) -> Cell:
    return {"cell_type": "markdown", "source": source}


def notebook(*cells: object, **metadata: object) -> bytes:
    return json.dumps({"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 5}).encode()


def split(data: bytes) -> list[tuple[int, int, str, str, str]]:
    """Return the cell, first line, language, type and name of each chunk."""
    chunks = split_notebook(parse_notebook(data))
    return [(chunk.cell, chunk.start, chunk.lang, str(chunk.type), chunk.name) for chunk in chunks]


def test_lines_are_counted_in_the_concatenated_cells() -> None:
    data = notebook(
        markdown(["# Sales\n", "All about sales."]),
        {"cell_type": "raw", "source": "raw"},
        code(CODE),
        code("load('a')"),
    )
    assert split(data) == [
        (1, 1, "prose", "section", "Sales"),
        (3, 5, "python", "function", "load"),
        (4, 7, "python", "module", ""),
    ]
    text = parse_notebook(data).text
    assert text.split("\n")[4] == "def load(path):"
    assert "SECRET" not in text


@pytest.mark.parametrize("source", [CODE, CODE.splitlines(keepends=True), CODE.replace("\n", "\r\n"), [CODE, ""]])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_sources_are_text_or_lines(source: object, encoding: str) -> None:
    assert split(notebook(code(source)).decode().encode(encoding)) == [(1, 3, "python", "function", "load")]


def test_format_3_has_worksheets_inputs_and_headings() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": "Sales"},
        {"cell_type": "markdown", "source": "All about sales."},
    ]
    cells.append({"cell_type": "code", "language": "python", "input": CODE, "outputs": []})
    data = json.dumps({"metadata": {"name": ""}, "nbformat": 3, "worksheets": [{"cells": cells}]}).encode()
    assert split(data) == [(2, 2, "prose", "section", ""), (3, 5, "python", "function", "load")]


@pytest.mark.parametrize(
    ("metadata", "language"),
    [
        ({}, "python"),
        ({"kernelspec": {"name": "python3"}}, "python"),
        ({"language_info": {"name": "R"}}, "r"),
        ({"kernelspec": {"name": "julia-1.9"}}, "julia"),
        ({"kernelspec": {"language": "C++17", "name": "xcpp17"}}, "c++"),
        ({"language_info": {"name": ".net-csharp"}}, "c#"),
        ({"language_info": {"name": "a language that nobody knows"}, "kernelspec": None}, "python"),
        ({"language_info": ["not", "an", "object"]}, "python"),
    ],
)
def test_the_metadata_determine_the_language(metadata: dict[str, object], language: str) -> None:
    assert parse_notebook(notebook(code("x"), **metadata)).language == language


def test_a_cell_may_have_another_language() -> None:
    script = code("function f(a) { return a + 1; }", metadata={"vscode": {"languageId": "javascript"}})
    assert split(notebook(script, code("%%bash\ngreet() { echo hi; }\n"))) == [
        (1, 1, "javascript", "function", "f"),
        (2, 3, "bash", "function", "greet"),
    ]


def test_ipython_magics_do_not_prevent_parsing() -> None:
    text = "%matplotlib inline\n!pip install x\nload?\n\ndef load(path):\n    %time go(path)\n    return path"
    assert split(notebook(code(text))) == [(1, 5, "python", "function", "load")]
    assert split(notebook(code("%%time\ndef load(): return 1"))) == [(1, 2, "python", "function", "load")]
    # Such a line is not changed if it is valid Python.
    assert split(notebook(code("def rest(a, b):\n    return (a\n% b)"))) == [(1, 1, "python", "function", "rest")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (notebook(code(CODE))[:-20], "it is not JSON"),
        (b"<<<<<<< HEAD\n" + notebook(code(CODE)), "it is not JSON"),
        (b"[]", "its JSON is not an object"),
        (b'"cells"', "its JSON is not an object"),
        (b"{}", "no list of cells"),
        (b'{"cells": {"0": 1}}', "no list of cells"),
        (b'{"worksheets": [null]}', "no list of cells"),
        (notebook(code(CODE), "text"), "cell 2 is not an object"),
        (notebook(code(17)), "the source of cell 1 is neither"),
        (notebook(code(["a", 1])), "the source of cell 1 is neither"),
        (b'{"cells": ' + b"[" * 100_000, "nested too deeply"),
        (notebook(code("é")).replace(b"\\u00e9", b"\xe9"), "it is not UTF-8"),
    ],
)
def test_a_broken_notebook_is_unreadable_with_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(UnreadableError, match=f"not a notebook: .*{reason}"):
        read_source(data, Path("a.ipynb"))


def test_large_outputs_are_accepted_but_large_cells_are_not() -> None:
    large = notebook(code(CODE, outputs=[{"data": {"image/png": "A" * 3 * MAX_BYTES}}]))
    source = read_source(large, Path("a.ipynb"))
    assert not isinstance(source, SkipReason)
    assert source.text == CODE.rstrip()
    assert read_source(notebook(code("x\n" * MAX_BYTES)), Path("a.ipynb")) is SkipReason.LARGE
    assert read_source(notebook(code("")), Path("a.ipynb")) is SkipReason.EMPTY


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
CELLS = st.fixed_dictionaries(
    {},
    optional={
        "cell_type": st.sampled_from(["code", "markdown", "heading", "raw"]) | JSON,
        "source": JSON,
        "input": JSON,
        "level": JSON,
        "metadata": JSON,
        "language": JSON,
    },
)


@given(st.lists(CELLS | JSON), JSON)
def test_any_json_is_a_notebook_or_rejected_with_a_reason(cells: list[object], metadata: object) -> None:
    data = json.dumps({"cells": cells, "metadata": metadata}).encode()
    try:
        found = parse_notebook(data)
    except ValueError:
        with pytest.raises(ValueError, match=r"^(the source of )?cell \d+ is "):
            parse_notebook(data)
        return
    n_lines = found.text.count("\n") + 1
    found.text.encode()
    assert all(1 <= chunk.start <= chunk.end <= n_lines for chunk in split_notebook(found))
