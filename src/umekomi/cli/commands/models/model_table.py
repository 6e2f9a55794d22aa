"""``umekomi models table``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import TypeVar

import click

from ....catalog import NOT_OPENAI, Catalog, load_catalog
from ....errors import AssetError, InputError
from ....evaluation.code_search import load_code
from ....evaluation.datasets import load_labeled, load_pairs, load_retrieval
from ....evaluation.model_card import card_facts
from ....evaluation.model_table import (
    EvaluationSets,
    ModelFigures,
    ModelRow,
    markdown,
    measure,
    spread,
    table_rows,
    texts_per_second,
)
from ....evaluation.part_vectors import PartVectors
from ....settings import current
from ....vectors.matrices import base_model
from ...options import FOLDER, integer_option, json_option, load_embedder
from ...output import echo, echo_err, print_json, progress_bar

Data = TypeVar("Data")


@click.command(
    "table", epilog="Example:  UMEKOMI_ASSET_PATH=~/data umekomi models table --measure -m text-embedding-ada-002"
)
@click.option(
    "-m", "--model", "models", metavar="MODEL", multiple=True, help="List only this model. Default: all. Repeatable."
)
@click.option("--measure", "is_measured", is_flag=True, help="Add measurements on this machine: speed and quality.")
@integer_option(
    "--texts",
    "n_texts",
    minimum=0,
    default=200,
    help="Number of reviews (or lines of --sample) for the measurement of speed. 0 skips it.",
)
@click.option(
    "--sample",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="File of texts for the measurement of speed, one per line.",
)
@click.option("--retrieval", metavar="DATA", default="cranfield", show_default=True, help="Retrieval data set.")
@click.option("--english", metavar="DATA", default="stsb", show_default=True, help="Pairs with human scores.")
@click.option("--japanese", metavar="DATA", default="jsts", show_default=True, help="Japanese pairs with human scores.")
@click.option(
    "--code", metavar="PACKAGE|FOLDER", default="click", show_default=True, help="Python functions with docstrings."
)
@click.option(
    "--vectors",
    "folder",
    type=FOLDER,
    help="Cache of the parts' vectors. It can be deleted. Default: part-vectors in the cache folder.",
)
@json_option
def table(
    models: tuple[str, ...],
    is_measured: bool,
    n_texts: int,
    sample: Path | None,
    retrieval: str,
    english: str,
    japanese: str,
    code: str,
    folder: Path | None,
    as_json: bool,
) -> None:
    """Print the table of docs/models.md in Markdown: the hosted models next to the parts of Umekomi's models.

    --measure adds texts per second, nDCG@10 of retrieval, Spearman's correlation on the English and the Japanese pairs, and the
    mean reciprocal rank of code search. The models share a few encoders, whose vectors are cached: an interrupted run
    continues, and a run after a change of weights takes seconds. The two models of a pair are measured together. The column of
    a data set that is not on this machine is empty.
    """
    catalog = load_catalog()
    rows = _select_rows(catalog, models)
    figures: list[ModelFigures] | None = None
    sets = EvaluationSets()
    if is_measured:
        sets = EvaluationSets(
            retrieval=_load_if_available(lambda: load_retrieval(retrieval)),
            english=_load_if_available(lambda: load_pairs(english)),
            japanese=_load_if_available(lambda: load_pairs(japanese)),
            code=load_code(code),
        )
        texts = spread(_read_texts(sample), n_texts) if n_texts else []
        vectors = PartVectors(folder or current().cache / "part-vectors", settings=current(), catalog=catalog)
        figures = []
        for number, row in enumerate(rows, start=1):
            echo_err(f"{number} of {len(rows)}: {' / '.join(row.models)}")
            figures.append(_measure(row, sets, texts, vectors))
    if as_json:
        facts = [{"models": row.models, **card_facts(row.card), "parts": row.parts} for row in rows]
        for entry, measured in zip(facts, figures or (), strict=False):
            entry["measured"] = asdict(measured)
        print_json(facts)
        return
    echo(markdown(rows, figures, sets))
    echo_err(f"\n{NOT_OPENAI}")


def _select_rows(catalog: Catalog, models: tuple[str, ...]) -> list[ModelRow]:
    if not models:
        return table_rows(catalog)
    for model in models:
        if model != base_model(model):
            raise InputError(f"The table lists the models of the catalog. Use `umekomi evaluate` to measure {model}.")
    selected = {catalog.model(model).id for model in models}
    return [row for row in table_rows(catalog, hidden=True) if selected.intersection(row.models)]


def _measure(row: ModelRow, sets: EvaluationSets, texts: list[str], vectors: PartVectors) -> ModelFigures:
    speed = None
    if texts:
        # Speed is measured with a model whose vectors are not cached.
        embedder = load_embedder(row.models[0])
        with progress_bar(f"{row.models[0]}, speed", len(texts)) as advance:
            speed = texts_per_second(embedder, texts, progress=advance)
    figures = measure(row, sets, load=vectors.load, make_progress=progress_bar)
    return replace(figures, texts_per_second=speed)


def _read_texts(sample: Path | None) -> list[str]:
    if sample is not None:
        lines = [line for line in sample.read_text("utf-8", errors="replace").splitlines() if line.strip()]
        if not lines:
            raise InputError(f"{sample} contains no text.")
        return lines
    reviews = _load_if_available(lambda: load_labeled("fine-food-reviews"))
    return list(reviews.texts) if reviews else []


def _load_if_available(load: Callable[[], Data]) -> Data | None:
    """Return a data set, or None with a notice if it is not on this machine."""
    try:
        return load()
    except AssetError as error:
        echo_err(f"Skipped: {error}")
        return None
