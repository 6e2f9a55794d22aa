"""``umekomi bias recency``."""

from __future__ import annotations

from dataclasses import asdict

import click

from .....bias.recency import probe_terms, run_recency
from .....catalog import NOT_OPENAI, load_catalog
from .....vectors.matrices import base_model
from ....options import json_option, measure_models, models_option
from ....output import echo, echo_err, print_json, print_table

MAX_TERMS_SHOWN = 5


@click.command("recency", epilog="Example:  umekomi bias recency -m text-embedding-ada-002")
@models_option
@json_option
def recency(models: tuple[str, ...], as_json: bool) -> None:
    """Measure how models handle words that are newer than their training data.

    Each of 45 dated terms is compared with the meanings of all terms: how often is its own meaning the nearest?
    """
    results = list(
        measure_models(
            models,
            2 * len(probe_terms()),
            lambda embedder, advance: run_recency(embedder, knowledge=knowledge_of(embedder.model), progress=advance),
        )
    )
    if as_json:
        print_json([asdict(result) for result in results])
        return
    for result in results:
        if result.knowledge:
            echo(f"{result.model}: training data until: {'; '.join(result.knowledge)}\n")
        rows = [
            [period.label, str(period.terms), f"{period.first:.3f}", f"{period.mrr:.3f}"] for period in result.periods
        ]
        print_table([f"{result.model}: terms", "number", "own meaning nearest", "mean 1/rank"], rows)
        confused = [term for term in result.terms if term.rank > 1][-MAX_TERMS_SHOWN:]
        if confused:
            examples = "; ".join(f"{term.term} (nearest: {term.nearest})" for term in confused)
            echo(f"\nNewest terms that are confused with others:  {examples}\n")
    echo_err(
        f"Chance is 1 in {len(probe_terms())}. The meaning of new terms that consist of old words can be guessed. {NOT_OPENAI}"
    )


def knowledge_of(model: str) -> list[str]:
    """Return the date until which the training data of each encoder of a model reach."""
    catalog = load_catalog()
    base = base_model(model)
    if base not in catalog.models:
        return []
    encoders = [catalog.encoders[part.encoder] for part in catalog.model(base).parts]
    return [f"{encoder.name} {encoder.knowledge}" for encoder in encoders if encoder.knowledge]
