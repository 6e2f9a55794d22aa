"""What docs/code-search.md says of code search: how well it finds, and how fast it is.

    python benchmarks/code.py quality [--limit 2500] [--model MODEL]
    python benchmarks/code.py speed [FOLDER] [--files N] [--model MODEL]

``quality`` fetches three packages from PyPI (source only, nothing is installed), takes the docstrings out of their functions
and asks for each function by its docstring's first paragraph, as `umekomi evaluate code` does. ``speed`` indexes a folder of
source (by default Python's own library) in a scratch folder, changes one file, and asks; run it on a machine that does nothing
else.
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
from umekomi.codesearch.search import CodeIndex, query_model
from umekomi.evaluation.bm25 import Bm25
from umekomi.evaluation.code_search import find_functions, first_paragraph
from umekomi.vectors.arithmetic import FloatArray, compose

PACKAGES = ("scikit-learn==1.9.1", "fastembed==0.9.1", "lancedb==0.40.0")
QUESTIONS = ("completions API tests", "fine-tuning input data validation logic", "find common suffix")
WHOLE = 1 << 30


def fetch(folder: Path) -> None:
    """The Python source of the packages, a folder each."""
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


def functions(folder: Path, limit: int) -> list[Chunk]:
    """Functions with docstrings, no two with the same docstring or the same code, drawn at random with seed 0."""
    kept: dict[str, Chunk] = {}
    for _, chunk in find_functions(folder):
        kept.setdefault(first_paragraph(chunk.doc), chunk)
    chunks = list({chunk.code: chunk for chunk in kept.values()}.values())
    return random.Random(0).sample(chunks, min(limit, len(chunks)))


def scores(similarities: np.ndarray) -> tuple[float, float, float]:
    """MRR, recall@1 and recall@10 where the right answer of question i is function i; of equal scores the mean rank."""
    own = similarities.diagonal()[:, None]
    rank = 1 + (similarities > own).sum(1) + ((similarities == own).sum(1) - 1) / 2
    return float((1 / rank).mean()), float((rank <= 1).mean()), float((rank <= 10).mean())


class Texts:
    """The pieces of each function under one recipe, embedded by each part of the model."""

    def __init__(self, chunks: Sequence[Chunk], recipe: TextOptions, embedder: Embedder) -> None:
        pieces = [format_pieces(chunk, recipe) for chunk in chunks]
        self.owners = np.array([place for place, texts in enumerate(pieces) for _ in texts])
        self.texts = [text for texts in pieces for text in texts]
        self.parts = [encoder.encode(self.texts, role=Role.DOCUMENT) for encoder in embedder._encoders]

    def best(
        self, questions: Sequence[FloatArray], places: Sequence[int], weights: Sequence[float], *, heads: bool = False
    ) -> np.ndarray:
        """``(questions, functions)``: the cosine of the best piece of each function, or of its first."""
        asked = compose([questions[place] for place in places], weights)
        held = compose([self.parts[place] for place in places], weights)
        if heads:
            return asked @ held[np.unique(self.owners, return_index=True)[1]].T
        found = np.full((len(asked), int(self.owners.max()) + 1), -2.0)
        np.maximum.at(found.T, self.owners, (asked @ held.T).T)
        return found


def quality(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        fetch(Path(scratch))
        chunks = functions(Path(scratch, "source"), arguments.limit)
    documents, asking = Embedder(arguments.model), Embedder(query_model(arguments.model))
    names = [encoder.name for encoder in documents._encoders]
    weights = [part.weight for part in documents.card.parts]
    queries = [first_paragraph(chunk.doc) for chunk in chunks]
    asked = [encoder.encode(queries, role=Role.QUERY) for encoder in asking._encoders]
    mini, every = [names.index("all-MiniLM-L6-v2")], list(range(len(names)))
    print(
        f"{', '.join(PACKAGES)}: {len(chunks):,} functions without their docstrings, asked for by the first paragraph of them\n"
    )
    print("| what is embedded | by | MRR | recall@1 | recall@10 |\n| --- | --- | ---: | ---: | ---: |")
    found: dict[tuple[str, str], float] = {}

    def row(text: str, by: str, similarities: np.ndarray) -> None:
        one = scores(similarities)
        found[text, by] = one[0]
        print(f"| {text} | {by} | " + " | ".join(f"{value:.3f}" for value in one) + " |", flush=True)

    def words(texts: Sequence[str]) -> np.ndarray:
        index = Bm25({str(place): text for place, text in enumerate(texts)})
        held = np.zeros((len(queries), len(texts)))
        for place, query in enumerate(queries):
            for name, score in index.search(query, k=len(texts)).items():
                held[place, int(name)] = score
        return held

    bare = TextOptions(name=False, doc=False, piece_chars=WHOLE)
    row("the whole code", "BM25", words([format_pieces(chunk, bare)[0] for chunk in chunks]))
    row(
        "name in words, the whole code",
        "BM25",
        words([format_pieces(chunk, replace(bare, name=True))[0] for chunk in chunks]),
    )
    models = [("all-MiniLM-L6-v2 alone", mini, [1.0]), (documents.model, every, weights)]
    if len(names) > 2:
        models.insert(1, ("the transformers", every[:-1], weights[:-1]))
    whole = Texts(chunks, bare, documents)
    for by, places, shares in models:
        row("the whole code", by, whole.best(asked, places, shares))
    pieces = Texts(chunks, TextOptions(doc=False), documents)
    for by, places, shares in models:
        row("name in words, first 600 characters", by, pieces.best(asked, places, shares, heads=True))
    for by, places, shares in models:
        row("name in words, each 600 characters: the index", by, pieces.best(asked, places, shares))
    ours = found["name in words, each 600 characters: the index", documents.model]
    print()
    for (text, by), value in found.items():
        if by != documents.model:
            print(f"{ours / value:.2f} × {by}, {text}")
    texts = Texts(chunks, TextOptions(), documents)
    left_in = scores(texts.best(asked, every, weights))
    print(f"With the docstrings left in: MRR {left_in[0]:.3f}, recall@1 {left_in[1]:.3f}, recall@10 {left_in[2]:.3f}")


def speed(arguments: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        source = Path(scratch, "source")
        shutil.copytree(arguments.folder, source, ignore=shutil.ignore_patterns("site-packages", "__pycache__"))
        if arguments.files:
            paths = sorted(source.rglob("*.py"))
            for path in set(paths) - set(random.Random(0).sample(paths, min(arguments.files, len(paths)))):
                path.unlink()
        folder = Path(scratch, ".umekomi")
        loaded = {model: Embedder(model) for model in {arguments.model, query_model(arguments.model)}}
        indexer = CodeIndexer(folder, embedder=loaded.__getitem__, model=arguments.model)
        lines = sum(path.read_bytes().count(b"\n") for path in source.rglob("*.py"))
        began = time.process_time()
        report, seconds = timed(lambda: indexer.update([source]))
        print(
            f"{arguments.folder}, {lines:,} lines of Python, {os.cpu_count()} cores: {report.files:,} files, "
            f"{report.functions:,} functions and methods, {report.chunks:,} chunks, "
            f"{report.embedded:,} texts in {seconds:.0f} s: "
            f"{60 * report.functions / seconds:,.0f} functions a minute"
        )
        cores = os.cpu_count() or 1
        busy = time.process_time() - began
        print(
            f"that took {busy:.0f} s of CPU: with {cores} cores to itself at most {60 * report.functions * cores / busy:,.0f} "
            "functions a minute"
        )
        changed = max(
            (path for path in source.rglob("*.py") if path.stat().st_size < 50_000),
            key=lambda path: path.stat().st_size,
        )
        changed.write_text(changed.read_text("utf-8") + "\n\ndef added_by_the_benchmark():\n    return 42\n", "utf-8")
        report, seconds = timed(indexer.update)
        print(
            f"one changed file ({report.changed}): {report.embedded} texts embedded, {report.reused} kept, {seconds:.2f} s"
        )
        changed.rename(changed.with_name("renamed_by_the_benchmark.py"))
        report, seconds = timed(indexer.update)
        print(
            f"one renamed file ({report.removed}): {report.embedded} texts embedded, {report.reused} kept, {seconds:.2f} s"
        )
        _, seconds = timed(indexer.update)
        print(f"nothing changed: {seconds:.2f} s")
        index = CodeIndex(folder, embedder=loaded.__getitem__)
        index.search("warm up")
        times = [timed(lambda query=query: index.search(query))[1] for query in QUESTIONS * 7]  # type: ignore[misc]
        times.sort()
        print(
            f"a query, warm: median {1000 * statistics.median(times):.0f} ms, slowest of {len(times)} {1000 * times[-1]:.0f} ms"
        )
        with_path = [timed(lambda: index.search("parse a date", paths=["*.py", "!test/"]))[1] for _ in range(5)]
        print(f"the same with --path: median {1000 * statistics.median(with_path):.0f} ms")


T = TypeVar("T")


def timed(call: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    return call(), time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["quality", "speed"])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(os.__file__).parent)
    parser.add_argument("--limit", type=int, default=2500, help="functions asked for")
    parser.add_argument(
        "--files", type=int, default=0, help="speed: no more files than this, drawn at random with seed 0"
    )
    parser.add_argument("--model", default=CODE_MODEL)
    arguments = parser.parse_args()
    quality(arguments) if arguments.what == "quality" else speed(arguments)


if __name__ == "__main__":
    main()
