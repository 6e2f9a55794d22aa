"""Code search, measured: from the first paragraph of a docstring to the function that it was taken out of.

This is CodeSearchNet's task (Husain et al. 2019, arXiv:1909.09436) over any Python package or folder: functions without their
docstrings are the documents, the docstrings' first paragraphs the queries. As there, a docstring of fewer than three words,
a function of fewer than three lines, names with double underscores and tests are left out. Functions with the same docstring
are all right answers to it.
"""

from __future__ import annotations

import importlib.util
import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..codesearch.parsing.chunks import Chunk, ChunkKind
from ..codesearch.parsing.python import parse_python
from ..codesearch.parsing.text import Recipe, piece_texts
from ..errors import InputError
from ..progress import Progress
from . import metrics
from .datasets import RetrievalDataset
from .metrics import Estimate, Run
from .retrieval import Pair, dense_run, mean_difference

DEPTH = 1000
"""How deep a ranking is looked through for the right function."""

_NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True, slots=True)
class CodeResult:
    """What code search came to. ``per_query`` is the reciprocal rank of each docstring's function."""

    model: str
    data: str
    functions: int
    queries: int
    mrr: Estimate
    recall_at_1: Estimate
    recall_at_10: Estimate
    per_query: dict[str, float]
    cut: int


def load_code(where: str, *, limit: int | None = None, seed: int = 0) -> RetrievalDataset:
    """The functions of an installed package, a folder or a file, and the docstrings that were taken out of them.

    Args:
        where: a path, or the name of an installed package, which is found and not run.
        limit: no more functions than this, drawn at random.
        seed: of the drawing.

    Raises:
        InputError: there is nothing of this name, or it has too few functions with docstrings.
    """
    root = _find(where)
    found = list(find_functions(root))
    if limit is not None and len(found) > limit:
        found = sorted(random.Random(seed).sample(found, limit), key=lambda one: one[0])  # noqa: S311 - no secret
    if len(found) < 2:
        raise InputError(
            f"{where} has {len(found)} Python functions with docstrings of three words or more; give a larger one."
        )
    documents: dict[str, str] = {}
    ids: dict[str, str] = {}
    right: dict[str, dict[str, int]] = defaultdict(dict)
    for name, chunk in found:
        name = ids.setdefault(chunk.code, name)
        documents[name] = as_indexed(chunk)
        right[first_paragraph(chunk.doc)][name] = 1
    queries = {f"doc:{next(iter(names))}": text for text, names in right.items()}
    judgments = {query: right[text] for query, text in queries.items()}
    return RetrievalDataset(where, documents, queries, judgments)


def first_paragraph(doc: str) -> str:
    """A docstring to its first empty line, on one line."""
    return " ".join(re.split(r"\n\s*\n", doc.strip(), maxsplit=1)[0].split())


def find_functions(root: Path) -> Iterator[tuple[str, Chunk]]:
    """The functions of a folder or file that have docstrings to ask by, each with a name of its own."""
    return ((name, chunk) for name, chunk in _functions(root) if _fit(chunk))


def as_indexed(chunk: Chunk) -> str:
    """A function without its docstring as `umekomi code index` embeds its first piece: its name in words, then its code.

    BM25 gets the same text; benchmarks/code.py says what it finds over whole functions.
    """
    return piece_texts(chunk, Recipe(doc=False, max_pieces=1))[0]


def evaluate_code(data: RetrievalDataset, pair: Pair, *, progress: Progress | None = None) -> CodeResult:
    """Embed functions and docstrings, and score the rankings."""
    pair.document.require_space(pair.query.fingerprint, where=pair.query.model)
    run, cut = dense_run(data, pair, k=DEPTH, progress=progress)
    return score_code(data, run, model=pair.name, cut=cut)


def score_code(data: RetrievalDataset, run: Run, *, model: str, cut: int = 0) -> CodeResult:
    """Score answers, whoever made them."""
    per_query = metrics.reciprocal_rank(data.judgments, run)
    first = [float(value == 1.0) for value in per_query.values()]
    ten = [float(value >= 0.1) for value in per_query.values()]
    return CodeResult(
        model=model,
        data=data.name,
        functions=len(data.documents),
        queries=len(per_query),
        mrr=metrics.mean(list(per_query.values())),
        recall_at_1=metrics.share(first),
        recall_at_10=metrics.share(ten),
        per_query=per_query,
        cut=cut,
    )


def compare_code(results: Sequence[CodeResult]) -> list[dict[str, Estimate]]:
    """How much better each result after the first is, by ``mrr``, on the same docstrings (paired bootstrap)."""
    return [
        {"mrr": mean_difference(results[0].per_query, other.per_query, comparisons=len(results) - 1)}
        for other in results[1:]
    ]


def _find(where: str) -> Path:
    if Path(where).exists():
        return Path(where)
    top, *rest = where.split(".") if _NAME.fullmatch(where) else [""]
    # Of a name without dots the package is found and not imported.
    spec = importlib.util.find_spec(top) if top else None
    places = [Path(place) for place in (spec.submodule_search_locations or [])] if spec else []
    if spec and spec.origin and not places and Path(spec.origin).suffix == ".py":
        places = [Path(spec.origin)]
    for place in places:
        for target in (place.joinpath(*rest), place.joinpath(*rest).with_suffix(".py")):
            if target.exists():
                return target
    raise InputError(f"There is neither a file, a folder nor an installed Python package {where}.")


def _functions(root: Path) -> Iterator[tuple[str, Chunk]]:
    files = [root] if root.is_file() else sorted(root.rglob("*.py"))
    for path in files:
        inside = path.relative_to(root) if root.is_dir() else Path(path.name)
        if any(part in ("test", "tests", "testing") or part.startswith("test_") for part in inside.parts):
            continue
        try:
            chunks = parse_python(path.read_text("utf-8", errors="replace"))
        except (SyntaxError, OSError):
            continue
        for chunk in chunks:
            if chunk.kind in (ChunkKind.FUNCTION, ChunkKind.METHOD):
                yield f"{inside.as_posix()}:{chunk.start}:{chunk.qualified}", chunk


def _fit(chunk: Chunk) -> bool:
    name = chunk.name
    if name.startswith("test") or (name.startswith("__") and name.endswith("__")):
        return False
    return len(first_paragraph(chunk.doc).split()) >= 3 and len(chunk.code.splitlines()) >= 3
