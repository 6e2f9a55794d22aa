"""Evaluation data sets: the supported layouts, and public sets that are identified by their hashes.

There are three layouts. *Retrieval* uses BEIR's: a folder with ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl``
(``_id``, ``text``) and ``qrels/SPLIT.tsv`` (query, document, relevance, under a header), and optionally ``dataset.json``,
whose ``"shared_ids": true`` declares that queries are documents with the same ids. *Pairs* are any table
with two text columns and a score column. *Labeled texts* are any table with a text and a label.

A public set is a table in ``datasets.toml``. Its files are found by SHA-256 in the folders of ``UMEKOMI_ASSET_PATH``. Umekomi
does not download data sets.
"""

from __future__ import annotations

import csv
import json
import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from ..assets.store import AssetStore
from ..catalog import Asset
from ..data.readers.base import Records
from ..data.readers.opening import open_records
from ..data.readers.text_file import read_lines
from ..data.templates import Template, resolve_template
from ..errors import AssetMissingError, InputError, RecordError
from ..files.outputs import write_text
from ..settings import Settings, current


class DatasetType(StrEnum):
    """What a data set measures."""

    RETRIEVAL = "retrieval"
    STS = "sts"
    CLASSIFICATION = "classification"
    BIAS = "bias"


@dataclass(frozen=True, slots=True)
class PublicDataset:
    """A public data set that Umekomi can identify, but does not contain."""

    name: str
    type: DatasetType
    title: str
    #: Number of rows, as text.
    rows: str
    license: str
    #: Where the set can be obtained.
    source: str
    files: tuple[Asset, ...]
    #: Name of the split in each of ``files``.
    splits: tuple[str, ...]
    #: Template of the text and name of the label column of a labeled set.
    template: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class RetrievalDataset:
    """Documents and queries by id, with relevance judgments."""

    name: str
    #: Text of each document, including its title.
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    #: ``{query: {document: relevance}}``.
    judgments: Mapping[str, Mapping[str, int]]
    #: Whether a query has the id of the document that it was taken from. That document is then excluded from its results
    #: (ArguAna and Quora in BEIR). Otherwise equal ids have no meaning: Cranfield numbers both queries and documents from 1.
    shared_ids: bool = False

    def source_document(self, query: str) -> str | None:
        """Return the id of the document that a query was taken from, or None if it was not taken from one."""
        return query if self.shared_ids and query in self.documents else None


@dataclass(frozen=True, slots=True)
class PairDataset:
    """Pairs of texts with human similarity scores."""

    name: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LabeledDataset:
    """Texts with one label each."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]


@cache
def public_datasets() -> Mapping[str, PublicDataset]:
    """Return the sets of ``datasets.toml`` by name."""
    rows = tomllib.loads(resources.files(__package__).joinpath("datasets.toml").read_text("utf-8"))
    return {name: _parse_public(name, row) for name, row in rows.items()}


def _parse_public(name: str, row: Mapping[str, Any]) -> PublicDataset:
    files = tuple(
        Asset(f"{name}-{file['split']}", file["file"], file["sha256"], file["size"], row["license"], row["title"], ())
        for file in row["files"]
    )
    splits = tuple(file["split"] for file in row["files"])
    return PublicDataset(name, **{**row, "type": DatasetType(row["type"]), "files": files, "splits": splits})


def public_dataset(name: str) -> PublicDataset:
    """Return a public set by its name.

    Raises:
        InputError: No set has this name.
    """
    if name not in public_datasets():
        raise InputError(
            f"{name} is neither a file or folder nor a public data set. Choose one of {', '.join(public_datasets())}."
        )
    return public_datasets()[name]


def find_files(dataset: PublicDataset, settings: Settings | None = None) -> dict[str, Path]:
    """Return the paths of a set's files by split. Missing files are omitted."""
    store = AssetStore(settings or current())
    paths = {split: store.find(asset) for split, asset in zip(dataset.splits, dataset.files, strict=True)}
    return {split: path for split, path in paths.items() if path is not None}


