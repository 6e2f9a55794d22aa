"""What a change of a model's composition does on the development sets: the lab book of docs/models.md is printed by this.

    UMEKOMI_ASSET_PATH=../shared/data .venv/bin/python benchmarks/compositions.py -m text-embedding-ada-002 \
        -t lexical.power=1.0 -t "lexical.grams=0.0; lexical.k1=1.2" -t weight.lexical=0.4

Each ``-t`` is a trial: settings of the catalog that differ from what it ships. ``lexical.NAME``, ``all-MiniLM-L6-v2.NAME`` …
set an option of an encoder, ``weight.ENCODER`` its weight in the model, ``dims.ENCODER`` its dimensions in it (where it can have
several). The transformers' vectors are kept in build/parts, so that only what a trial changes is computed.
"""

from __future__ import annotations

import argparse
import csv
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from umekomi.catalog import Catalog, load_catalog
from umekomi.embedder import Embedder
from umekomi.evaluation.code_search import evaluate_code, load_code
from umekomi.evaluation.datasets import (
    PairDataset,
    RetrievalDataset,
    load_pairs,
    load_retrieval,
    public_dataset,
    require_files,
)
from umekomi.evaluation.part_vectors import PartVectors
from umekomi.evaluation.retrieval import evaluate_retrieval, evaluate_sts, load_search_models
from umekomi.settings import current

PARTS = Path("build/parts")


def news_titles() -> RetrievalDataset:
    """AG News: from a title to the description that it stood over."""
    (path,) = require_files(public_dataset("ag-news")).values()
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    documents = {str(place): row["description"] for place, row in enumerate(rows)}
    queries = {f"title {place}": row["title"] for place, row in enumerate(rows[:700])}
    return RetrievalDataset("AG News titles", documents, queries, {f"title {n}": {str(n): 1} for n in range(700)})


def changed(catalog: Catalog, model: str, trial: str) -> Catalog:
    """The catalog with the settings of one trial, in one model and its counterpart."""
    encoders, models = dict(catalog.encoders), dict(catalog.models)
    halves = [name for name in (model, catalog.models[model].pair) if name]
    for setting in filter(None, (part.strip() for part in trial.split(";"))):
        name, _, value = setting.partition("=")
        where, _, option = name.strip().rpartition(".")
        given = tomllib.loads(f"value = {value}")["value"]
        if where in ("weight", "dims"):
            for half in halves:
                models[half] = replace(
                    models[half],
                    parts=tuple(
                        part
                        if part.encoder != option
                        else replace(part, weight=given)
                        if where == "weight"
                        else replace(part, options={**part.options, "dims": given})
                        for part in models[half].parts
                    ),
                )
        else:
            encoders[where] = replace(encoders[where], options={**encoders[where].options, option: given})
    for half in halves:
        parts = models[half].parts
        dims = sum(part.options.get("dims", encoders[part.encoder].dims) for part in parts)
        models[half] = replace(models[half], dimensions=dims)
    return replace(catalog, encoders=encoders, models=models)


def measure(
    load: Callable[[str], Embedder], model: str, sets: Mapping[str, RetrievalDataset | PairDataset]
) -> list[float]:
    """One figure a set, in their order."""
    pair = load_search_models(model, load)
    found = []
    for data in sets.values():
        if not isinstance(data, RetrievalDataset):
            found.append(evaluate_sts(data, pair.document).spearman.value)
        elif data.name.startswith("cranfield"):
            found.append(evaluate_retrieval(data, pair).ndcg_at_10.value)
        else:
            found.append(evaluate_code(data, pair).mrr.value)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="text-embedding-ada-002")
    parser.add_argument("-t", "--trial", action="append", default=[], help="settings with semicolons between")
    parser.add_argument("--sets", default="cranfield,news,stsb,jsts,sklearn,fsspec")
    asked = parser.parse_args()
    makers: dict[str, Callable[[], RetrievalDataset | PairDataset]] = {
        "cranfield": lambda: load_retrieval("cranfield"),
        "news": news_titles,
        "stsb": lambda: load_pairs("stsb", split="dev"),
        "jsts": lambda: load_pairs("jsts"),
        "sklearn": lambda: load_code("sklearn", limit=500),
        "fsspec": lambda: load_code("fsspec", limit=500),
    }
    sets = {name: makers[name]() for name in asked.sets.split(",")}
    print(f"{asked.model}: Cranfield nDCG@10, AG News and code MRR, STS-B dev and JSTS Spearman")
    print("| tried | " + " | ".join(sets) + " |\n| --- |" + " ---: |" * len(sets))
    for trial in ["", *asked.trial]:
        catalog = changed(load_catalog(), asked.model, trial)
        load = PartVectors(PARTS, settings=current(), catalog=catalog).load
        figures = measure(load, asked.model, sets)
        print(f"| {trial or 'as shipped'} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |", flush=True)


if __name__ == "__main__":
    main()
