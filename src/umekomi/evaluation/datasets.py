"""Sets to measure a model on: the layouts that are read, and the public sets that are known by their hashes.

Three layouts. *Retrieval* is BEIR's: a folder with ``corpus.jsonl`` (``_id``, ``title``, ``text``), ``queries.jsonl``
(``_id``, ``text``) and ``qrels/SPLIT.tsv`` (query, document, relevance, under a header), and optionally ``dataset.json``,
whose ``"shared_ids": true`` says that queries are documents of the same ids. *Pairs* are any file of records
with two columns of text and one of scores; *labelled texts* any with a text and a label.

A known set is a table of ``datasets.toml``. Its files are found by SHA-256 in the folders of ``UMEKOMI_ASSET_PATH``; Umekomi
fetches no data set.
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
from ..data.readers.templates import Template, template_for
from ..data.readers.text_file import read_lines
from ..data.records import open_records
from ..errors import AssetMissingError, InputError, RecordError
from ..files.outputs import write_text
from ..settings import Settings, current


class DataKind(StrEnum):
    """What a set measures."""

    RETRIEVAL = "retrieval"
    STS = "sts"
    CLASSIFICATION = "classification"
    BIAS = "bias"


@dataclass(frozen=True, slots=True)
class KnownSet:
    """A public set. ``splits`` names what each of ``files`` is; ``template`` and ``label`` are a labelled set's columns."""

    name: str
    kind: DataKind
    title: str
    rows: str
    licence: str
    source: str
    files: tuple[Asset, ...]
    splits: tuple[str, ...]
    template: str = ""
    label: str = ""


@dataclass(frozen=True, slots=True)
class RetrievalSet:
    """Documents and queries by id, and ``judgements``, ``{query: {document: relevance}}``. A document has its title in it.

    ``shared_ids`` says that a query's id is that of the document it was taken from, which is then no answer to it (ArguAna and
    Quora in BEIR). Otherwise equal ids mean nothing: Cranfield numbers its queries and its documents from 1.
    """

    name: str
    documents: Mapping[str, str]
    queries: Mapping[str, str]
    judgements: Mapping[str, Mapping[str, int]]
    shared_ids: bool = False

    def own_document(self, query: str) -> str | None:
        """The id of the document that the query was taken from, if the set says that it was taken from one."""
        return query if self.shared_ids and query in self.documents else None


@dataclass(frozen=True, slots=True)
class PairSet:
    """Pairs of texts with the scores that people gave them."""

    name: str
    left: tuple[str, ...]
    right: tuple[str, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class LabelledSet:
    """Texts with a label each."""

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]


@cache
def known_sets() -> Mapping[str, KnownSet]:
    """The sets of ``datasets.toml``, by name."""
    rows = tomllib.loads(resources.files(__package__).joinpath("datasets.toml").read_text("utf-8"))
    return {name: _known(name, row) for name, row in rows.items()}


def _known(name: str, row: Mapping[str, Any]) -> KnownSet:
    files = tuple(
        Asset(f"{name}-{one['split']}", one["file"], one["sha256"], one["size"], row["licence"], row["title"], ())
        for one in row["files"]
    )
    splits = tuple(one["split"] for one in row["files"])
    return KnownSet(name, **{**row, "kind": DataKind(row["kind"]), "files": files, "splits": splits})


def known_set(name: str) -> KnownSet:
    """One known set.

    Raises:
        InputError: no set has this name.
    """
    if name not in known_sets():
        raise InputError(
            f"{name} is neither a file or folder nor a known data set; known are {', '.join(known_sets())}."
        )
    return known_sets()[name]


def find_files(known: KnownSet, settings: Settings | None = None) -> dict[str, Path]:
    """Where the files of a set lie, by split; only those that are here."""
    store = AssetStore(settings or current())
    found = {split: store.find(asset) for split, asset in zip(known.splits, known.files, strict=True)}
    return {split: path for split, path in found.items() if path is not None}


