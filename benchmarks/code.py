"""Quality and speed of code search, for docs/code-search.md.

    python benchmarks/code.py quality [--limit 2500] [--model MODEL]
    python benchmarks/code.py speed [FOLDER] [--files N] [--model MODEL]

``quality`` downloads three packages from PyPI without installing them, removes the docstrings of their functions, and searches
for each function by the first paragraph of its docstring, like `umekomi evaluate code`. ``speed`` indexes a copy of a source
folder (by default Python's standard library), changes one file, updates the index, and searches. Run it on an idle machine.
"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from umekomi import Embedder, Role
from umekomi.codesearch.index import CODE_MODEL, CodeIndexer
from umekomi.codesearch.parsing.chunks import Chunk
from umekomi.codesearch.parsing.text import TextOptions, format_pieces
from umekomi.codesearch.search import CodeIndex, get_query_model
from umekomi.evaluation.bm25 import Bm25
from umekomi.evaluation.code_search import find_functions, first_paragraph
from umekomi.vectors.arithmetic import FloatArray, compose

PACKAGES = ("scikit-learn==1.9.1", "fastembed==0.9.1", "lancedb==0.40.0")
QUERIES = ("completions API tests", "fine-tuning input data validation logic", "find common suffix")
UNLIMITED = 1 << 30


def download(folder: Path) -> None:
    """Download the packages and unpack their Python files."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--quiet",
        "--no-deps",
        "--dest",
        str(folder / "wheels"),
        *PACKAGES,
    ]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
    for wheel in sorted((folder / "wheels").glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder / "source", [name for name in archive.namelist() if name.endswith(".py")])


def sample_functions(folder: Path, limit: int) -> list[Chunk]:
    """Return a random sample (seed 0) of functions with docstrings, without duplicate docstrings or duplicate code."""
    by_docstring: dict[str, Chunk] = {}
    for _, chunk in find_functions(folder):
        by_docstring.setdefault(first_paragraph(chunk.doc), chunk)
    chunks = list({chunk.code: chunk for chunk in by_docstring.values()}.values())
    return random.Random(0).sample(chunks, min(limit, len(chunks)))


def compute_scores(similarities: np.ndarray) -> tuple[float, float, float]:
    """Return MRR, recall@1 and recall@10 if function i is the correct result of query i. Ties get their mean rank."""
    own = similarities.diagonal()[:, None]
    rank = 1 + (similarities > own).sum(1) + ((similarities == own).sum(1) - 1) / 2
    return float((1 / rank).mean()), float((rank <= 1).mean()), float((rank <= 10).mean())


class Texts:
    """The pieces of each function for some text options, embedded by each part of the model."""

    def __init__(self, chunks: Sequence[Chunk], options: TextOptions, embedder: Embedder) -> None:
        pieces = [format_pieces(chunk, options) for chunk in chunks]
        self.functions = np.array([index for index, texts in enumerate(pieces) for _ in texts])
        self.texts = [text for texts in pieces for text in texts]
        self.parts = [encoder.encode(self.texts, role=Role.DOCUMENT) for encoder in embedder._encoders]

    def best(
        self, queries: Sequence[FloatArray], parts: Sequence[int], weights: Sequence[float], *, first_only: bool = False
    ) -> np.ndarray:
        """Return the maximum cosine of each function's pieces, or that of its first piece: ``(queries, functions)``."""
        query_vectors = compose([queries[part] for part in parts], weights)
        vectors = compose([self.parts[part] for part in parts], weights)
        if first_only:
            return query_vectors @ vectors[np.unique(self.functions, return_index=True)[1]].T
        cosines = np.full((len(query_vectors), int(self.functions.max()) + 1), -2.0)
        np.maximum.at(cosines.T, self.functions, (query_vectors @ vectors.T).T)
        return cosines


