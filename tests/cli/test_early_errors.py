"""Invalid options are reported before a model is loaded and before vectors are read."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pyarrow as pa
import pytest
from tests.cli.every_command import arguments, leaves

from umekomi import Embedder
from umekomi.cli.main import run
from umekomi.data.embedded_file import Space, write_embedded

WITH_MODEL = {
    words: command
    for words, command in leaves().items()
    if any("--model" in parameter.opts for parameter in command.params)
}
ERRORS: dict[str, str] = {
    "search e.parquet tea --where nothing=1": "nothing",
    "search e.parquet tea --where label=": "filter",
    "search e.parquet tea --columns nothing": "There is no column 'nothing'",
    "search e.parquet tea -n 0": "-n",
    "search e.parquet tea -m nothing": "`nothing` does not exist",
    "search e.parquet tea --rerank nothing": "nothing",
    "search e.parquet tea --rerank ./nothing --diversity 0.5": "either --rerank or --diversity",
    "search plain.parquet tea --explain": "--explain needs a column 'text'",
    "search plain.parquet tea --diversity 0.5": "--diversity needs a column 'text'",
    "search unknown.parquet tea": "`nothing` does not exist",
    "search nothing://x tea": "The known schemes are",
    "store search e.parquet tea --where nothing=1": "nothing",
    "store search lance:///tmp/nothing/nothing tea": "nothing",
    "zero-shot e.parquet --label a": "Two or more labels",
    "zero-shot e.parquet --label a --label b --truth nothing": "There is no column 'nothing'",
    "zero-shot e.parquet --label a --label b -o folder/x.csv": "folder",
    "zero-shot e.parquet --label a --label b -o x.docx": "x.docx",
    "zero-shot plain.parquet --label a --label b": "There is no column 'text'",
    "zero-shot unknown.parquet --label a --label b": "`nothing` does not exist",
    "embed rows.csv -o out.parquet -t {nothing}": "nothing",
    "embed rows.csv -o e.parquet": "--overwrite",
    "embed rows.csv -o folder/out.parquet": "folder",
    "embed rows.csv -o out.csv": "out.csv",
    "embed rows.csv -o out.parquet --format xlsx": "--format",
    "embed rows.csv -o out.parquet --encoding nothing": "nothing",
    "embed nothing.csv -o out.parquet": "There is no file nothing.csv",
    "embed rows.csv -o out.parquet --without nothing": "nothing is neither a file",
    "embed rows.csv -o out.parquet -m ./nothing": "There is no folder ./nothing",
    "embed rows.csv -o out.parquet -m umekomi-fake+nothing.safetensors": "nothing.safetensors",
    "embed nothing.parquet -o out/": "nothing.parquet",
    "embed plain.parquet -o out/ -t {nothing}": "nothing",
    "customize rows.csv -a nothing -b text -o m.safetensors": "nothing",
    "customize rows.csv -a text -b text -o m.csv": "m.csv",
    "customize rows.csv -a text -b text -o folder/m.safetensors": "folder",
    "customize nothing.csv -a text -b text -o m.safetensors": "There is no file",
    "plan --rows 1e6 --tokens 100 --hours -1": "hours",
    "plan --rows 1e6 --tokens 9999": "at most",
    "plan --rows 1e6 --tokens 100 --machine-price -1": "machine-price",
    "plan --rows x --tokens 100": "integer",
    "plan --rows 1 --tokens 1 -m nothing": "`nothing` does not exist",
    "tune --show --reset": "Use only one",
    "evaluate retrieval nothing": "nothing",
    "evaluate retrieval nothing -m bm25 -m nothing": "`nothing` does not exist",
    "evaluate sts nothing.csv": "nothing.csv",
    "evaluate sts rows.csv --columns text": "three names",
    "evaluate classification rows.csv --label nothing": "nothing",
    "evaluate translations rows.csv nothing": "nothing",
    "evaluate code nothing": "nothing",
    "bias seat --tests nothing": "nothing",
    "bias seat --report x.docx": "x.docx",
    "bias custom --targets nothing nothing --attributes nothing nothing": "nothing",
    "bias mitigate --without nothing": "nothing is neither a file",
    "bias mitigate --tests nothing": "nothing",
    "bias winogender --report folder/x.html": "folder",
    "code index nothing": "There is no file or folder",
    "code index folder -m nothing": "`nothing` does not exist",
    "code search tea": "There is no index",
    "code search tea --lang nothing": "Unknown language",
    "code similar rows.csv:1": "There is no index",
    "serve -m nothing": "`nothing` does not exist",
    "serve -m ./nothing": "There is no folder ./nothing",
    "serve --port 0 --explore nothing.parquet": "There is no file nothing.parquet",
    "serve --port 0 --state rows.csv": "rows.csv",
    "serve --port 0 --store x": "NAME=URL",
    "serve --host nothing.invalid": "--host",
    "explore nothing.parquet": "There is no file nothing.parquet",
    "explore e.parquet -m nothing": "`nothing` does not exist",
    "models check nothing": "`nothing` does not exist",
    "models convert folder -o folder": "config.json",
    "models table --measure -m nothing": "nothing",
    "tokens --file nothing.txt": "There is no file",
    "tokens --file rows.csv -t {nothing}": "nothing",
    "tokens --decode x": "not a token ID",
    "map e.parquet -o m.html --color nothing": "There is no column 'nothing'",
    "map e.parquet -o m.html --perplexity 0": "--perplexity",
    "map e.parquet -o m.html --clusters -1": "--clusters",
    "map e.parquet -o m.docx": "m.docx",
    "cluster e.parquet -k 0": "-k",
    "cluster e.parquet --mean nothing": "There is no column 'nothing'",
    "cluster e.parquet -k 3 --method hdbscan": "HDBSCAN",
    "classify e.parquet": "Give the column to predict",
    "classify e.parquet --label nothing": "There is no column 'nothing'",
    "classify e.parquet --label label --group nothing": "There is no column 'nothing'",
    "classify e.parquet --label label --apply x.model": "Use one or the other",
    "regress e.parquet --label nothing": "There is no column 'nothing'",
    "profiles e.parquet --user nothing --product label": "There is no column 'nothing'",
    "profiles e.parquet --user label --product label --save rows.csv": "rows.csv",
    "recommend e.parquet x": "not a row number",
    "recommend e.parquet 0 --columns nothing": "There is no column 'nothing'",
    "recommend e.parquet 0 -n 0": "-n",
    "anomalies e.parquet -k 0": "-k",
    "anomalies e.parquet --rate 2": "--rate",
    "anomalies e.parquet --fdr 0.1": "--reference",
    "anomalies e.parquet --reference nothing.parquet": "There is no file nothing.parquet",
    "diversity e.parquet --threshold 2": "--threshold",
    "diversity e.parquet --against nothing.parquet": "There is no file nothing.parquet",
    "import rows.csv -o e.parquet": "--overwrite",
}


def refuse(what: str) -> Callable[..., NoReturn]:
    def fail(*args: object, **kwargs: object) -> NoReturn:
        raise AssertionError(f"{what} before the error was reported")

    return fail


@pytest.fixture
def folder(tmp_path: Path, fake: Embedder, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with small inputs, in which no model can be loaded and no vectors can be read."""
    records = pa.table({"text": ["tea", "dog"], "label": ["a", "b"], "n": [1, 2]})
    vectors, space = fake.embed(["tea", "dog"]), Space(fake.model, fake.fingerprint, fake.dims)
    write_embedded(tmp_path / "e.parquet", vectors, records, space)
    write_embedded(tmp_path / "plain.parquet", vectors, records.drop_columns(["text"]), space)
    write_embedded(tmp_path / "unknown.parquet", vectors, records, Space("nothing", fake.fingerprint, fake.dims))
    (tmp_path / "rows.csv").write_text("text,label\ntea,a\ndog,b\n")
    (tmp_path / "folder").mkdir()
    for name in ("x.csv", "out.parquet", "m.safetensors", "x.html"):
        (tmp_path / "folder" / name).mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("umekomi.embedder.load_model", refuse("A model was loaded"))
    monkeypatch.setattr("umekomi.cli.commands.embedding.tokens.load_model_tokenizer", refuse("A vocabulary was loaded"))
    for module in ("umekomi.data.table", "umekomi.stores.parquet_files"):
        monkeypatch.setattr(f"{module}.read_embedded", refuse("Vectors were read"))
    return tmp_path