def require_files(known: KnownSet, settings: Settings | None = None) -> dict[str, Path]:
    """Where all files of a set lie, by split.

    Raises:
        AssetMissingError: a file is not in the folders of ``UMEKOMI_ASSET_PATH``.
    """
    found = find_files(known, settings)
    missing = [asset.file for split, asset in zip(known.splits, known.files, strict=True) if split not in found]
    if missing:
        raise AssetMissingError(
            f"{known.name} is not on this machine: {', '.join(missing)} with the SHA-256 that `umekomi data list --json` "
            "shows is in no folder of UMEKOMI_ASSET_PATH. Umekomi fetches no data sets: get it from "
            f"{known.source} (licence: {known.licence}) and set UMEKOMI_ASSET_PATH to its folder."
        )
    return found


# ---------------------------------------------------------------- retrieval


def load_retrieval(where: str, *, split: str = "test", settings: Settings | None = None) -> RetrievalSet:
    """A folder in BEIR's layout, or a known set by its name.

    Raises:
        RecordError: a file is missing or is not of the layout.
        AssetMissingError: a known set's files are not here.
    """
    if Path(where).is_dir():
        return read_beir(Path(where), split=split)
    known = known_set(where)
    if known.name != "cranfield":
        raise InputError(f"{where} is a set for {known.kind}, not for retrieval.")
    files = require_files(known, settings)
    return read_cranfield(files["documents"], files["queries"], files["judgements"])


def read_beir(folder: Path, *, split: str = "test") -> RetrievalSet:
    """A folder in BEIR's layout (Thakur et al. 2021, arXiv:2104.08663).

    A document is its title, a space and its text. Queries without judgements in this split are left out.

    Raises:
        RecordError: a file is missing or malformed, or no query has a judgement.
    """
    documents = {
        row["_id"]: f"{row.get('title') or ''} {row.get('text') or ''}".strip()
        for row in _objects(folder / "corpus.jsonl")
    }
    queries = {row["_id"]: str(row.get("text") or "") for row in _objects(folder / "queries.jsonl")}
    judgements = _read_qrels(folder / "qrels", split)
    kept = {query: queries[query] for query in judgements if query in queries}
    if not kept:
        raise RecordError(f"No query of {folder / 'queries.jsonl'} has a judgement in {folder / 'qrels' / split}.tsv.")
    found = {query: judgements[query] for query in kept}
    return RetrievalSet(folder.name, documents, kept, found, shared_ids=_shared_ids(folder / "dataset.json"))


def _shared_ids(path: Path) -> bool:
    if not path.is_file():
        return False
    try:
        value = json.loads(path.read_text("utf-8")).get("shared_ids", False)
    except (ValueError, AttributeError) as error:
        raise RecordError(f"{path} is not a JSON object.") from error
    if not isinstance(value, bool):
        raise RecordError(f'"shared_ids" in {path} is {value!r}; it must be true or false.')
    return value


