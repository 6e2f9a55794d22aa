"""Evaluation of code search: finding a function by the first paragraph of its docstring.

This is the task of CodeSearchNet (Husain et al. 2019, arXiv:1909.09436) on any Python package or folder. The documents are
functions without their docstrings, and the queries are the first paragraphs of the docstrings. As in CodeSearchNet, docstrings of
fewer than three words, functions of fewer than three lines, names with double underscores and tests are excluded. If several
functions have the same docstring, all of them are relevant.
"""

from __future__ import annotations

import importlib.util
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..codesearch.parsing.chunks import Chunk, ChunkType
from ..codesearch.parsing.python import parse_python
from ..codesearch.parsing.text import TextOptions, format_pieces
from ..errors import InputError
from ..progress import Progress
from . import metrics
from .datasets import RetrievalDataset
from .metrics import Estimate, Run
from .retrieval import SearchModels, dense_run, mean_difference

DEPTH = 1000
"""Number of results in which the relevant function is looked for."""

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class CodeResult:
    """The result of evaluating code search with one model on one package or folder."""

    model: str
    data: str
    functions: int
    queries: int
    mrr: Estimate
    recall_at_1: Estimate
    recall_at_10: Estimate
    #: Reciprocal rank of the first relevant function for each query.
    per_query: dict[str, float]
    #: Number of texts that were truncated to the model's maximum length.
    cut: int


def load_code(source: str, *, limit: int | None = None, seed: int = 0) -> RetrievalDataset:
    """Load the functions of an installed package, a folder or a file, with their docstrings as queries.

    Args:
        source: Path, or name of an installed package, which is located without importing it.
        limit: Maximum number of functions, which are then sampled at random.
        seed: Seed of the sample.

    Raises:
        InputError: The source does not exist, or contains too few functions with docstrings.
    """
    functions = list(find_functions(_locate(source)))
    if limit is not None and len(functions) > limit:
        functions = sorted(random.Random(seed).sample(functions, limit), key=lambda item: item[0])  # noqa: S311 - no secret
    if len(functions) < 2:
        raise InputError(
            f"{source} contains {len(functions)} Python functions with docstrings of three words or more. "
            "Choose a larger package."
        )
    documents: dict[str, str] = {}
    ids: dict[str, str] = {}
    relevant: dict[str, dict[str, int]] = defaultdict(dict)
    for name, chunk in functions:
        name = ids.setdefault(chunk.code, name)
        documents[name] = as_indexed(chunk)
        relevant[first_paragraph(chunk.doc)][name] = 1
    queries = {f"doc:{next(iter(names))}": text for text, names in relevant.items()}
    judgments = {query: relevant[text] for query, text in queries.items()}
    return RetrievalDataset(source, documents, queries, judgments)


def first_paragraph(doc: str) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join(re.split(r"\n\s*\n", doc.strip(), maxsplit=1)[0].split())


def find_functions(root: Path) -> Iterator[tuple[str, Chunk]]:
    """Return the functions of a folder or file with usable docstrings, each with a unique name."""
    return ((name, chunk) for name, chunk in _iterate_functions(root) if _is_usable(chunk))


def as_indexed(chunk: Chunk) -> str:
    """Return a function as `umekomi code index` embeds its first piece: its name in words, then its code without the docstring.

    BM25 searches the same text. benchmarks/code.py measures BM25 on whole functions.
    """
    return format_pieces(chunk, TextOptions(doc=False, max_pieces=1))[0]


def evaluate_code(data: RetrievalDataset, models: SearchModels, *, progress: Progress | None = None) -> CodeResult:
    """Embed functions and docstrings, and score the rankings."""
    models.document.require_space(models.query.fingerprint, where=models.query.model)
    run, cut = dense_run(data, models, k=DEPTH, progress=progress)
    return score_code(data, run, model=models.name, cut=cut)


def score_code(data: RetrievalDataset, run: Run, *, model: str, cut: int = 0) -> CodeResult:
    """Score a run, which any system may have produced."""
    per_query = metrics.reciprocal_rank(data.judgments, run)
    in_first = [value == 1.0 for value in per_query.values()]
    in_ten = [value >= 0.1 for value in per_query.values()]
    return CodeResult(
        model=model,
        data=data.name,
        functions=len(data.documents),
        queries=len(per_query),
        mrr=metrics.mean(list(per_query.values())),
        recall_at_1=metrics.share(in_first),
        recall_at_10=metrics.share(in_ten),
        per_query=per_query,
        cut=cut,
    )


def compare_code(results: Sequence[CodeResult]) -> list[dict[str, Estimate]]:
    """Return the difference in ``mrr`` from the first result to each other one (paired bootstrap)."""
    return [
        {"mrr": mean_difference(results[0].per_query, other.per_query, comparisons=len(results) - 1)}
        for other in results[1:]
    ]


def _locate(source: str) -> Path:
    if Path(source).exists():
        return Path(source)
    top, *rest = source.split(".") if _NAME.fullmatch(source) else [""]
    # find_spec does not import a top-level package.
    spec = importlib.util.find_spec(top) if top else None
    locations = [Path(location) for location in (spec.submodule_search_locations or [])] if spec else []
    if spec and spec.origin and not locations and Path(spec.origin).suffix == ".py":
        locations = [Path(spec.origin)]
    for location in locations:
        for path in (location.joinpath(*rest), location.joinpath(*rest).with_suffix(".py")):
            if path.exists():
                return path
    raise InputError(f"{source} is neither a file, a folder nor an installed Python package.")


def _iterate_functions(root: Path) -> Iterator[tuple[str, Chunk]]:
    files = [root] if root.is_file() else sorted(root.rglob("*.py"))
    for path in files:
        relative = path.relative_to(root) if root.is_dir() else Path(path.name)
        if any(part in ("test", "tests", "testing") or part.startswith("test_") for part in relative.parts):
            continue
        try:
            chunks = parse_python(path.read_text("utf-8", errors="replace"))
        except (SyntaxError, OSError):
            continue
        for chunk in chunks:
            if chunk.type in (ChunkType.FUNCTION, ChunkType.METHOD):
                yield f"{relative.as_posix()}:{chunk.start}:{chunk.qualified}", chunk


def _is_usable(chunk: Chunk) -> bool:
    name = chunk.name
    if name.startswith("test") or (name.startswith("__") and name.endswith("__")):
        return False
    return len(first_paragraph(chunk.doc).split()) >= 3 and len(chunk.code.splitlines()) >= 3