@pytest.mark.parametrize("line", ERRORS)
def test_an_invalid_option_is_reported_before_anything_is_loaded(
    line: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(line.split())
    text = capsys.readouterr().err
    assert (status, ERRORS[line] in text) == (2, True), text


@pytest.mark.parametrize("words", sorted({*WITH_MODEL} - {"plan"}))
def test_an_unknown_model_is_reported_before_the_input_is_read(
    words: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = run(arguments(words, WITH_MODEL[words], "missing.parquet", model="nothing"))
    text = capsys.readouterr().err
    assert (status, "`nothing` does not exist" in text) == (2, True), text


def test_every_command_that_loads_a_model_has_an_example() -> None:
    examples = {words for line in ERRORS for words in leaves() if f"{line} ".startswith(f"{words} ")}
    assert {*WITH_MODEL, "zero-shot", "code search", "code similar", "models check"} - examples == {
        "bias recency",
        "bias table",
    }


def test_the_columns_of_a_store_are_checked_like_those_of_a_file(
    tmp_path: Path, fake: Embedder, capsys: pytest.CaptureFixture[str]
) -> None:
    records = pa.table({"text": ["tea"], "when": pa.array([0], pa.timestamp("ms")), "n": pa.array([1], pa.uint64())})
    path = tmp_path / "e.parquet"
    write_embedded(path, fake.embed(["tea"]), records, Space(fake.model, fake.fingerprint, fake.dims))
    for where in ("n = 1", "when < '2000-01-01'", "text = 'tea'"):
        assert run(["search", str(path), "tea", "--where", where]) == 0, where
        assert "tea" in capsys.readouterr().out