def _objects(path: Path) -> list[dict[str, Any]]:
    if not path.is_file():
        raise RecordError(
            f"There is no file {path}. A retrieval set is a folder with corpus.jsonl, queries.jsonl and qrels/test.tsv."
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
        others = ", ".join(sorted(place.stem for place in folder.glob("*.tsv"))) or "none"
        raise RecordError(f"There is no file {path}; the splits here are: {others}. Choose one with --split.")
    judgements: dict[str, dict[str, int]] = {}
    for number, line in enumerate(read_lines(path, "utf-8-sig", advice="It must be UTF-8."), start=1):
        cells = line.rstrip("\r\n").split("\t")
        # TREC's own files have four columns, the second without a meaning.
        cells = cells if len(cells) != 4 else [cells[0], *cells[2:]]
        if not line.strip() or (number == 1 and not cells[-1].strip().lstrip("-").isdigit()):
            continue
        try:
            query, document, relevance = cells
            judgements.setdefault(query, {})[document] = int(relevance)
        except ValueError as error:
            raise RecordError(
                f"Line {number} of {path} is not a query, a document and a whole number, with tabs between."
            ) from error
    return judgements


def write_beir(found: RetrievalSet, folder: Path, *, split: str = "test") -> list[Path]:
    """Write a retrieval set in BEIR's layout; the files that were written."""
    (folder / "qrels").mkdir(parents=True, exist_ok=True)
    paths = [folder / "corpus.jsonl", folder / "queries.jsonl", folder / "qrels" / f"{split}.tsv"]
    _write_lines(paths[0], [{"_id": key, "title": "", "text": text} for key, text in found.documents.items()])
    _write_lines(paths[1], [{"_id": key, "text": text} for key, text in found.queries.items()])
    lines = [
        f"{query}\t{document}\t{relevance}"
        for query, known in found.judgements.items()
        for document, relevance in known.items()
    ]
    write_text(paths[2], "\n".join(["query-id\tcorpus-id\tscore", *lines, ""]))
    paths.append(folder / "dataset.json")
    paths[3].write_text(json.dumps({"name": found.name, "shared_ids": found.shared_ids}) + "\n", "utf-8")
    return paths


def _write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_cranfield(documents: Path, queries: Path, judgements: Path) -> RetrievalSet:
    """Cranfield 2 from its three files: 1,399 documents (number 240 is missing from the published file, 471 and 995 are empty).

    A query's number in the judgements is its place in the file of queries. Codes run from 1, a complete answer, to 4, of
    slight interest: relevance is 5 minus the code. -1 means none. A document's text repeats its title, which is then taken once.
    """
    texts: dict[str, str] = {}
    for entry in re.split(r"^\.I\s+", documents.read_text("latin-1"), flags=re.MULTILINE)[1:]:
        number = str(int(entry.split(None, 1)[0]))
        fields = dict(re.findall(r"^\.([TW])\n(.*?)(?=^\.[TABW]\n|\Z)", entry, flags=re.MULTILINE | re.DOTALL))
        texts[number] = " ".join(f"{fields.get('T', '')} {fields.get('W', '')}".split())
    entries = re.split(r"^\.I\s+", queries.read_text("latin-1"), flags=re.MULTILINE)[1:]
    asked = {str(place): " ".join(entry.split(".W", 1)[1].split()) for place, entry in enumerate(entries, start=1)}
    known: dict[str, dict[str, int]] = {}
    for line in judgements.read_text("latin-1").splitlines():
        query, document, code = line.split()[:3]
        if 1 <= int(code) <= 4:
            known.setdefault(query, {})[document] = 5 - int(code)
    return RetrievalSet("cranfield", texts, {query: asked[query] for query in known}, known)


# ---------------------------------------------------------------- pairs and labels

SCORE_COLUMNS = ("score", "label", "similarity_score", "similarity")


def load_pairs(
    where: str,
    *,
    split: str | None = None,
    columns: tuple[str, str, str] | None = None,
    settings: Settings | None = None,
) -> PairSet:
    """Pairs with scores, of a CSV, TSV, JSON Lines or Parquet file, or a known set by its name.

    Args:
        where: a file, or the name of a known set.
        split: of a known set; by default its first.
        columns: of the two texts and the score; by default ``sentence1``, ``sentence2`` and ``score`` (or ``label``).

    Raises:
        RecordError: a column is not there, or a cell of it cannot be used.
        AssetMissingError: a known set's files are not here.
    """
    if where in known_sets() and not Path(where).exists():
        known = known_set(where)
        if known.kind is not DataKind.STS:
            raise InputError(f"{where} is a set for {known.kind}, not for sts.")
        chosen = split or known.splits[0]
        if chosen not in known.splits:
            raise InputError(f"{where} has no split {chosen!r}; it has {', '.join(known.splits)}.")
        path = require_files(known, settings)[chosen]
        return read_stsb(path, f"{where}-{chosen}") if where == "stsb" else read_pairs(path, name=f"{where}-{chosen}")
    if not Path(where).exists():
        known_set(where)
    return read_pairs(Path(where), columns=columns)


def read_pairs(path: Path, *, columns: tuple[str, str, str] | None = None, name: str = "") -> PairSet:
    """As :func:`load_pairs`, of a file."""
    records = open_records(path)
    there = records.schema.names
    score = next((column for column in SCORE_COLUMNS if column in there), "score")
    chosen = columns or ("sentence1", "sentence2", score)
    for column in chosen:
        if column not in there:
            raise RecordError(
                f"There is no column {column!r} in {path}; it has {', '.join(there)}. "
                "Name the two texts and the score with --columns first,second,score."
            )
    left, right, numbers = (_all_texts(records, Template.of_column(column)) for column in chosen)
    scores = [_number(text, row, path) for row, text in enumerate(numbers, start=1)]
    _require_texts((*left, *right), len(left), path)
    return PairSet(name or path.stem, left, right, tuple(scores))


def _require_texts(texts: tuple[str, ...], n_rows: int, path: Path) -> None:
    empty = next((place for place, text in enumerate(texts) if not text.strip()), None)
    if empty is not None:
        raise RecordError(f"Row {empty % n_rows + 1} of {path} has no text.")


def _all_texts(records: Records, template: Template) -> tuple[str, ...]:
    return tuple(text for _, texts in records.with_texts(template, 4096) for text in texts)


def _number(cell: str, row: int, path: Path) -> float:
    try:
        number = float(cell)
        if not math.isfinite(number):
            raise ValueError(cell)
        return number
    except ValueError as error:
        raise RecordError(f"Row {row} of {path} has {cell!r} for a score, which is not a number.") from error


def read_stsb(path: Path, name: str) -> PairSet:
    """A file of the STS benchmark as it was published: tabs, no header, nothing quoted, sometimes a source at the end."""
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream, delimiter="\t", quoting=csv.QUOTE_NONE))
    return PairSet(
        name, tuple(row[5] for row in rows), tuple(row[6] for row in rows), tuple(float(row[4]) for row in rows)
    )


