"""Effect of changes to a model's composition on the development sets, for docs/lab/composition.md.

    UMEKOMI_ASSET_PATH=../shared/data .venv/bin/python benchmarks/compositions.py -m text-embedding-ada-002 \
        -t lexical.power=1.0 -t "lexical.grams=0.0; lexical.k1=1.2" -t weight.lexical=0.4

Each ``-t`` is a trial: settings that replace those of the catalog. ``lexical.NAME`` or ``all-MiniLM-L6-v2.NAME`` sets an option
of an encoder, ``weight.ENCODER`` its weight in the model, and ``dims.ENCODER`` its number of dimensions, if it supports several.
Vectors of transformers are cached in build/parts, so that each trial computes only what it changes.
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
    """Return AG News with titles as queries and their descriptions as documents."""
    (path,) = require_files(public_dataset("ag-news")).values()
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    documents = {str(index): row["description"] for index, row in enumerate(rows)}
    queries = {f"title {index}": row["title"] for index, row in enumerate(rows[:700])}
    return RetrievalDataset("AG News titles", documents, queries, {f"title {n}": {str(n): 1} for n in range(700)})


def change_catalog(catalog: Catalog, model: str, trial: str) -> Catalog:
    """Return the catalog with the settings of a trial applied to a model and its counterpart."""
    encoders, models = dict(catalog.encoders), dict(catalog.models)
    names = [name for name in (model, catalog.models[model].pair) if name]
    for setting in filter(None, (part.strip() for part in trial.split(";"))):
        key, _, text = setting.partition("=")
        target, _, option = key.strip().rpartition(".")
        value = tomllib.loads(f"value = {text}")["value"]
        if target in ("weight", "dims"):
            for model_name in names:
                models[model_name] = replace(
                    models[model_name],
                    parts=tuple(
                        part
                        if part.encoder != option
                        else replace(part, weight=value)
                        if target == "weight"
                        else replace(part, options={**part.options, "dims": value})
                        for part in models[model_name].parts
                    ),
                )
        else:
            encoders[target] = replace(encoders[target], options={**encoders[target].options, option: value})
    for model_name in names:
        parts = models[model_name].parts
        dims = sum(part.options.get("dims", encoders[part.encoder].dims) for part in parts)
        models[model_name] = replace(models[model_name], dimensions=dims)
    return replace(catalog, encoders=encoders, models=models)


def measure(
    load: Callable[[str], Embedder], model: str, sets: Mapping[str, RetrievalDataset | PairDataset]
) -> list[float]:
    """Return one figure per set."""
    pair = load_search_models(model, load)
    figures = []
    for data in sets.values():
        if not isinstance(data, RetrievalDataset):
            figures.append(evaluate_sts(data, pair.document).spearman.value)
        elif data.name.startswith("cranfield"):
            figures.append(evaluate_retrieval(data, pair).ndcg_at_10.value)
        else:
            figures.append(evaluate_code(data, pair).mrr.value)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", "--model", default="text-embedding-ada-002")
    parser.add_argument("-t", "--trial", action="append", default=[], help="settings, separated by semicolons")
    parser.add_argument("--sets", default="cranfield,news,stsb,jsts,sklearn,fsspec")
    options = parser.parse_args()
    loaders: dict[str, Callable[[], RetrievalDataset | PairDataset]] = {
        "cranfield": lambda: load_retrieval("cranfield"),
        "news": news_titles,
        "stsb": lambda: load_pairs("stsb", split="dev"),
        "jsts": lambda: load_pairs("jsts"),
        "sklearn": lambda: load_code("sklearn", limit=500),
        "fsspec": lambda: load_code("fsspec", limit=500),
    }
    sets = {name: loaders[name]() for name in options.sets.split(",")}
    print(f"{options.model}: Cranfield nDCG@10, AG News and code MRR, STS-B dev and JSTS Spearman")
    print("| trial | " + " | ".join(sets) + " |\n| --- |" + " ---: |" * len(sets))
    for trial in ["", *options.trial]:
        catalog = change_catalog(load_catalog(), options.model, trial)
        load = PartVectors(PARTS, settings=current(), catalog=catalog).load
        figures = measure(load, options.model, sets)
        print(
            f"| {trial or 'current catalog'} | " + " | ".join(f"{figure:.4f}" for figure in figures) + " |", flush=True
        )


if __name__ == "__main__":
    main()
