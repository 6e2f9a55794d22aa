"""``umekomi models table``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import click

from ...catalog import NOT_OPENAI, Catalog, load_catalog
from ...embedder import Embedder
from ...errors import AssetError, InputError
from ...evaluation.code_search import load_code
from ...evaluation.datasets import load_labeled, load_pairs, load_retrieval
from ...evaluation.model_card import card_facts
from ...evaluation.model_table import (
    EvaluationSets,
    ModelFigures,
    ModelRow,
    markdown,
    measure,
    spread,
    table_rows,
    texts_per_second,
)
from ...evaluation.part_vectors import PartVectors
from ...settings import current
from ..output import echo, echo_err, print_json, progress_bar

Found = TypeVar("Found")


@click.command(
    "table", epilog="Example:  UMEKOMI_ASSET_PATH=~/data umekomi models table --measure -m text-embedding-ada-002"
)
@click.option("-m", "--model", "models", multiple=True, help="Only these models (by default all).")
@click.option("--measure", "measured", is_flag=True, help="Add what the models do on this machine: speed and quality.")
@click.option(
    "--texts",
    "n_texts",
    type=click.IntRange(min=0),
    default=200,
    show_default=True,
    help="Reviews (or --sample's lines) that the speed is measured on; 0 leaves it out.",
)
@click.option(
    "--sample", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Texts for the speed, one a line."
)
@click.option("--retrieval", default="cranfield", show_default=True, help="A set in BEIR's layout, or a known one.")
@click.option("--english", default="stsb", show_default=True, help="Pairs with people's scores, or a known set.")
@click.option("--japanese", default="jsts", show_default=True, help="The same in Japanese.")
@click.option("--code", default="click", show_default=True, help="A Python package or folder: docstrings to functions.")
@click.option(
    "--vectors",
    "folder",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where the parts' vectors are kept; by default part-vectors in the cache. It may be deleted.",
)
@click.option("--json", "as_json", is_flag=True, help="All figures, with their 95 % intervals.")
def table(
    models: tuple[str, ...],
    measured: bool,
    n_texts: int,
    sample: Path | None,
    retrieval: str,
    english: str,
    japanese: str,
    code: str,
    folder: Path | None,
    as_json: bool,
) -> None:
    """The table of docs/models.md in Markdown: the hosted models beside what ours are made of.

    With --measure: texts a second, nDCG@10 of Cranfield, Spearman of the STS benchmark's development set and of JSTS, and the
    mean reciprocal rank of docstring to function. The models share a few encoders, and what one of them has made of a text is
    kept: a run that was cut goes on where it was, and after a change of weights the next takes seconds. The two halves of a
    pair are measured together. A set that is not on this machine leaves its column empty.
    """
    catalog = load_catalog()
    rows = _rows(catalog, models)
    figures: list[ModelFigures] | None = None
    sets = EvaluationSets()
    if measured:
        sets = EvaluationSets(
            retrieval=_unless_missing(lambda: load_retrieval(retrieval)),
            english=_unless_missing(lambda: load_pairs(english)),
            japanese=_unless_missing(lambda: load_pairs(japanese)),
            code=load_code(code),
        )
        texts = spread(_texts(sample), n_texts) if n_texts else []
        vectors = PartVectors(folder or current().cache / "part-vectors", settings=current(), catalog=catalog)
        figures = []
        for place, row in enumerate(rows, start=1):
            echo_err(f"{place} of {len(rows)}: {' / '.join(row.models)}")
            figures.append(_figures(row, sets, texts, vectors))
    if as_json:
        print_json([_as_json(row, figures[place] if figures else None) for place, row in enumerate(rows)])
        return
    echo(markdown(rows, figures, sets))
    echo_err(f"\n{NOT_OPENAI}")


def _rows(catalog: Catalog, models: tuple[str, ...]) -> list[ModelRow]:
    if not models:
        return table_rows(catalog)
    wanted = {catalog.model(model).id for model in models}
    return [row for row in table_rows(catalog, hidden=True) if wanted.intersection(row.models)]


def _figures(row: ModelRow, sets: EvaluationSets, texts: list[str], vectors: PartVectors) -> ModelFigures:
    speed = None
    if texts:
        # Not one whose vectors are kept.
        with progress_bar(f"{row.models[0]}, speed", len(texts)) as advance:
            speed = texts_per_second(Embedder(row.models[0], report=echo_err), texts, progress=advance)
    found = measure(row, sets, load=vectors.load, make_progress=progress_bar)
    return replace(found, texts_per_second=speed)


def _texts(sample: Path | None) -> list[str]:
    if sample is not None:
        lines = [line for line in sample.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        if not lines:
            raise InputError(f"{sample} holds no text.")
        return lines
    found = _unless_missing(lambda: load_labeled("fine-food-reviews"))
    return list(found.texts) if found else []


def _unless_missing(load: Callable[[], Found]) -> Found | None:
    """What is loaded; None, and a word about it, where a known set is not on this machine."""
    try:
        return load()
    except AssetError as error:
        echo_err(f"Left out: {error}")
        return None


def _as_json(row: ModelRow, figures: ModelFigures | None) -> dict[str, object]:
    facts = {"models": row.models, **card_facts(row.card), "parts": row.parts}
    return facts if figures is None else {**facts, "measured": asdict(figures)}