def write_pairs(found: PairSet, path: Path) -> Path:
    """Write pairs as JSON Lines with ``sentence1``, ``sentence2`` and ``score``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = zip(found.left, found.right, found.scores, strict=True)
    _write_lines(path, [{"sentence1": left, "sentence2": right, "score": score} for left, right, score in rows])
    return path


def load_labelled(
    where: str, *, template: str | None = None, label: str | None = None, settings: Settings | None = None
) -> LabelledSet:
    """Texts with labels, of a file of records, or a known set by its name.

    Raises:
        RecordError: a column is not there, a text is empty, or there is no label.
        AssetMissingError: a known set's files are not here.
    """
    path = Path(where)
    if not path.exists():
        known = known_set(where)
        if known.kind is not DataKind.CLASSIFICATION:
            raise InputError(f"{where} is a set for {known.kind}, not for classification.")
        path = require_files(known, settings)[known.splits[0]]
        template, label = template or known.template, label or known.label
    records = open_records(path)
    maker = template_for(records.schema.names, template)
    column = label or "label"
    if column not in records.schema.names:
        raise RecordError(f"There is no column {column!r} in {path}; name the labels' with --label.")
    texts = _all_texts(records, maker)
    labels = _all_texts(records, Template.of_column(column))
    _require_texts(texts, len(texts), path)
    missing = next((row for row, label in enumerate(labels, start=1) if not label), None)
    if missing is not None:
        raise RecordError(f"Row {missing} of {path} has no {column}.")
    return LabelledSet(where if path != Path(where) else path.stem, texts, labels)