def require_files(dataset: PublicDataset, settings: Settings | None = None) -> dict[str, Path]:
    """Return the paths of all files of a set by split.

    Raises:
        AssetMissingError: A file is in none of the folders of ``UMEKOMI_ASSET_PATH``.
    """
    paths = find_files(dataset, settings)
    missing = [asset.file for split, asset in zip(dataset.splits, dataset.files, strict=True) if split not in paths]
    if missing:
        raise AssetMissingError(
            f"{dataset.name} is not on this machine: no folder in UMEKOMI_ASSET_PATH contains {', '.join(missing)} with the "
            "SHA-256 that `umekomi data list --json` shows. Umekomi does not download data sets. Get it from "
            f"{dataset.source} (license: {dataset.license}) and set UMEKOMI_ASSET_PATH to its folder."
        )
    return paths


# ---------------------------------------------------------------- retrieval


def load_retrieval(source: str, *, split: str = "test", settings: Settings | None = None) -> RetrievalDataset:
    """Load a folder in BEIR's layout, or a public set by its name.

    Raises:
        RecordError: A file is missing or malformed.
        AssetMissingError: The files of a public set are not on this machine.
    """
    if Path(source).is_dir():
        return read_beir(Path(source), split=split)
    dataset = public_dataset(source)
    if dataset.name != "cranfield":
        raise InputError(f"{source} is a data set for {dataset.type}, not for retrieval.")
    files = require_files(dataset, settings)
    return read_cranfield(files["documents"], files["queries"], files["judgments"])


def read_beir(folder: Path, *, split: str = "test") -> RetrievalDataset:
    """Read a folder in BEIR's layout (Thakur et al. 2021, arXiv:2104.08663).

    A document consists of its title, a space and its text. Queries without judgments in this split are omitted.

    Raises:
        RecordError: A file is missing or malformed, or no query has a judgment.
    """
    documents = {
        row["_id"]: f"{row.get('title') or ''} {row.get('text') or ''}".strip()
        for row in _objects(folder / "corpus.jsonl")
    }
    queries = {row["_id"]: str(row.get("text") or "") for row in _objects(folder / "queries.jsonl")}
    judgments = _read_qrels(folder / "qrels", split)
    judged = {query: queries[query] for query in judgments if query in queries}
    if not judged:
        raise RecordError(f"No query of {folder / 'queries.jsonl'} has a judgment in {folder / 'qrels' / split}.tsv.")
    return RetrievalDataset(
        folder.name,
        documents,
        judged,
        {query: judgments[query] for query in judged},
        shared_ids=_read_shared_ids(folder / "dataset.json"),
    )