def quality(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        download(Path(scratch))
        chunks = sample_functions(Path(scratch, "source"), arguments.limit)
    document_embedder, query_embedder = Embedder(arguments.model), Embedder(get_query_model(arguments.model))
    names = [encoder.name for encoder in document_embedder._encoders]
    weights = [part.weight for part in document_embedder.card.parts]
    queries = [first_paragraph(chunk.doc) for chunk in chunks]
    query_vectors = [encoder.encode(queries, role=Role.QUERY) for encoder in query_embedder._encoders]
    minilm, all_parts = [names.index("all-MiniLM-L6-v2")], list(range(len(names)))
    print(
        f"{', '.join(PACKAGES)}: {len(chunks):,} functions without docstrings; queries: first paragraphs of docstrings\n"
    )
    print("| embedded text | model | MRR | recall@1 | recall@10 |\n| --- | --- | ---: | ---: | ---: |")
    mrr: dict[tuple[str, str], float] = {}

    def print_row(text: str, model: str, similarities: np.ndarray) -> None:
        metrics = compute_scores(similarities)
        mrr[text, model] = metrics[0]
        print(f"| {text} | {model} | " + " | ".join(f"{value:.3f}" for value in metrics) + " |", flush=True)

    def score_with_bm25(texts: Sequence[str]) -> np.ndarray:
        index = Bm25({str(number): text for number, text in enumerate(texts)})
        scores = np.zeros((len(queries), len(texts)))
        for row, query in enumerate(queries):
            for name, score in index.search(query, k=len(texts)).items():
                scores[row, int(name)] = score
        return scores

    bare = TextOptions(name=False, doc=False, piece_chars=UNLIMITED)
    print_row("the whole code", "BM25", score_with_bm25([format_pieces(chunk, bare)[0] for chunk in chunks]))
    print_row(
        "name in words, the whole code",
        "BM25",
        score_with_bm25([format_pieces(chunk, replace(bare, name=True))[0] for chunk in chunks]),
    )
    models = [("all-MiniLM-L6-v2 alone", minilm, [1.0]), (document_embedder.model, all_parts, weights)]
    if len(names) > 2:
        models.insert(1, ("the transformers", all_parts[:-1], weights[:-1]))
    whole_code = Texts(chunks, bare, document_embedder)
    for model, parts, part_weights in models:
        print_row("the whole code", model, whole_code.best(query_vectors, parts, part_weights))
    pieces = Texts(chunks, TextOptions(doc=False), document_embedder)
    for model, parts, part_weights in models:
        print_row(
            "name in words, first 600 characters",
            model,
            pieces.best(query_vectors, parts, part_weights, first_only=True),
        )
    for model, parts, part_weights in models:
        print_row(
            "name in words, each 600 characters: the index", model, pieces.best(query_vectors, parts, part_weights)
        )
    index_mrr = mrr["name in words, each 600 characters: the index", document_embedder.model]
    print()
    for (text, model), value in mrr.items():
        if model != document_embedder.model:
            print(f"{index_mrr / value:.2f} × {model}, {text}")
    texts = Texts(chunks, TextOptions(), document_embedder)
    with_docstrings = compute_scores(texts.best(query_vectors, all_parts, weights))
    print("With the docstrings: MRR {:.3f}, recall@1 {:.3f}, recall@10 {:.3f}".format(*with_docstrings))


def speed(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        shutil.copytree(arguments.folder, source, ignore=shutil.ignore_patterns("site-packages", "__pycache__"))
        if arguments.files:
            paths = sorted(source.rglob("*.py"))
            for path in set(paths) - set(random.Random(0).sample(paths, min(arguments.files, len(paths)))):
                path.unlink()
        folder = Path(scratch, ".umekomi")
        loaded = {model: Embedder(model) for model in {arguments.model, get_query_model(arguments.model)}}
        indexer = CodeIndexer(folder, embedder=loaded.__getitem__, model=arguments.model)
        lines = sum(path.read_bytes().count(b"\n") for path in source.rglob("*.py"))
        cpu_start = time.process_time()
        report, seconds = timed(lambda: indexer.update([source]))
        print(
            f"{arguments.folder}, {lines:,} lines of Python, {os.cpu_count()} cores: {report.files:,} files, "
            f"{report.functions:,} functions and methods, {report.chunks:,} chunks, "
            f"{report.embedded:,} texts in {seconds:.0f} s: "
            f"{60 * report.functions / seconds:,.0f} functions per minute"
        )
        cores = os.cpu_count() or 1
        cpu_seconds = time.process_time() - cpu_start
        print(
            f"CPU time {cpu_seconds:.0f} s: at most {60 * report.functions * cores / cpu_seconds:,.0f} functions per minute "
            f"on {cores} idle cores"
        )
        changed = max(
            (path for path in source.rglob("*.py") if path.stat().st_size < 50_000),
            key=lambda path: path.stat().st_size,
        )
        changed.write_text(changed.read_text("utf-8") + "\n\ndef added_by_the_benchmark():\n    return 42\n", "utf-8")
        report, seconds = timed(indexer.update)
        print(
            f"one changed file ({report.changed}): {report.embedded} texts embedded, {report.reused} reused, {seconds:.2f} s"
        )
        changed.rename(changed.with_name("renamed_by_the_benchmark.py"))
        report, seconds = timed(indexer.update)
        print(
            f"one renamed file ({report.removed}): {report.embedded} texts embedded, {report.reused} reused, {seconds:.2f} s"
        )
        _, seconds = timed(indexer.update)
        print(f"nothing changed: {seconds:.2f} s")
        index = CodeIndex(folder, embedder=loaded.__getitem__)
        index.search("warm up")
        times = [timed(lambda query=query: index.search(query))[1] for query in QUERIES * 7]  # type: ignore[misc]
        times.sort()
        print(
            f"query after warm-up: median {1000 * statistics.median(times):.0f} ms, "
            f"maximum of {len(times)} {1000 * times[-1]:.0f} ms"
        )
        with_path = [timed(lambda: index.search("parse a date", paths=["*.py", "!test/"]))[1] for _ in range(5)]
        print(f"query with --path: median {1000 * statistics.median(with_path):.0f} ms")


T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    start = time.perf_counter()
    return call(), time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark", choices=["quality", "speed"])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(os.__file__).parent)
    parser.add_argument("--limit", type=int, default=2500, help="number of functions")
    parser.add_argument(
        "--files", type=int, default=0, help="speed: maximum number of files, drawn at random with seed 0"
    )
    parser.add_argument("--model", default=CODE_MODEL)
    arguments = parser.parse_args()
    quality(arguments) if arguments.benchmark == "quality" else speed(arguments)


if __name__ == "__main__":
    main()