def _read_shared_ids(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        value = json.loads(path.read_text("utf-8")).get("shared_ids", False)
    except (ValueError, AttributeError) as error:
        raise RecordError(f"{path} is not a JSON object.") from error
    if not isinstance(value, bool):
        raise RecordError(f'"shared_ids" in {path} must be true or false, but is {value!r}.')
    return value


def _objects(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise RecordError(
            f"The file {path} does not exist. A retrieval data set is a folder with corpus.jsonl, queries.jsonl "
            "and qrels/test.tsv."
        )
    rows = []
    for number, line in enumerate(read_lines(path, "utf-8-sig", advice="It must be UTF-8."), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            rows.append({**row, "_id": str(row["_id"])})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise RecordError(f'Line {number} of {path} is not a JSON object with an "_id".') from error
    return rows


def _read_qrels(folder: Path, split: str) -> dict[str, dict[str, int]]:
    path = folder / f"{split}.tsv"
    if not path.is_file():
        splits = ", ".join(sorted(file.stem for file in folder.glob("*.tsv"))) or "none"
        raise RecordError(f"The file {path} does not exist. Available splits: {splits}. Choose one with --split.")
    judgments: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_lines(path, "utf-8-sig", advice="It must be UTF-8."), start=1):
        cells = line.rstrip("\r\n").split("\t")
        # TREC's own files have four columns; the second is unused.
        cells = cells if len(cells) != 4 else [cells[0], *cells[2:]]
        if not line.strip() or (number == 1 and not cells[-1].strip().lstrip("-").isdigit()):
            continue
        try:
            query, document, relevance = cells
            judgments.setdefault(query, {})[document] = int(relevance)
        except ValueError as error:
            raise RecordError(
                f"Line {number} of {path} must be a query, a document and an integer, separated by tabs."
            ) from error
    return judgments


def write_beir(dataset: RetrievalDataset, folder: Path, *, split: str = "test") -> list[Path]:
    """Write a retrieval set in BEIR's layout and return the paths of the files."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    paths = [folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / f"{split}.tsv"]
    _write_lines(paths[0], [{"_id": key, "title": "", "text": text} for key, text in dataset.documents.items()])
    _write_lines(paths[1], [{"_id": key, "text": text} for key, text in dataset.queries.items()])
    lines = [
        f"{query}\t{document}\t{relevance}"
        for query, judged in dataset.judgments.items()
        for document, relevance in judged.items()
    ]
    write_text(paths[2], "\n".join(["query-id\tcorpus-id\tscore", *lines, ""]))
    paths.append(folder / "dataset.json")
    paths[3].write_text(json.dumps({"name": dataset.name, "shared_ids": dataset.shared_ids}) + "\n", "utf-8")
    return paths


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_cranfield(documents: Path, queries: Path, judgments: Path) -> RetrievalDataset:
    """Read Cranfield 2 from its three files.

    There are 1,399 documents (number 240 is missing from the published file, 471 and 995 are empty). The judgments number the
    queries by their position in the file of queries. Codes run from 1 (a complete answer) to 4 (of slight interest), and -1 means
    irrelevant; the relevance is 5 minus the code.
    """
    texts: dict[str, str] = {}
    for entry in re.split(r"^\.I\s+", documents.read_text("latin-1"), flags=re.MULTILINE)[1:]:
        number = str(int(entry.split(None, 1)[0]))
        fields = dict(re.findall(r"^\.([TW])\n(.*?)(?=^\.[TABW]\n|\Z)", entry, flags=re.MULTILINE | re.DOTALL))
        texts[number] = " ".join(f"{fields.get('T', '')} {fields.get('W', '')}".split())
    entries = re.split(r"^\.I\s+", queries.read_text("latin-1"), flags=re.MULTILINE)[1:]
    numbered = {str(n): " ".join(entry.split(".W", 1)[1].split()) for n, entry in enumerate(entries, start=1)}
    relevant: dict[str, dict[str, int]] = {}
    for line in judgments.read_text("latin-1").splitlines():
        query, document, code = line.split()[:3]
        if 1 <= int(code) <= 4:
            relevant.setdefault(query, {})[document] = 5 - int(code)
    return RetrievalDataset("cranfield", texts, {query: numbered[query] for query in relevant}, relevant)


# ---------------------------------------------------------------- pairs and labels

SCORE_COLUMNS = ("score", "label", "similarity_score", "similarity")


def load_pairs(
    source: str,
    *,
    split: str | None = None,
    columns: tuple[str, str, str] | None = None,
    settings: Settings | None = None,
) -> PairDataset:
    """Load scored pairs from a CSV, TSV, JSON Lines or Parquet file, or a public set by its name.

    Args:
        source: Path of a file, or name of a public set.
        split: Split of a public set; by default its first.
        columns: Names of the two text columns and the score column; by default ``sentence1``, ``sentence2`` and ``score`` (or
            ``label``).

    Raises:
        RecordError: A column is missing, or one of its values is invalid.
        AssetMissingError: The files of a public set are not on this machine.
    """
    if Path(source).exists():
        return read_pairs(Path(source), columns=columns)
    dataset = public_dataset(source)
    if dataset.type is not DatasetType.STS:
        raise InputError(f"{source} is a data set for {dataset.type}, not for sts.")
    split = split or dataset.splits[0]
    if split not in dataset.splits:
        raise InputError(f"{source} has no split {split!r}. Choose one of {', '.join(dataset.splits)}.")
    path, name = require_files(dataset, settings)[split], f"{source}-{split}"
    return read_stsb(path, name) if source == "stsb" else read_pairs(path, name=name)


def read_pairs(path: Path, *, columns: tuple[str, str, str] | None = None, name: str = "") -> PairDataset:
    """Read scored pairs from a file; see :func:`load_pairs`."""
    records = open_records(path)
    available = records.schema.names
    score = next((column for column in SCORE_COLUMNS if column in available), "score")
    columns = columns or ("sentence1", "sentence2", score)
    for column in columns:
        if column not in available:
            raise RecordError(
                f"{path} has no column {column!r}, only {', '.join(available)}. "
                "Name the columns of the two texts and the score with --columns first,second,score."
            )
    left, right, numbers = (_read_texts(records, Template.of_column(column)) for column in columns)
    scores = [_parse_score(text, row, path) for row, text in enumerate(numbers, start=1)]
    _require_texts((*left, *right), len(left), path)
    return PairDataset(name or path.stem, left, right, tuple(scores))


def _require_texts(texts: tuple[str, ...], n_rows: int, path: Path) -> None:
    empty = next((index for index, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        raise RecordError(f"Row {empty % n_rows + 1} of {path} has no text.")


def _read_texts(records: Records, template: Template) -> tuple[str, ...]:
    return tuple(text for _, texts in records.with_texts(template, 4096) for text in texts)


def _parse_score(cell: str, row: int, path: Path) -> float:
    try:
        number = float(cell)
        if not math.isfinite(number):
            raise ValueError(cell)
        return number
    except ValueError as error:
        raise RecordError(f"The score in row {row} of {path} is {cell!r}, which is not a number.") from error


def read_stsb(path: Path, name: str) -> PairDataset:
    """Read a file of the STS benchmark as published: tabs, no header, no quoting, sometimes a source in the last column."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    return PairDataset(
        name, tuple(row[5] for row in rows), tuple(row[6] for row in rows), tuple(float(row[4]) for row in rows)
    )


def write_pairs(dataset: PairDataset, path: Path) -> Path:
    """Write pairs as JSON Lines with ``sentence1``, ``sentence2`` and ``score``, and return the path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(dataset.left, dataset.right, dataset.scores, strict=True)
    _write_lines(path, [{"sentence1": left, "sentence2": right, "score": score} for left, right, score in rows])
    return path


def load_labeled(
    source: str, *, template: str | None = None, label: str | None = None, settings: Settings | None = None
) -> LabeledDataset:
    """Load labeled texts from a table, or a public set by its name.

    Raises:
        RecordError: A column is missing, a text is empty, or a label is missing.
        AssetMissingError: The files of a public set are not on this machine.
    """
    path = Path(source)
    if not path.exists():
        dataset = public_dataset(source)
        if dataset.type is not DatasetType.CLASSIFICATION:
            raise InputError(f"{source} is a data set for {dataset.type}, not for classification.")
        path = require_files(dataset, settings)[dataset.splits[0]]
        template, label = template or dataset.template, label or dataset.label
    records = open_records(path)
    column = label or "label"
    if column not in records.schema.names:
        raise RecordError(f"{path} has no column {column!r}. Name the column of the labels with --label.")
    texts = _read_texts(records, resolve_template(records.schema.names, template))
    labels = _read_texts(records, Template.of_column(column))
    _require_texts(texts, len(texts), path)
    missing = next((row for row, label in enumerate(labels, start=1) if not label), None)
    if missing is not None:
        raise RecordError(f"Row {missing} of {path} has no {column}.")
    return LabeledDataset(source if path != Path(source) else path.stem, texts, labels)
